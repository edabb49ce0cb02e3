"""Criteria: importance of every weight, an array shaped like the weight; a higher score is kept.

A criterion is a function; the names of its arguments say what it needs: `weight`, `gradient` (dL/dtheta of one batch),
`rng`. The importance of a structure (neuron, filter, channel) is the sum of its weights' scores: see
`granularity.sum_over_structures`.

theta_ij is the weight from neuron i to neuron j; formulas as printed in the article "Optimising neural networks by
sparsity-based pruning", section 4.1, each with the reading that is implemented.

Which when: `l1` unless there is a reason, it needs no data and nothing beat it below; `l2` ranks single weights alike
and gives a structure more for a few large weights; `taylor` (made for fine-tuning) takes a pass over data and came
close; `sensitivity` rarely, for a small gradient says that a weight is settled, not that it is unimportant; `random` is
the baseline: a criterion that does not beat it has found nothing.

Test accuracy in % on MNIST (SimpleCNN, 99.3 % dense), 90 % gone in one step (of the weights of each layer, of all, or
of the filters), two epochs of retraining, one seed:

=============  =========  ============  ===========
criterion      layerwise  proportional  channelwise
=============  =========  ============  ===========
`l1`           98.94      99.29         97.34
`l2`           98.94      99.29         97.22
`taylor`       98.56      99.27         97.21
`sensitivity`  87.75      99.03         97.25
`random`       95.01      95.85         97.25
=============  =========  ============  ===========

Sensitivity, layer by layer, did worse than chance, and among whole filters no criterion was clearly better: with nine
tenths of them gone, retraining decides.
"""

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


def random(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform random importance in [0, 1): the baseline that every criterion has to beat.

    Examples
    --------
    >>> random(np.ones((1, 2)), np.random.default_rng(0)).round(2).tolist()
    [[0.64, 0.27]]
    """
    return rng.random(weight.shape)


CRITERIA = {"l1": l1, "l2": l2, "sensitivity": sensitivity, "taylor": taylor, "random": random}
