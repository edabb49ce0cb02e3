"""Criteria of the weights, and of the scale behind them: no data is needed. A higher score is kept."""

import numpy as np

from .spread import over_weights


def l1(weight: np.ndarray) -> np.ndarray:
    """Magnitude of each weight; summed over a structure, its L1 norm.

    Notes
    -----
    Printed: I_i = sum_j |theta_ij|. Reading: |theta_ij| per weight; per structure the L1 norm of its weights
    (Li et al. 2017, "Pruning filters for efficient ConvNets", section 3.1; per weight Han et al. 2015).

    Elsewhere: jaxpruner's `MagnitudePruning` and NNI's L1 pruners are the same. torch-pruning's `MagnitudeImportance`
    is by default the *squared L2* norm, averaged over all layers that a filter goes through (its normalisation and its
    readers too), and divided by the mean over the filters.

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

    Elsewhere: NNI's L2 pruner takes the root, which gives the same order.

    Examples
    --------
    >>> l2(np.array([[1.0, -2.0], [0.5, 0.0]])).tolist()
    [[1.0, 4.0], [0.25, 0.0]]
    """
    return np.square(weight)


def ln(weight: np.ndarray, n: float) -> np.ndarray:
    """Magnitude to the power n; summed over a structure, the n-th power of its Ln norm.

    The larger n, the more the largest weights of a structure count. No n is the usual one: give it with
    `functools.partial(ln, n=3)`, which is a criterion (an argument with a default is an option, no quantity).

    Notes
    -----
    I = |theta|^n,   sum over u of |theta_u|^n = ||theta||_n^n;   n > 0.   n = 1 is `l1`, n = 2 is `l2`

    Elsewhere: `torch.nn.utils.prune.ln_structured` takes the root, which gives the same order.

    Examples
    --------
    >>> from functools import partial
    >>> from sparsenet import Linear, chain, score
    >>> network = chain({"fc": Linear(2, 1)})
    >>> network["fc"].set_weight(np.array([[3.0, -2.0]]))
    >>> score(network, partial(ln, n=3))["fc"].tolist()
    [[27.0, 8.0]]
    """
    if not n > 0:
        raise ValueError(f"n must be above 0, not {n!r}")
    return np.abs(weight) ** n


def lamp(weight: np.ndarray) -> np.ndarray:
    """Layer-adaptive magnitude: a weight's square against those of the layer that are left once it goes.

    Within a layer it orders like `l1`; between layers it settles how much of each goes. For a global scope and
    `Weight()`: the largest weight of every layer scores 1, the most there is, so no layer is emptied.

    Notes
    -----
    I_u = theta_u^2 / sum over v >= u of theta_v^2   (Lee et al. 2021, the definition of the LAMP score)

    in float64, u and v in the order of theta^2, of equal ones the lower index first; 0 where theta_u = 0.

    Elsewhere: torch-pruning's `LAMPImportance` does this with the squared norms of whole filters, among the filters of
    a group; here the scores of the weights are summed over a filter.

    Examples
    --------
    >>> lamp(np.array([[1.0, -3.0], [2.0, 1.0]])).round(3).tolist()  # 1/15, 9/9; 4/13, 1/14
    [[0.067, 1.0], [0.308, 0.071]]
    """
    squares = np.square(weight, dtype=np.float64).reshape(-1)
    order = np.argsort(squares, kind="stable")
    ascending = squares[order]
    remaining = np.cumsum(ascending[::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = np.divide(ascending, remaining, out=np.zeros_like(squares), where=ascending > 0)
    return scores.reshape(weight.shape)


def fpgm(weight: np.ndarray) -> np.ndarray:
    """Distance of a filter to all others of its layer: what is near their geometric median can be replaced by them.

    Filters without a weight are none of the others.

    For `Filter`: each filter's score is spread over its weights. A small filter goes only if others are like it.

    Notes
    -----
    I_o = sum over p of ||F_o - F_p||_2,   F_o the weights of filter o

    (He et al. 2019, "Filter pruning via geometric median", section 3.3: the filter of the least sum is the one nearest
    to the geometric median among the filters.) In float64, one ranking of all filters, as in the paper: no new median
    after each that goes.

    Elsewhere: NNI's `FPGMPruner` is the same; torch-pruning's `FPGMImportance` squares the weights first, and averages
    with the same of the columns that read a filter; the authors' program can choose a part by the norm.

    Examples
    --------
    Distances 5 and 1, 5 and sqrt(18), 1 and sqrt(18): the third filter is in the middle.

    >>> fpgm(np.array([[1.0, 1.0], [4.0, 5.0], [1.0, 2.0]])).sum(axis=1).round(3).tolist()
    [6.0, 9.243, 5.243]
    """
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    there = filters[filters.any(axis=1)]
    distances = [np.sqrt(np.square(there - each).sum(axis=1)).sum() for each in filters]
    return over_weights(np.array(distances), weight)


def slimming(weight: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Scale of the batch normalisation right behind the layer: what a filter emits is multiplied by it.

    For `Filter` and a global scope, as in the paper: each filter's score is spread over its weights. A layer without
    batch normalisation right behind it has no score.

    Notes
    -----
    I_o = |gamma_o|   (Liu et al. 2017, "Learning efficient convolutional networks through network slimming", sec. 3)

    The paper trains with an L1 penalty on gamma (its eq. 1), without which few of them are near 0: that is the
    training's part, not the criterion's.

    Elsewhere: NNI's `SlimPruner` is the same; torch-pruning's `BNScaleImportance` divides by the mean of a group.

    Examples
    --------
    >>> slimming(np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([-3.0, 1.0])).tolist()
    [[1.5, 1.5], [0.5, 0.5]]
    """
    return over_weights(np.abs(gamma), weight)


def random(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform random importance in [0, 1): the baseline that every criterion has to beat.

    Notes
    -----
    I ~ U[0, 1), each weight by itself; a structure has the sum over its weights, near half their number. torch-pruning
    draws one number for each filter, which orders filters as much at random.

    Examples
    --------
    >>> random(np.ones((1, 2)), np.random.default_rng(0)).round(2).tolist()
    [[0.64, 0.27]]
    """
    return rng.random(weight.shape)
