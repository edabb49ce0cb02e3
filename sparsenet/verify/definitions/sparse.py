"""Sparse matrices of weights, entry by entry. A matrix is only read: its shape, data, indices, indptr."""

from typing import Any

import numpy as np


def matrix_of(weight: np.ndarray, mask: np.ndarray, groups: int = 1) -> np.ndarray:
    """The weight as a matrix (O, C kh kw) over the channels of all groups: 0 where pruned, or of another group."""
    outputs, inputs = weight.shape[:2]
    places = int(np.prod(weight.shape[2:]))
    matrix = np.zeros((outputs, groups * inputs * places))
    for o, c in np.ndindex(outputs, inputs):
        first = (o * groups // outputs * inputs + c) * places
        for k, (value, keep) in enumerate(zip(weight[o, c].ravel(), mask[o, c].ravel(), strict=True)):
            matrix[o, first + k] = value if keep else 0
    return matrix


def kept_weight(weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The weight, 0 where it is pruned."""
    kept = zip(weight.ravel().tolist(), mask.ravel().tolist(), strict=True)
    return np.array([value if keep else 0.0 for value, keep in kept]).reshape(weight.shape)


def entries_of(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, where it has entries) of a CSR matrix, or of a BSR matrix with blocks of rows x 1."""
    full, there = np.zeros(matrix.shape), np.zeros(matrix.shape, bool)
    blocks = matrix.data.reshape(len(matrix.indices), -1)
    rows = blocks.shape[1]
    for row in range(len(matrix.indptr) - 1):
        for k in range(matrix.indptr[row], matrix.indptr[row + 1]):
            for i in range(rows):
                full[row * rows + i, matrix.indices[k]] += blocks[k, i]
                there[row * rows + i, matrix.indices[k]] = True
    return full, there


def blocks_of(there: np.ndarray, rows: int) -> np.ndarray:
    """Where blocks of `rows` x 1 have entries: wherever one row of a block has; rows are added to fill the last one."""
    filled = np.zeros((-(-len(there) // rows) * rows, there.shape[1]), bool)
    for o, column in zip(*np.nonzero(there), strict=True):
        first = o // rows * rows
        filled[first : first + rows, column] = True
    return filled


def is_blocked(matrix: Any, rows: int) -> bool:
    """Whether in each block of outputs all have entries in the same columns."""
    there = entries_of(matrix)[1]
    return all(np.array_equal(there[o], there[o // rows * rows]) for o in range(len(there)))


def product(matrix: Any, columns: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Each output's bias and its entries times the numbers of their columns: (outputs, positions)."""
    out = np.zeros((matrix.shape[0], columns.shape[1]))
    for o in range(matrix.shape[0]):
        out[o] += bias[o]
        for k in range(matrix.indptr[o], matrix.indptr[o + 1]):
            for position in range(columns.shape[1]):
                out[o, position] += matrix.data[k] * columns[matrix.indices[k], position]
    return out
