"""Removing weights from a row one by one, the others making up for each: optimal brain surgeon by elimination.

For the quadratic 1/2 (w - v) H (w - v)^T around a row v, with A the inverse of H over the weights that are left:

    w_p goes         costs 1/2 w_p^2 / A_pp
    the others       w  -= w_p / A_pp A_:p
    A without p      A  -= A_:p A_p: / A_pp         (one step of Gaussian elimination; row and column p become 0)
"""

import numpy as np

from ..machine.jit import kernel
from ..machine.threads import share


@kernel
def _eliminate(weights, inverse, p, line):
    """Remove weight p; returns what it costs. A is its upper triangle, `line` room for a row."""
    pivot = inverse[p, p]
    if pivot <= 0:  # gone already
        return 0.0
    line[:p], line[p:] = inverse[:p, p], inverse[p, p:]
    step = weights[p] / pivot
    cost = weights[p] * step / 2
    for i in range(len(weights)):
        factor = line[i] / pivot
        if i != p and factor != 0:
            weights[i] -= step * line[i]
            row, others = inverse[i, i:], line[i:]
            for j in range(len(others)):
                row[j] -= factor * others[j]
    weights[p] = 0
    inverse[:p, p], inverse[p, p:] = 0, 0
    return cost


@kernel
def _cost(weights, inverse, start, stop, own_weights, own_inverse, line):
    """What it costs to remove weights start ... stop - 1 together: 1/2 w_B (A_BB)^-1 w_B^T, one after the other."""
    if stop - start == 1:
        return weights[start] * weights[start] / inverse[start, start] / 2 if inverse[start, start] > 0 else 0.0
    size = stop - start
    w, a = own_weights[:size], own_inverse[:size, :size]
    w[:] = weights[start:stop]
    a[:] = inverse[start:stop, start:stop]
    cost = 0.0
    for p in range(size):
        cost += _eliminate(w, a, p, line[:size])
    return cost


@kernel
def _cheapest(weights, inverse, block, gone, spared, own_weights, own_inverse, line):
    """(the block that costs the least, what it costs); the block is -1 where none may go."""
    best, least = -1, np.inf
    for b in range(len(gone)):
        if not gone[b] and not spared[b]:
            end = min((b + 1) * block, len(weights))
            cost = _cost(weights, inverse, b * block, end, own_weights, own_inverse, line)
            if cost < least:
                best, least = b, cost
    return best, least


@kernel
def _remove_all(start, stop, rows, kept, inverse, block, of, most, order, costs):
    """Find the order of each row; see `removal_order`."""
    count, blocks = rows.shape[1], order.shape[1]
    a, line = np.empty((count, count)), np.empty(count)
    own_weights, own_inverse = np.empty(block), np.empty((block, block))
    for o in range(start, stop):
        w = rows[o]
        a[:] = inverse
        gone, spared = np.zeros(blocks, np.bool_), np.zeros(blocks, np.bool_)
        for p in range(count):
            if not kept[o, p]:
                w[p] = 0
                _eliminate(w, a, p, line)
        place = 0
        for b in range(blocks):
            if not kept[o, b * block : (b + 1) * block].any():
                gone[b] = True
                order[o, place] = b
                place += 1
        for first in range(0, blocks, of):
            spared[first : first + of] = gone[first : first + of].sum() >= most
        while place < blocks:
            b, cost = _cheapest(w, a, block, gone, spared, own_weights, own_inverse, line)
            if b < 0:
                break
            for p in range(b * block, min((b + 1) * block, count)):
                _eliminate(w, a, p, line)
            gone[b] = True
            order[o, place], costs[o, place] = b, cost
            place += 1
            first = b // of * of
            spared[first : first + of] = gone[first : first + of].sum() >= most


def removal_order(
    rows: np.ndarray, kept: np.ndarray, inverse: np.ndarray, *, block: int = 1, of: int = 0, most: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """In which order the blocks of each row of W (O, P) go, and what each adds to the error: arrays (O, ceil(P / c)).

    Parameters
    ----------
    kept : bool array (O, P)
        Blocks without a kept weight come first, at no cost.
    inverse : array (P, P)
        A = H^-1, symmetric positive definite, over all P weights.
    block : int
        Consecutive weights that go together, c; the last block may be smaller.
    of, most : int
        Of each `of` consecutive blocks at most `most` go (0: all may go). The order then ends with blocks -1.

    Notes
    -----
    Greedy: next goes the block of the lowest cost 1/2 w_B (A_BB)^-1 w_B^T, of equal ones the first. O(P^3) for a row,
    nearly all of it in the updates of A: about 1 s for 1600 weights. Rows are shared among the threads.
    """
    blocks = -(-rows.shape[1] // block)
    order, costs = np.full((len(rows), blocks), -1), np.zeros((len(rows), blocks))
    rows, kept = np.array(rows, np.float64, order="C"), np.ascontiguousarray(kept)
    inverse = np.ascontiguousarray(inverse, np.float64)
    share(_remove_all, len(rows), rows, kept, inverse, block, of or blocks, most or blocks, order, costs)
    return order, costs
