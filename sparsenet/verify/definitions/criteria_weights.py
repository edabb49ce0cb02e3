"""Criteria of the weights, weight by weight and filter by filter."""

import math

import numpy as np


def power(weight: np.ndarray, n: float) -> np.ndarray:
    """|theta|^n of each weight."""
    scores = np.zeros(weight.shape)
    for index in np.ndindex(weight.shape):
        scores[index] = abs(float(weight[index])) ** n
    return scores


def layer_adaptive(weight: np.ndarray) -> np.ndarray:
    """LAMP: theta_u^2 by the sum of theta_v^2 over all v that are larger, or equal and not before u; 0 for a 0."""
    flat = [float(theta) for theta in weight.reshape(-1)]
    scores = []
    for u, theta in enumerate(flat):
        remaining = [
            other**2 for v, other in enumerate(flat) if other**2 > theta**2 or (other**2 == theta**2 and v >= u)
        ]
        scores.append(theta**2 / math.fsum(remaining) if theta else 0.0)
    return np.array(scores).reshape(weight.shape)


def geometric_median(weight: np.ndarray) -> np.ndarray:
    """FPGM: for each filter the sum of its Euclidean distances to all others that are not 0."""
    filters = [[float(theta) for theta in each.reshape(-1)] for each in weight]
    return np.array([math.fsum(math.dist(one, other) for other in filters if any(other)) for one in filters])


def shared_out(per_filter: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each filter's score in equal parts to its weights that are not 0; to all of them where all are 0."""
    scores = np.zeros(weight.shape)
    for o in range(len(weight)):
        places = [index for index in np.ndindex(weight.shape[1:]) if weight[(o, *index)] != 0]
        places = places or list(np.ndindex(weight.shape[1:]))
        for index in places:
            scores[(o, *index)] = per_filter[o] / len(places)
    return scores
