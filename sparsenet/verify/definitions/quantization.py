"""k-means on a line in plain loops, and the slope of a loss by a value that many weights share."""

from collections.abc import Callable, Sequence

import numpy as np

from .differences import central_difference


def kmeans(values: Sequence[float], bits: int) -> tuple[list[float], list[int]]:
    """(centroids that have values, the index of each value's own), each value asked of each centroid, to the end.

    The values themselves where they are few enough.
    """
    if len(set(values)) <= 2**bits:
        centroids = sorted(set(values))
        return centroids, [centroids.index(value) for value in values]
    low, high = min(values), max(values)
    centroids = [low + (high - low) * k / (2**bits - 1) for k in range(2**bits)]
    nearest: list[int] = []
    while True:
        last, nearest = nearest, [min(range(2**bits), key=lambda k: abs(v - centroids[k])) for v in values]
        if nearest == last:
            break
        for k in range(2**bits):
            own = [value for value, n in zip(values, nearest, strict=True) if n == k]
            centroids[k] = sum(own) / len(own) if own else centroids[k]
    used = sorted(set(nearest))
    return [centroids[k] for k in used], [used.index(n) for n in nearest]


def slope_of_shared(loss: Callable[[np.ndarray], float], codebook: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """For each weight dL/dc of the value c that it shares, by moving that value in all places at once."""
    return central_difference(lambda: loss(codebook[cluster]), codebook)[cluster]
