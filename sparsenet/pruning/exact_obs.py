"""ExactOBS / optimal brain compression: which weights of a layer go, and what the others become. Arrays only.

The problem (Frantar & Alistarh 2022, "Optimal brain compression", eq. 1): of a layer W with inputs X, find W' with a
given number of weights, so that it makes of X what W did,

    min ||W X - W' X||^2 = 1/2 sum_o (w_o - w'_o) H (w_o - w'_o)^T,   H = 2 X X^T

Each row has a problem of its own, with one H for all. A row loses its weights one by one, exactly (ExactOBS, their
algorithm 1, eqs. 3 and 4, in `kernels.exact_obs`):

    p = argmin w_p^2 / [H^-1]_pp,   w -= w_p / [H^-1]_pp [H^-1]_:p,   H^-1 -= [H^-1]_:p [H^-1]_p: / [H^-1]_pp

How many each row loses is found over all rows of the layer: the next to go is always the weight that adds the least to
the error, of whichever row it is the turn (the global step, their algorithm 2).

The removals of a row only give their order. Its new weights are then computed at once, for the set that is gone, as the
least-squares solution (`refit`), which is what the updates one by one come to in exact arithmetic: no weights of every
step need be kept (P^2 numbers for a row), and no rounding adds up over a thousand downdates.

What holds: for its mask the new weights are the best there are; the first removal is the best there is; the error of a
row is the sum of what its removals cost. The greedy mask need not be the best one, not even better than that of the
smallest magnitudes (where three inputs are nearly dependent, the largest weight may seem free, and be missed later; a
test shows such a row), though on layers and random inputs it is, by far.
"""

import heapq

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ..checks import check_count, check_float_array, check_fraction, check_mask, check_positive
from ..kernels.exact_obs import removal_order

Pruned = tuple[np.ndarray, np.ndarray]
DAMPING = 0.01
DEAD = 1e-100  # H of an input that is always 0: it has an inverse, and its weight costs next to nothing


def exact_obs(
    weight: np.ndarray,
    hessian: np.ndarray,
    sparsity: float,
    *,
    block: int = 1,
    mask: np.ndarray | None = None,
    damping: float = DAMPING,
) -> Pruned:
    """Prune a layer by ExactOBS: (the new weights, the mask).

    Parameters
    ----------
    weight : array (O, P), or (O, C/G, kh, kw)
    hessian : array (G, P, P), or (P, P)
        H = 2 X X^T of each group of outputs, P = C/G kh kw; the scale does not matter.
    sparsity : float in [0, 1)
        Exactly round(sparsity n) of the n blocks go, those pruned before included; at least one stays.
    block : int
        c consecutive weights of a row go together: by 1/2 w_B ([H^-1]_BB)^-1 w_B^T, and all others are updated (their
        eq. 5). The last block of a row may be smaller.
    mask : bool array, optional
        What it has pruned stays pruned. A block is gone where all its weights are.
    damping : float
        This part of the mean of H's diagonal is added to it, for H of dependent inputs has no inverse. (The authors'
        code adds nothing unless told to, SparseGPT 0.01.) Weights of an input that is always 0 go first, as good as
        free, the smallest before the others; where they stay they keep their values.

    Notes
    -----
    O(O P^3) in all: 1 s for a row of 1600 weights, and as much memory as three matrices H.

    Examples
    --------
    Two inputs that go together, and one alone. By magnitude the 1 would go; but the second input can stand in for the
    first, which costs less: its weight takes on half of 1.5.

    >>> hessian = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 6.0]])
    >>> weight, mask = exact_obs(np.array([[1.5, 2.0, 1.0]]), hessian, 1 / 3, damping=0)
    >>> weight.round(6).tolist(), mask.astype(int).tolist()
    ([[0.0, 2.75, 1.0]], [[0, 1, 1]])
    """
    sparsity = check_fraction("sparsity", sparsity)
    check_count("block", block)
    rows, hessians, kept = _check(weight, hessian, mask, damping)
    rows = np.where(kept, rows, 0)
    order, costs = _orders(rows, hessians, kept, block=block)
    gone = np.add.reduceat(kept, range(0, kept.shape[2], block), axis=2, dtype=np.int64).reshape(order.shape) == 0
    count = min(round(sparsity * order.size), order.size - 1)
    counts = share_out(costs, gone.sum(axis=1), count)
    pruned = _without(kept, order, counts, block)
    return _refit(weight, rows, hessians, pruned), pruned.reshape(weight.shape)


def exact_obs_nm(
    weight: np.ndarray,
    hessian: np.ndarray,
    keep: int,
    of: int,
    *,
    mask: np.ndarray | None = None,
    damping: float = DAMPING,
) -> Pruned:
    """Prune a layer to N:M sparsity by ExactOBS: of each `of` consecutive weights of a row `keep` stay, exactly.

    Each row loses its weights one by one, only from groups that still have more than `keep`. No global step: all rows
    lose as many. Groups that `mask` has left fewer than `keep` stay as they are.

    Parameters
    ----------
    weight, hessian, mask, damping
        As for `exact_obs`.
    keep, of : int
        2 and 4 for what GPUs take. `of` must divide P, the weights of a row in the order (c, i, j).

    Examples
    --------
    >>> weight, mask = exact_obs_nm(np.array([[1.0, 2.0, 3.0, 4.0]]), np.eye(4), 1, 2)
    >>> weight.tolist()
    [[0.0, 2.0, 0.0, 4.0]]
    """
    check_count("keep", keep)
    rows, hessians, kept = _check(weight, hessian, mask, damping)
    if check_count("of", of) < keep or rows.shape[2] % of:
        raise ValueError(
            f"of must divide the {rows.shape[2]} weights of a row, and not be below keep, {keep}; not {of}"
        )
    rows, pruned = np.where(kept, rows, 0), kept
    if keep < of:
        order, _ = _orders(rows, hessians, kept, of=of, most=of - keep)
        pruned = _without(kept, order, (order >= 0).sum(axis=1), 1)
    return _refit(weight, rows, hessians, pruned), pruned.reshape(weight.shape)


