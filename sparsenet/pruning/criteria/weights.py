"""Criteria of the weights alone."""

import numpy as np


def l1(weight: np.ndarray) -> np.ndarray:
    """Magnitude of each weight; summed over a structure, its L1 norm.

    Notes
    -----
    Printed: I_i = sum_j |theta_ij|. Reading: |theta_ij| per weight; per structure the L1 norm of its weights
    (Li et al. 2017, "Pruning filters for efficient ConvNets"; per weight Han et al. 2015).

    Examples
    --------
    >>> l1(np.array([[1.0, -2.0], [0.5, 0.0]])).tolist()
    [[1.0, 2.0], [0.5, 0.0]]
    """
    return np.abs(weight)


def l2(weight: np.ndarray) -> np.ndarray:
    """Square of each weight; summed over a structure, its squared L2 norm.

    Notes
    -----
    Printed: I_i = sum_j |theta_ij|^2. Reading: theta_ij^2 per weight; per structure the *squared* L2 norm, as printed,
    which orders structures like the norm itself.

    Examples
    --------
    >>> l2(np.array([[1.0, -2.0], [0.5, 0.0]])).tolist()
    [[1.0, 4.0], [0.25, 0.0]]
    """
    return np.square(weight)


def random(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform random importance in [0, 1): the baseline that every criterion has to beat.

    Examples
    --------
    >>> random(np.ones((1, 2)), np.random.default_rng(0)).round(2).tolist()
    [[0.64, 0.27]]
    """
    return rng.random(weight.shape)
