"""Sums over all of a channel: what batch normalisation's statistics and the gradients of biases are made of."""

import math

import numpy as np


def channel_sums(x: np.ndarray) -> np.ndarray:
    """s[c] = sum over n, h, w of x[n, c, h, w], for x (N, C) or (N, C, ...), in float64.

    Each plane is summed pairwise in x's own type (NumPy's way with contiguous numbers, as fast as a running sum), the
    planes in float64: a running sum of float32 would lose digits with every sample.
    """
    planes = np.ascontiguousarray(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))
    return (planes[:, :, 0] if planes.shape[2] == 1 else planes.sum(axis=2)).sum(axis=0, dtype=np.float64)
