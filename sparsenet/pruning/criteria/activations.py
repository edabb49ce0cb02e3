"""Criteria of what a layer emits or reads, on data. A higher score is kept.

Letters: a[n,o,m] is what filter o emits of sample n at position m, behind its normalisation and ReLU (a neuron has one
position); g[n,o,m] = dL/da[n,o,m], L the mean loss of a batch of N samples, M positions. All but `wanda` judge a whole
filter, whose score is spread over its weights: they are for `Filter`.
"""

import numpy as np

from .spread import over_weights


def _by_position(array: np.ndarray) -> np.ndarray:
    """(N, O, M) of (N, O, H, W) or (N, O)."""
    return array.reshape(*array.shape[:2], -1)


def apoz(weight: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """How often a filter is not silent: one minus its average percentage of zeros.

    Where no ReLU is behind the layer hardly anything is exactly 0, and all filters score 1: leave such layers out
    (`exclude`), or rank layer by layer.

    Notes
    -----
    I_o = 1 - APoZ_o,   APoZ_o = sum over n, m of [a[n,o,m] = 0] / (N M)   (Hu et al. 2016, "Network trimming", eq. 1)

    Turned round, for a high APoZ is what goes. Elsewhere: NNI's `ActivationAPoZRankPruner` is the same, for the
    activation function that its options name.

    Examples
    --------
    >>> apoz(np.ones((2, 1)), np.array([[0.0, 3.0], [2.0, 1.0], [0.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.25], [0.75]]
    """
    emitted = _by_position(activations)
    seen = np.where(np.isnan(emitted), np.nan, emitted != 0)  # a NaN is neither silent nor not: it is refused
    return over_weights(seen.mean(axis=(0, 2)), weight)


def mean_activation(weight: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """How much a filter emits on average.

    Notes
    -----
    I_o = sum over n, m of |a[n,o,m]| / (N M)   (Molchanov et al. 2016, section 2.2, "Activation")

    Printed without the magnitude, which changes nothing behind a ReLU, where the paper has it. Where there is none (the
    last convolution before an addition, the output) a unit that emits large negative numbers is not a small one.

    Elsewhere: NNI's `ActivationMeanRankPruner` has no magnitude; neither divides a layer's scores by their norm, as the
    paper does to compare layers: see `taylor_feature_maps`.

    Examples
    --------
    >>> mean_activation(np.ones((2, 1)), np.array([[0.0, 3.0], [2.0, -1.0]])).tolist()
    [[1.0], [2.0]]
    """
    return over_weights(np.abs(_by_position(activations)).mean(axis=(0, 2), dtype=np.float64), weight)


def taylor_feature_maps(weight: np.ndarray, activations: np.ndarray, activation_gradient: np.ndarray) -> np.ndarray:
    """First-order change of a sample's loss without the filter's feature map, its magnitude averaged over samples.

    Notes
    -----
    I_o = 1/N sum over n of | 1/M sum over m of a[n,o,m] dL_n/da[n,o,m] |   (Molchanov et al. 2016, eq. 8)

    L_n is the loss of sample n. Given is g, of the mean loss: dL_n/da[n] = N g[n], so that N and 1/N cancel.

    For a global scope the paper divides the scores of each layer's filters by their L2 norm ("Normalization"): do so
    with what `score` returns. Elsewhere: what torch-pruning (`TaylorImportance`) and jaxpruner (`SaliencyPruning`) call
    Taylor or saliency is `taylor`, of the weights.

    Examples
    --------
    Two samples, two neurons: (|2 x 0.5| + |1 x -1|) / 2 and (|3 x 0| + |1 x 4|) / 2, gradients of each sample's loss.

    >>> a, g = np.array([[2.0, 3.0], [1.0, 1.0]]), np.array([[0.5, 0.0], [-1.0, 4.0]]) / 2
    >>> taylor_feature_maps(np.ones((2, 1)), a, g).tolist()
    [[1.0], [2.0]]
    """
    products = _by_position(activations) * _by_position(activation_gradient)
    return over_weights(np.abs(products.mean(axis=2, dtype=np.float64)).sum(axis=0), weight)


def taylor_gates(weight: np.ndarray, activations: np.ndarray, activation_gradient: np.ndarray) -> np.ndarray:
    """Squared gradient of the loss by a gate, a factor z = 1 on all that a filter emits.

    Notes
    -----
    I_o = (dL/dz_o)^2 = (sum over n, m of a[n,o,m] g[n,o,m])^2   (Molchanov et al. 2019, section 3, with gates)

    of a batch's mean loss, averaged over the batches. Signs of different samples cancel, and more so in larger batches:
    at a minimum the gradient of all data is 0, and what is left is the noise of the batches. A gate before the ReLU has
    the same gradient, for z max(a, 0) = max(z a, 0).

    Elsewhere: torch-pruning's `TaylorImportance(multivariable=True)` takes |sum of theta dL/dtheta| over a filter's
    weights. Without a normalisation that sum, its bias included, is just dL/dz, for a filter emits z (theta x + b). In
    training, with batch normalisation behind, it is about 0: the scale of the filter changes nothing.

    Examples
    --------
    Two samples, two neurons: (2 x 0.5 + 1 x -1)^2 and (3 x 0 + 1 x 4)^2.

    >>> a, g = np.array([[2.0, 3.0], [1.0, 1.0]]), np.array([[0.5, 0.0], [-1.0, 4.0]])
    >>> taylor_gates(np.ones((2, 1)), a, g).tolist()
    [[0.0], [16.0]]
    """
    products = _by_position(activations) * _by_position(activation_gradient)
    return over_weights(np.square(products.sum(axis=(0, 2), dtype=np.float64)), weight)


def wanda(weight: np.ndarray, input_norms: np.ndarray) -> np.ndarray:
    """Magnitude of a weight times the norm of the input that it multiplies: a large weight on a dead input is nothing.

    Notes
    -----
    I_oi = |theta_oi| ||x_i||_2   (Sun et al. 2023, eq. 1),   x_i the input over all samples and positions

    The paper compares the weights of one output only; so do the ranks within each row, which can then be pruned layer
    by layer as usual (the example). Elsewhere: the authors' program takes the mean instead of the sum over samples,
    which changes nothing within a layer.

    Examples
    --------
    >>> weight, norms = np.array([[1.0, -2.0, 3.0], [9.0, 8.0, -6.0]]), np.array([[3.0, 1.0, 0.5]] * 2)
    >>> wanda(weight, norms).tolist()
    [[3.0, 2.0, 1.5], [27.0, 8.0, 3.0]]
    >>> def wanda_by_output(weight, input_norms):
    ...     rows = wanda(weight, input_norms).reshape(len(weight), -1)
    ...     return rows.argsort(axis=1, kind="stable").argsort(axis=1).reshape(weight.shape)
    >>> wanda_by_output(weight, norms).tolist()
    [[2, 1, 0], [2, 1, 0]]
    """
    return np.abs(weight) * input_norms
