"""Rectified linear unit, forward and backward, as one pass each over the elements."""

import numpy as np

from ..checks import check_output_gradient
from ..machine.jit import kernel
from ..machine.threads import share

THREAD_ELEMENTS = 1 << 17  # the fewest elements that a second thread is woken for


@kernel
def _relu(start, stop, x, y):
    zero = x.dtype.type(0)
    x, y = x[start:stop], y[start:stop]  # loops from 0: from an unknown start they do not become vector code
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]  # a NaN stays


@kernel
def _relu_gradient(start, stop, dy, x, dx):
    zero = x.dtype.type(0)
    dy, x, dx = dy[start:stop], x[start:stop], dx[start:stop]
    for i in range(x.size):
        upstream = dy[i]
        dx[i] = upstream if x[i] > zero else zero


def _flat(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(x.size)


def relu(x: np.ndarray) -> np.ndarray:
    """y = max(x, 0), element by element; NaN stays NaN."""
    y = np.empty(x.shape, x.dtype)
    share(_relu, x.size, _flat(x), _flat(y), least=THREAD_ELEMENTS)
    return y


def relu_gradient(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy where x > 0, else 0 (the subgradient 0 at the kink)."""
    dy = check_output_gradient(dy, x.shape, x.dtype)
    dx = np.empty(x.shape, x.dtype)
    share(_relu_gradient, x.size, _flat(dy), _flat(x), _flat(dx), least=THREAD_ELEMENTS)
    return dx
