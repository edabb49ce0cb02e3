"""Fully connected product and its two gradients: BLAS on pieces of fixed size, shared among our threads."""

import numpy as np

from ..checks import check_output_gradient
from ..machine.threads import count_worth, share

THREAD_MACS = 1 << 20  # the fewest multiply-adds that a second thread is woken for
ROWS = 32  # rows of a piece: fixed, so that the bits do not depend on the number of threads
OUTPUTS = 512  # the same where few samples are multiplied one by one
FEW_SAMPLES = 4  # which BLAS multiplies faster by a matrix one by one than together


def _multiply(start: int, stop: int, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    np.matmul(left[start:stop], right, out=out[start:stop])


def matmul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left (M, K) @ right (K, N): out[m, n] = sum_k left[m, k] right[k, n]."""
    out = np.empty((left.shape[0], right.shape[1]), left.dtype)
    share(_multiply, len(left), left, right, out, chunk=ROWS, least=count_worth(right.size, THREAD_MACS))
    return out


def _multiply_samples(start: int, stop: int, x: np.ndarray, weight: np.ndarray, y: np.ndarray) -> None:
    for sample, row in zip(x, y, strict=True):
        np.matmul(weight[start:stop], sample, out=row[start:stop])


def linear_into(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, y: np.ndarray, *, relu: bool = False) -> None:
    """Write `linear` into y, with `relu` max(y, 0) of it."""
    if len(x) <= FEW_SAMPLES:
        least = count_worth(len(x) * weight.shape[1], THREAD_MACS)
        share(_multiply_samples, len(weight), x, weight, y, chunk=OUTPUTS, least=least)
    else:
        share(_multiply, len(x), x, weight.T, y, chunk=ROWS, least=count_worth(weight.size, THREAD_MACS))
    y += bias
    if relu:
        np.maximum(y, 0, out=y)


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y[n, o] = b[o] + sum_i w[o, i] x[n, i]."""
    y = np.empty((len(x), len(weight)), x.dtype)
    linear_into(x, weight, bias, y)
    return y


def linear_input_gradient(dy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """dx[n, i] = sum_o dy[n, o] w[o, i]."""
    return matmul(check_output_gradient(dy, (len(dy), len(weight)), weight.dtype), weight)


def linear_weight_gradient(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dw[o, i] = sum_n dy[n, o] x[n, i]."""
    return matmul(check_output_gradient(dy, (len(x), *dy.shape[1:]), x.dtype).T, x)
