"""The article's criteria, weight by weight; and the true change of a function when one weight is deleted."""

from collections.abc import Callable

import numpy as np


def magnitude(weight: np.ndarray) -> np.ndarray:
    """|theta|: theta, or -theta where that is negative."""
    return _each(lambda theta: -theta if theta < 0 else theta, weight)


def square(weight: np.ndarray) -> np.ndarray:
    """theta theta."""
    return _each(lambda theta: theta * theta, weight)


def deletion_change(function: Callable[[], float], weight: np.ndarray) -> np.ndarray:
    """f(theta with this one weight 0) - f(theta), by brute force; the array is changed in place and restored.

    Examples
    --------
    >>> weight = np.array([1.0, 3.0])
    >>> deletion_change(lambda: float((weight**2).sum()), weight).tolist()
    [-1.0, -9.0]
    """
    changes, before = np.empty(weight.shape), function()
    for index in np.ndindex(weight.shape):
        kept, weight[index] = weight[index], 0.0
        changes[index] = function() - before
        weight[index] = kept
    return changes


def drawn(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A number of the generator for each weight, one after the other."""
    return _each(lambda theta: rng.random(), weight)


def _each(function: Callable[[float], float], weight: np.ndarray) -> np.ndarray:
    return np.array([function(theta) for theta in weight.ravel().tolist()]).reshape(weight.shape)
