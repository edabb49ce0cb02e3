"""The best choice within a budget: all of them tried. A local search, number by number."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np


def norm_lost(weight: np.ndarray, mask: np.ndarray) -> float:
    """One weight after another goes, and takes its part of the norm that is left."""
    left, lost = sum(w * w for w in weight.ravel().tolist()), 0.0
    for w, kept in zip(weight.ravel().tolist(), mask.ravel().tolist(), strict=True):
        if not kept:
            lost -= math.log1p(-w * w / left)
            left -= w * w
    return lost


def best_choice(errors: np.ndarray, costs: np.ndarray, budget: float, **ignored: int) -> tuple[int, ...]:
    """The option of each layer with the least sum of errors, of those whose costs are within the budget."""
    layers = range(len(errors))

    def total(table, choice):
        return sum(table[layer][option] for layer, option in zip(layers, choice, strict=True))

    choices = product(range(errors.shape[1]), repeat=len(errors))
    return min((total(errors, choice), choice) for choice in choices if total(costs, choice) <= budget)[1]


def local_search(
    judge: Callable[[np.ndarray], float], layers: int, trials: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """From ln c = 0, half of the logarithms move in each trial, by less and less; the best stays."""
    best, least = [0.0] * layers, judge(np.ones(layers))
    for trial in range(trials):
        width = 10 ** -(trial / max(trials - 1, 1))
        moves = [rng.random() < 0.5 for _ in range(layers)]
        steps = [rng.standard_normal() for _ in range(layers)]
        tried = [a + width * step if move else a for a, step, move in zip(best, steps, moves, strict=True)]
        loss = judge(np.exp(tried))
        if loss < least:
            best, least = tried, loss
    return np.array([math.exp(a) for a in best]), least
