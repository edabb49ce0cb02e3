"""How a criterion that judges whole filters gives its weights their scores."""

import numpy as np


def over_weights(per_filter: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Share out the score of each filter evenly among the weights that it still has, those that are not 0.

    The sum over a filter is its score again, whatever masks have taken of it. Weights of one filter tie; the filters
    that read a channel say nothing of the channel: such a criterion is for `Filter`.

    Notes
    -----
    I_w = I_o / (number of weights of filter o that are not 0), and 0 where w = 0; of an empty filter evenly over all

    Examples
    --------
    >>> over_weights(np.array([6.0, 1.0]), np.array([[1.0, 0.0, 2.0, -1.0], [0.0, 0.0, 0.0, 0.0]])).tolist()
    [[2.0, 0.0, 2.0, 2.0], [0.25, 0.25, 0.25, 0.25]]
    """
    kept = weight.reshape(len(weight), -1) != 0
    kept |= ~kept.any(axis=1, keepdims=True)
    each = np.asarray(per_filter, np.float64) / kept.sum(axis=1)
    return (each[:, None] * kept).reshape(weight.shape)