def refit(weight: np.ndarray, hessian: np.ndarray, mask: np.ndarray, *, damping: float = DAMPING) -> np.ndarray:
    """Weights under a given mask that make of the layer's inputs what `weight` did, by least squares.

    Parameters
    ----------
    weight, hessian, damping
        As for `exact_obs`.
    mask : bool array like the weight
        From whatever criterion.

    Notes
    -----
    w'_K = w_K + (H_KK)^-1 H_KM w_M for a row that keeps K and loses M: min (w - w') H (w - w')^T with w'_M = 0.

    Examples
    --------
    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> refit(np.array([[4.0, 3.0]]), hessian, np.array([[True, False]]), damping=0).tolist()
    [[5.5, 0.0]]
    """
    rows, hessians, kept = _check(weight, hessian, mask, damping)
    return _refit(weight, rows, hessians, kept)


def share_out(costs: np.ndarray, gone: np.ndarray, count: int) -> np.ndarray:
    """How many blocks each row loses, `count` in all: always the one next in its row that costs least (algorithm 2).

    Parameters
    ----------
    costs : array (O, B)
        What the blocks of each row cost in their order; they need not rise.
    gone : int array (O,)
        How many of each row are gone already.

    Examples
    --------
    >>> share_out(np.array([[1.0, 5.0, 0.0], [2.0, 3.0, 9.0]]), np.array([0, 0]), 3).tolist()
    [1, 2]
    """
    counts = gone.copy()
    next_ones = [(costs[o, counts[o]], o) for o in range(len(costs)) if counts[o] < costs.shape[1]]
    heapq.heapify(next_ones)
    for _ in range(count - int(counts.sum())):
        o = next_ones[0][1]
        counts[o] += 1
        if counts[o] < costs.shape[1]:
            heapq.heapreplace(next_ones, (costs[o, counts[o]], o))
        else:
            heapq.heappop(next_ones)
    return counts


def _check(weight: np.ndarray, hessian: np.ndarray, mask: np.ndarray | None, damping: float) -> tuple:
    """(rows (G, O/G, P), hessians (G, P, P) ready to be inverted, kept like the rows), in float64."""
    check_float_array("weight", weight)
    if weight.ndim < 2 or not weight.size or not np.isfinite(weight).all():
        raise ValueError(f"weight must be finite, of two or more dimensions, not empty; its shape is {weight.shape}")
    damping = check_positive("damping", damping, zero=True)
    check_float_array("hessian", hessian)
    inputs = weight[0].size
    hessians = hessian[None] if hessian.ndim == 2 else hessian
    if hessians.ndim != 3 or hessians.shape[1:] != (inputs, inputs) or not hessians.size or len(weight) % len(hessians):
        raise ValueError(
            f"hessian must be (G, {inputs}, {inputs}), G a divisor of {len(weight)} outputs, not {hessian.shape}"
        )
    if not np.isfinite(hessians).all():
        raise ValueError("hessian must be finite: it holds NaN or infinity")
    kept = np.ones(weight.shape, bool) if mask is None else check_mask("mask", mask, weight.shape)
    shape = len(hessians), len(weight) // len(hessians), inputs
    hessians = np.array([_damped(each, damping) for each in hessians.astype(np.float64)])
    return weight.astype(np.float64).reshape(shape), hessians, kept.reshape(shape)


def _damped(hessian: np.ndarray, damping: float) -> np.ndarray:
    """H + damping mean(diag H) I; DEAD on the diagonal of inputs that are always 0."""
    diagonal = hessian.diagonal()
    return hessian + np.diag(np.where(diagonal == 0, DEAD, damping * diagonal.mean()))


def _factor(matrix: np.ndarray) -> tuple:
    try:
        return cho_factor(matrix)
    except LinAlgError:
        raise ValueError("damping must be greater: hessian is not positive definite") from None


def _orders(rows: np.ndarray, hessians: np.ndarray, kept: np.ndarray, **options) -> Pruned:
    """`removal_order` of the rows of all groups: two arrays (O, B)."""
    found = [
        removal_order(own, own_kept, cho_solve(_factor(hessian), np.eye(len(hessian))), **options)
        for own, hessian, own_kept in zip(rows, hessians, kept, strict=True)
    ]
    return np.concatenate([order for order, _ in found]), np.concatenate([costs for _, costs in found])


def _without(kept: np.ndarray, order: np.ndarray, counts: np.ndarray, block: int) -> np.ndarray:
    """`kept` without the first `counts` blocks of each row's order."""
    pruned = kept.copy()
    for row, blocks, count in zip(pruned.reshape(-1, kept.shape[2]), order, counts, strict=True):
        for b in blocks[:count]:
            row[b * block : (b + 1) * block] = False
    return pruned


def _refit(weight: np.ndarray, rows: np.ndarray, hessians: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """See `refit`; rows and masks by group."""
    new = np.where(kept, rows, 0)
    for g, hessian in enumerate(hessians):
        for o, mask in enumerate(kept[g]):
            lost = ~mask & (rows[g, o] != 0)
            if mask.any() and lost.any():
                factor = _factor(hessian[np.ix_(mask, mask)])
                new[g, o, mask] += cho_solve(factor, hessian[np.ix_(mask, lost)] @ rows[g, o, lost])
    return new.reshape(weight.shape).astype(weight.dtype)
