"""Optimisers weight by weight, step by step; factors on the learning rate from their definitions."""

import math
from collections.abc import Callable, Sequence

import numpy as np


def sgd(
    value: np.ndarray,
    gradients: Sequence[np.ndarray],
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    mask: np.ndarray,
) -> list[np.ndarray]:
    """The value after each step. A step is lr times a sum over all gradients g_1 ... g_t so far, written out.

    v_t = sum_k momentum^(t - k) g_k;  a step is lr v_t, or, Nesterov, lr (g_t + momentum v_t)
    """

    def walk(theta: float, slopes: list[float]) -> list[float]:
        seen, values = [], []
        for slope in slopes:
            seen.append(slope + weight_decay * theta)
            velocity = sum(momentum ** (len(seen) - k) * g for k, g in enumerate(seen, 1))
            theta -= lr * (seen[-1] + momentum * velocity if nesterov else velocity)
            values.append(theta)
        return values

    return _walked(walk, value, gradients, mask)


def adam(
    value: np.ndarray,
    gradients: Sequence[np.ndarray],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    mask: np.ndarray,
) -> list[np.ndarray]:
    """The value after each step; the two moments are weighted means over all gradients so far, written out.

    m_t = sum_k beta1^(t - k) g_k / sum_k beta1^(t - k), v_t the same of g_k^2 with beta2;
    a step is lr m_t / (sqrt v_t + eps)
    """

    def mean(numbers: list[float], beta: float) -> float:
        factors = [beta ** (len(numbers) - k) for k in range(1, len(numbers) + 1)]
        return sum(f * number for f, number in zip(factors, numbers, strict=True)) / sum(factors)

    def walk(theta: float, slopes: list[float]) -> list[float]:
        seen, values = [], []
        for slope in slopes:
            seen.append(slope + weight_decay * theta)
            theta -= lr * mean(seen, beta1) / (math.sqrt(mean([g * g for g in seen], beta2)) + eps)
            values.append(theta)
        return values

    return _walked(walk, value, gradients, mask)


def _walked(walk: Callable, value: np.ndarray, gradients: Sequence[np.ndarray], mask: np.ndarray) -> list[np.ndarray]:
    """The walk of each kept weight; a pruned one is 0 after every step."""
    steps = [np.zeros(value.shape) for _ in gradients]
    for index in np.ndindex(value.shape):
        if mask[index]:
            for step, theta in zip(steps, walk(value[index], [g[index] for g in gradients]), strict=True):
                step[index] = theta
    return steps


def constant(progress: float) -> float:
    """Always 1."""
    return 1.0


def cosine(progress: float) -> float:
    """cos^2 of a quarter of a turn: (1 + cos 2a) / 2 = cos^2 a."""
    return math.cos(progress * math.pi / 2) ** 2


def linear_decay(progress: float) -> float:
    """What is left of the way."""
    return (100 - 100 * progress) / 100


def step_decay(factor: float, at: Sequence[float], progress: float) -> float:
    """Multiplied once for each point that has been reached."""
    value = 1.0
    for point in at:
        if not progress < point:
            value *= factor
    return value


def warmup(part: float, schedule: Callable[[float], float], progress: float) -> float:
    """Up a straight line to 1 at `part`; then the schedule, over what is left of the way."""
    if progress < part:
        return np.interp(progress, [0, part], [0, 1])
    return schedule(np.interp(progress, [part, 1], [0, 1]))
