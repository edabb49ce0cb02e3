"""Criteria: importance of every weight, an array shaped like the weight; a higher score is kept.

A criterion is a function; the names of its arguments say what it needs: `weight`, `gradient` (dL/dtheta of one batch),
`rng`. The importance of a structure (neuron, filter, channel) is the sum of its weights' scores: see
`masks.sum_over_structures`.

theta_ij is the weight from neuron i to neuron j; formulas as printed in the article "Optimising neural networks by
sparsity-based pruning", section 4.1, each with the reading that is implemented.
"""

import numpy as np


def l1(weight: np.ndarray) -> np.ndarray:
    """Magnitude of each weight; summed over a structure, its L1 norm.

    Notes
    -----
    Printed: I_i = sum_j |theta_ij|. Reading: |theta_ij| per weight; per structure the L1 norm of its weights
    (Li et al. 2017, "Pruning filters for efficient ConvNets"; per weight Han et al. 2015).
    """
    return np.abs(weight)


def l2(weight: np.ndarray) -> np.ndarray:
    """Square of each weight; summed over a structure, its squared L2 norm.

    Notes
    -----
    Printed: I_i = sum_j |theta_ij|^2. Reading: theta_ij^2 per weight; per structure the *squared* L2 norm, as printed,
    which orders structures like the norm itself.
    """
    return np.square(weight)


def sensitivity(gradient: np.ndarray) -> np.ndarray:
    """Gradient (residual) sensitivity: magnitude of the loss's gradient.

    Notes
    -----
    Printed: I_i = dL/dtheta_ij. Reading: |dL/dtheta_ij| per weight, for a signed gradient cannot rank importance;
    summed per structure; `score` averages it over batches.
    """
    return np.abs(gradient)


def taylor(weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """First-order Taylor criterion: how much the loss would change if the weight were zero.

    Notes
    -----
    I = |theta dL/dtheta|, from L(0) ~ L(theta) - theta dL/dtheta (Molchanov et al. 2016, which the article cites; there
    for feature maps, here per weight as in Molchanov et al. 2019, whose criterion is its square).
    """
    return np.abs(weight * gradient)


def random(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform random importance in [0, 1): the baseline that every criterion has to beat."""
    return rng.random(weight.shape)


CRITERIA = {"l1": l1, "l2": l2, "sensitivity": sensitivity, "taylor": taylor, "random": random}
