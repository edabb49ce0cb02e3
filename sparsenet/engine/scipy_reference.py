"""A pruned weight as a SciPy CSR array, and SciPy's own product with it: the reference path of the engine."""

import numpy as np
from scipy.sparse import csr_array

from ..kernels.im2col_conv import output_size


def to_csr(weight: np.ndarray, mask: np.ndarray | None = None, groups: int = 1) -> csr_array:
    """CSR array (out, in * kh * kw) of a weight (out, in / groups, kh, kw) or (out, in).

    The pattern is the mask, not the values: a kept weight that happens to be 0.0 stays an explicit entry.

    Notes
    -----
    Row o, of group g, lists its kept weights in increasing column order; weight (o, c, i, j) is in column
    ((g C/G + c) kh + i) kw + j.
    """
    matrix = weight.reshape(len(weight), -1)
    kept = np.ones(matrix.shape, bool) if mask is None else mask.reshape(matrix.shape)
    pointer = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    outputs, depth = matrix.shape
    row, column = np.nonzero(kept)
    column = row * groups // outputs * depth + column
    return csr_array((matrix[kept], column.astype(np.int32), pointer.astype(np.int32)), shape=(outputs, groups * depth))


def im2col(x: np.ndarray, kernel_size: tuple, stride: tuple, padding: tuple, dilation: tuple = (1, 1)) -> np.ndarray:
    """Windows of x (N, C, H, W) as columns (C kh kw, N H' W'), by NumPy's strides.

    Notes
    -----
    cols[(c, i, j), (n, r, q)] = x[n, c, r s + i d - p, q s + j d - p]
    """
    output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    spread = tuple((k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spread, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]  # n c r q i j
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(x.shape[1] * kernel_size[0] * kernel_size[1], -1)


def scipy_conv2d(
    x: np.ndarray,
    csr: csr_array,
    bias: np.ndarray,
    kernel_size: tuple,
    stride: tuple,
    padding: tuple,
    dilation: tuple = (1, 1),
) -> np.ndarray:
    """Convolution through SciPy's product, CSR @ columns: y (N, O, H', W')."""
    size = output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    product = csr @ im2col(x, kernel_size, stride, padding, dilation)
    return product.reshape(-1, len(x), *size).transpose(1, 0, 2, 3) + bias[:, None, None]


def scipy_linear(x: np.ndarray, csr: csr_array, bias: np.ndarray) -> np.ndarray:
    """Fully connected layer through SciPy's product: y = (W xT)T + b."""
    return (csr @ x.T).T + bias
