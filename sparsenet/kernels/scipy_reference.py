"""SciPy's own product with a pruned weight, behind im2col: the reference form of a sparse layer."""

import numpy as np
from scipy.sparse import csr_array

from .im2col_conv import output_size


def im2col(x: np.ndarray, kernel_size: tuple, stride: tuple, padding: tuple, dilation: tuple = (1, 1)) -> np.ndarray:
    """Windows of x (N, C, H, W) as columns (C kh kw, N H' W'), by NumPy's strides.

    Notes
    -----
    cols[(c, i, j), (n, r, q)] = x[n, c, r s + i d - p, q s + j d - p]
    """
    size = output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    spread = tuple((k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spread, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]  # n c r q i j
    rows = x.shape[1] * kernel_size[0] * kernel_size[1]
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(rows, len(x) * size[0] * size[1])


def scipy_conv2d(
    x: np.ndarray,
    matrix: csr_array,
    bias: np.ndarray,
    kernel_size: tuple,
    stride: tuple,
    padding: tuple,
    dilation: tuple = (1, 1),
) -> np.ndarray:
    """Convolution through SciPy's product, W @ columns: y (N, O, H', W')."""
    size = output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    product = matrix @ im2col(x, kernel_size, stride, padding, dilation)
    return product.reshape(len(bias), len(x), *size).transpose(1, 0, 2, 3) + bias[:, None, None]


def scipy_linear(x: np.ndarray, matrix: csr_array, bias: np.ndarray) -> np.ndarray:
    """Fully connected layer through SciPy's product: y = (W xT)T + b."""
    return (matrix @ x.T).T + bias
