"""The weights of a pruned layer as a SciPy sparse matrix, out_channels x in_channels kh kw.

A `csr_array`, or a `bsr_array` where blocks of output channels share what they keep. The pattern is the mask, not the
values: a kept weight that happens to be 0.0 stays an explicit entry.
"""

import numpy as np
from scipy.sparse import bsr_array, csr_array


def to_csr(weight: np.ndarray, mask: np.ndarray | None = None, groups: int = 1) -> csr_array:
    """CSR array (O, C kh kw) of a weight (O, C / groups, kh, kw), or (O, I) of a weight (O, I).

    Notes
    -----
    Row o, of group g, lists its kept weights in increasing column order; weight (o, c, i, j) is in column
    ((g C/G + c) kh + i) kw + j.
    """
    matrix = weight.reshape(len(weight), -1)
    outputs, depth = matrix.shape
    first = (np.arange(outputs) * groups // outputs * depth).astype(np.int32)  # column of the group's first channel
    if mask is None:
        data, column = matrix.reshape(-1), (first[:, None] + np.arange(depth, dtype=np.int32)).reshape(-1)
        counts = np.full(outputs, depth)
    else:
        kept = mask.reshape(matrix.shape)
        row, column = np.nonzero(kept)
        data, column, counts = matrix[kept], column.astype(np.int32) + first[row], kept.sum(axis=1)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return csr_array((data, column, indptr), shape=(outputs, groups * depth))


def to_weight(matrix: csr_array, shape: tuple[int, ...], groups: int = 1) -> np.ndarray:
    """The weight of `shape`, (O, C / groups, kh, kw) or (O, I), with zeros where the matrix has no entry."""
    outputs, depth = shape[0], matrix.shape[1] // groups
    weight = np.zeros((outputs, depth), matrix.dtype)
    row = np.repeat(np.arange(outputs), np.diff(matrix.indptr))
    weight[row, matrix.indices - row * groups // outputs * depth] = matrix.data
    return weight.reshape(shape)


def to_bsr(matrix: csr_array, rows: int) -> bsr_array:
    """BSR array with blocks of `rows` x 1: what one row of a block keeps, the others have as explicit zeros at least.

    Where the outputs do not divide, rows of zeros fill the last block.
    """
    outputs, columns = matrix.shape
    more = -outputs % rows
    indptr = np.pad(matrix.indptr, (0, more), mode="edge")
    return csr_array((matrix.data, matrix.indices, indptr), shape=(outputs + more, columns)).tobsr((rows, 1))


def is_blocked(matrix: csr_array, rows: int) -> bool:
    """Whether each `rows` outputs in a row share their columns: the last ones may be fewer."""
    starts = np.arange(0, matrix.shape[0], rows)
    counts = np.diff(matrix.indptr)
    if not np.array_equal(np.minimum.reduceat(counts, starts), np.maximum.reduceat(counts, starts)):
        return False
    in_block = np.diff(to_bsr(matrix, rows).indptr)
    return np.array_equal(np.repeat(in_block, rows)[: len(counts)], counts)
