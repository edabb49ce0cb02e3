"""Layers without windows, number by number."""

import math
from collections.abc import Sequence

import numpy as np


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Each output's bias and its weights times the features."""
    y = np.empty((len(x), len(weight)))
    for n, o in np.ndindex(y.shape):
        y[n, o] = bias[o] + sum(weight[o, i] * x[n, i] for i in range(x.shape[1]))
    return y


def matmul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rows times columns."""
    return linear(left, right.T, np.zeros(right.shape[1]))


def relu(x: np.ndarray) -> np.ndarray:
    """A number, or 0 where it is below; NaN is not below."""
    return np.array([0.0 if number < 0 else number for number in x.ravel().tolist()]).reshape(x.shape)


def flatten(x: np.ndarray) -> np.ndarray:
    """Feature (c H + h) W + w of a sample is its number at (c, h, w)."""
    y = np.empty((len(x), math.prod(x.shape[1:])))
    for n, c, h, w in np.ndindex(x.shape):
        y[n, (c * x.shape[2] + h) * x.shape[3] + w] = x[n, c, h, w]
    return y


def dropout(x: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """A float32 number in [0, 1) is drawn for each: below the rate it becomes 0, else it is divided by 1 - rate."""
    kept = [rng.random(dtype=np.float32) >= rate for _ in range(x.size)]
    return np.array([v / (1 - rate) if k else 0.0 for v, k in zip(x.ravel(), kept, strict=True)]).reshape(x.shape)


def channel_values(x: np.ndarray) -> list[list[float]]:
    """All numbers of each channel, axis 1."""
    return [x[:, c].ravel().tolist() for c in range(x.shape[1])]


def channel_sums(x: np.ndarray) -> np.ndarray:
    """The exactly rounded sum of each channel."""
    return np.array([math.fsum(values) for values in channel_values(x)])


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and mean squared distance from it, of each channel."""
    means = [math.fsum(values) / len(values) for values in channel_values(x)]
    spreads = [
        math.fsum((value - mean) ** 2 for value in values) / len(values)
        for values, mean in zip(channel_values(x), means, strict=True)
    ]
    return np.array(means), np.array(spreads)


def batch_norm(
    x: np.ndarray, mean: np.ndarray, var: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float
) -> np.ndarray:
    """Each number's distance from its channel's mean, in standard deviations, scaled and shifted."""
    y = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        c = index[1]
        y[index] = gamma[c] * (x[index] - mean[c]) / math.sqrt(var[c] + eps) + beta[c]
    return y


def running_average(running: np.ndarray, new: np.ndarray, momentum: float) -> np.ndarray:
    """(1 - momentum) old + momentum new."""
    return np.array([(1 - momentum) * old + momentum * n for old, n in zip(running, new, strict=True)])


def weight_norm(direction: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Each output's direction at the length that its gain says; 0 where there is no direction."""
    weight = np.zeros(direction.shape)
    for o, row in enumerate(direction):
        length = math.sqrt(math.fsum(v * v for v in row.ravel().tolist()))
        if length:
            weight[o] = gain[o] * row / length
    return weight


def add(*inputs: np.ndarray) -> np.ndarray:
    """The sum of what stands at one place."""
    y = np.zeros(inputs[0].shape)
    for index in np.ndindex(y.shape):
        y[index] = sum(x[index] for x in inputs)
    return y


def concatenate(*inputs: np.ndarray) -> np.ndarray:
    """The channels of the first, then those of the next, ..."""
    return np.array([[channel for x in inputs for channel in x[n]] for n in range(len(inputs[0]))], np.float64)


def pad_shortcut(x: np.ndarray, channels: Sequence[int], stride: int) -> np.ndarray:
    """Output channel o is every stride-th position of channel channels[o], or zeros for -1."""
    images, _, height, width = x.shape
    y = np.zeros((images, len(channels), len(range(0, height, stride)), len(range(0, width, stride))))
    for n, o, r, q in np.ndindex(y.shape):
        if channels[o] >= 0:
            y[n, o, r, q] = x[n, channels[o], r * stride, q * stride]
    return y


def padded_channels(inputs: int, outputs: int) -> list[int]:
    """The input's channels with zeros (-1) added at the end and the beginning by turns, the end first."""
    channels = list(range(inputs))
    while len(channels) < outputs:
        channels.append(-1)
        if len(channels) < outputs:
            channels.insert(0, -1)
    return channels


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal numbers of variance 2 / (weights of an output)."""
    fan_in = math.prod(shape) // shape[0]
    return np.array([rng.standard_normal() * math.sqrt(2 / fan_in) for _ in range(math.prod(shape))]).reshape(shape)


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1) -> np.ndarray:
    """Uniform numbers of variance 2 / (fan_in + fan_out), fan_out the weights that read one input."""
    positions = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * positions, shape[0] * positions // groups
    bound = math.sqrt(3 * 2 / (fan_in + fan_out))  # U(-a, a) has variance a^2 / 3
    return np.array([bound * (2 * rng.random() - 1) for _ in range(math.prod(shape))]).reshape(shape)
