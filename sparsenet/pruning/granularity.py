"""What goes as one: a weight, a filter, a channel, a block; their importance, and masks of them spread over weights.

Which granularity when: `Weight()`, the most goes at the same accuracy, and the sparse kernels (`compile`) turn it into
speed; `Block(4, 1)`, coarser and faster still there; `Filter()`, a smaller dense network (`remove_pruned_structures`)
that is fast everywhere, of which much less can go; `Channel()`, the same judged by the weights that read a unit.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..checks import check_count

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Weight:
    """Every weight is a unit of its own (unstructured pruning).

    Examples
    --------
    >>> scores = np.array([[1.0, 4.0, 2.0], [3.0, 6.0, 5.0]])
    >>> from sparsenet import make_masks
    >>> make_masks({"fc": scores}, 0.5, granularity=Weight())["fc"].astype(int).tolist()
    [[0, 1, 0], [0, 1, 1]]
    """

    axis = None


@dataclass(frozen=True)
class Filter:
    """A unit is an output: a filter of a convolution, a neuron with its incoming weights (axis 0).

    Examples
    --------
    >>> scores = np.array([[1.0, 4.0, 2.0], [3.0, 6.0, 5.0]])  # 7 and 14
    >>> from sparsenet import make_masks
    >>> make_masks({"fc": scores}, 0.5, granularity=Filter())["fc"].astype(int).tolist()
    [[0, 0, 0], [1, 1, 1]]
    """

    axis = 0


@dataclass(frozen=True)
class Channel:
    """A unit is an input: a channel with all weights that read it, a neuron's outgoing weights (axis 1).

    The article's theta_ij runs from neuron i to neuron j, so that its sum over j is this one. In a linear layer behind
    a flatten an input is a single feature.

    Examples
    --------
    >>> scores = np.array([[1.0, 4.0, 2.0], [3.0, 6.0, 5.0]])  # 4, 10 and 7
    >>> from sparsenet import make_masks
    >>> make_masks({"fc": scores}, 1 / 3, granularity=Channel())["fc"].astype(int).tolist()
    [[0, 1, 1], [0, 1, 1]]
    """

    axis = 1


@dataclass(frozen=True)
class Block:
    """A unit is a block of `rows` consecutive outputs by `columns` consecutive columns.

    Columns are those of the weight as a matrix (O, C kh kw), in the order (c, i, j). Where the outputs or the columns
    do not divide, the last block is smaller: its importance is the sum over what is there, and so tends to be lower.

    `Block(2, 1)` and `Block(4, 1)` are what the sparse kernels run fastest. `prune` treats blocks like weights: it
    spares no layer, and no weight of the next layer goes along.

    Examples
    --------
    >>> scores = np.array([[1.0, 4.0, 2.0], [3.0, 6.0, 5.0], [7.0, 9.0, 8.0]])  # blocks: 4, 10, 7 and 7, 9, 8
    >>> from sparsenet import make_masks
    >>> make_masks({"fc": scores}, 0.5, granularity=Block(2, 1))["fc"].astype(int).tolist()
    [[0, 1, 0], [0, 1, 0], [0, 1, 1]]
    """

    rows: int
    columns: int
    axis = None

    def __post_init__(self):
        check_count("rows", self.rows)
        check_count("columns", self.columns)


Granularity = Weight | Filter | Channel | Block


def sum_over_structures(scores: np.ndarray, granularity: Granularity) -> np.ndarray:
    """Importance of each unit.

    Notes
    -----
    I_u = sum of the scores of unit u's weights: shape (O,) for `Filter`, (C,) for `Channel`; for `Weight` the scores
    themselves, flat; for `Block(r, c)` flat, block (R, S) at R ceil(C kh kw / c) + S, with

    I_RS = sum of the scores of rows R r ... min(R r + r, O) - 1, columns S c ... min(S c + c, C kh kw) - 1

    Examples
    --------
    >>> scores = np.array([[1.0, 4.0, 2.0], [3.0, 6.0, 5.0]])
    >>> sum_over_structures(scores, Filter()).tolist(), sum_over_structures(scores, Channel()).tolist()
    ([7.0, 14.0], [4.0, 10.0, 7.0])
    """
    if isinstance(granularity, Block):
        matrix = scores.reshape(len(scores), -1)
        strips = np.add.reduceat(matrix, range(0, len(matrix), granularity.rows), axis=0, dtype=np.float64)
        return np.add.reduceat(strips, range(0, matrix.shape[1], granularity.columns), axis=1).reshape(-1)
    if granularity.axis is None:
        return scores.flatten()
    others = tuple(axis for axis in range(scores.ndim) if axis != granularity.axis)
    return scores.sum(axis=others, dtype=np.float64)


def spread_over_weights(units: np.ndarray, shape: tuple[int, ...], granularity: Granularity) -> np.ndarray:
    """Mask of shape `shape` from one boolean per unit: the inverse of `sum_over_structures` for masks.

    Examples
    --------
    >>> spread_over_weights(np.array([True, False]), (2, 3), Filter()).astype(int).tolist()
    [[1, 1, 1], [0, 0, 0]]
    """
    if isinstance(granularity, Block):
        row = np.arange(shape[0]) // granularity.rows
        column = np.arange(math.prod(shape[1:])) // granularity.columns
        return units.reshape(row[-1] + 1, -1)[row[:, None], column].reshape(shape)
    if granularity.axis is None:
        return units.reshape(shape).copy()
    wide = [1] * len(shape)
    wide[granularity.axis] = -1
    return np.broadcast_to(units.reshape(wide), shape).copy()
