"""Criteria of activations, sample by sample and position by position; derivatives by a gate from differences."""

import math
from collections.abc import Callable

import numpy as np


def not_zero(activations: np.ndarray) -> np.ndarray:
    """1 - APoZ of each filter: which part of what it emits is not 0."""
    return np.array([sum(a != 0 for a in values) / len(values) for values in _emitted(activations)])


def mean_magnitude(activations: np.ndarray) -> np.ndarray:
    """Mean of |a| of each filter."""
    return np.array([math.fsum(abs(a) for a in values) / len(values) for values in _emitted(activations)])


def _emitted(activations: np.ndarray) -> list[list[float]]:
    """All that each filter emits, of every sample at every position."""
    return [[float(a) for sample in activations for a in sample[o].reshape(-1)] for o in range(activations.shape[1])]


def gate_derivative(loss: Callable[[np.ndarray], float], filters: int, step: float = 1e-5) -> np.ndarray:
    """dL/dz of each filter at z = 1, from differences; L(z) is the loss with filter o's map multiplied by z[o]."""
    derivatives = np.zeros(filters)
    for o in range(filters):
        above, below = np.ones(filters), np.ones(filters)
        above[o] += step
        below[o] -= step
        derivatives[o] = (loss(above) - loss(below)) / (2 * step)
    return derivatives


def squared_by_batch(losses: list[tuple[int, Callable[[np.ndarray], float]]], filters: int) -> np.ndarray:
    """Molchanov 2019: the mean over the batches, (samples, L(z)) each, of (dL/dz)^2, weighted by their samples."""
    total = sum(samples for samples, _ in losses)
    return sum(samples / total * gate_derivative(loss, filters) ** 2 for samples, loss in losses)


def magnitude_by_sample(losses: list[Callable[[np.ndarray], float]], filters: int, positions: int) -> np.ndarray:
    """Molchanov 2016: the mean over the samples, L_n(z) each, of |dL_n/dz / M|, M the positions of a feature map."""
    return sum(np.abs(gate_derivative(loss, filters) / positions) for loss in losses) / len(losses)


def input_norms(
    x: np.ndarray,
    shape: tuple[int, ...],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """For each weight the root of the sum of squares of all that it is multiplied with, of (N, I) or (N, C, H, W)."""
    norms = np.zeros(shape)
    for index in np.ndindex(shape):
        if len(shape) == 2:
            read = [float(sample[index[1]]) for sample in x]
        else:
            read = _read_by_weight(x, index, shape, stride, padding, dilation, groups)
        norms[index] = math.sqrt(math.fsum(value * value for value in read))
    return norms


def _read_by_weight(x, index, shape, stride, padding, dilation, groups) -> list[float]:
    """All that weight (o, c, i, j) of a convolution is multiplied with; what padding puts there is 0 and left out."""
    o, c, i, j = index
    channel = o // (shape[0] // groups) * shape[1] + c
    height, width = x.shape[2:]
    rows = (height + 2 * padding[0] - dilation[0] * (shape[2] - 1) - 1) // stride[0] + 1
    columns = (width + 2 * padding[1] - dilation[1] * (shape[3] - 1) - 1) // stride[1] + 1
    read = []
    for sample in x:
        for row in range(rows):
            for column in range(columns):
                h = row * stride[0] + i * dilation[0] - padding[0]
                w = column * stride[1] + j * dilation[1] - padding[1]
                if 0 <= h < height and 0 <= w < width:
                    read.append(float(sample[channel, h, w]))
    return read


def weight_times_norm(weight: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Wanda: |theta| ||x|| of each weight."""
    scores = np.zeros(weight.shape)
    for index in np.ndindex(weight.shape):
        scores[index] = abs(float(weight[index])) * float(norms[index])
    return scores
