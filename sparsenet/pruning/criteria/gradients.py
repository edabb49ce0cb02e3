"""Criteria of the gradient of the loss."""

import numpy as np


def sensitivity(gradient: np.ndarray) -> np.ndarray:
    """Gradient (residual) sensitivity: magnitude of the loss's gradient.

    Notes
    -----
    Printed: I_i = dL/dtheta_ij. Reading: |dL/dtheta_ij| per weight, for a signed gradient cannot rank importance;
    summed per structure; `score` averages it over batches.

    Examples
    --------
    >>> sensitivity(np.array([[0.5, -0.25], [0.0, 4.0]])).tolist()
    [[0.5, 0.25], [0.0, 4.0]]
    """
    return np.abs(gradient)


def taylor(weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """First-order Taylor criterion: how much the loss would change if the weight were zero.

    Notes
    -----
    I = |theta dL/dtheta|, from L(0) ~ L(theta) - theta dL/dtheta (Molchanov et al. 2016, which the article cites; there
    for feature maps, here per weight as in Molchanov et al. 2019, whose criterion is its square).

    Examples
    --------
    >>> taylor(np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[0.5, -0.25], [0.0, 4.0]])).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    return np.abs(weight * gradient)
