"""Max and average pooling over windows, forward and backward: x (planes, H, W), a plane per image and channel.

A window that reaches over the border sees the inside only (max), or zeros that count (average), as in torch's defaults.
The 2x2 window with stride 2, which nearly every network uses, has loops of its own: fixed strides become vector code.
"""

import numpy as np

from ..checks import check_output_gradient
from ..machine import maxpool_tile
from ..machine.jit import kernel
from ..machine.threads import count_worth, share
from ..machine.vectors import LANES, compiled_as
from .im2col_conv import output_size
from .tile import larger


@compiled_as(maxpool_tile.max_of_squares)
def max_of_squares(source, upper, lower, target, place):
    """target[place + l] = max of source[upper + 2 l], source[upper + 2 l + 1] and the same two behind `lower`."""
    best = larger(source[upper : upper + 2 * LANES], source[lower : lower + 2 * LANES])
    target[place : place + LANES] = larger(best[::2], best[1::2])


THREAD_ELEMENTS = 1 << 15  # the fewest elements that a second thread is woken for


@kernel
def max_forward(start, stop, x, window_h, window_w, stride_h, stride_w, pad_h, pad_w, y):
    """Max pooling of the planes start <= plane < stop: the rows of a window, all columns at once, then its columns.

    A NaN passes: it is unequal to itself.
    """
    _, height, width = x.shape
    _, out_h, out_w = y.shape
    column_best = np.empty(width, x.dtype)
    for plane in range(start, stop):
        for r in range(out_h):
            top = r * stride_h - pad_h
            column_best[:] = x[plane, max(top, 0)]
            for h in range(max(top, 0) + 1, min(top + window_h, height)):
                row = x[plane, h]
                for w in range(width):
                    value, best = row[w], column_best[w]
                    column_best[w] = value if (value > best) | (value != value) else best
            for q in range(out_w):
                left = q * stride_w - pad_w
                best = column_best[max(left, 0)]
                for w in range(max(left, 0) + 1, min(left + window_w, width)):
                    value = column_best[w]
                    best = value if (value > best) | (value != value) else best
                y[plane, r, q] = best


@kernel
def _max_forward_2x2(start, stop, x, y):
    for plane in range(start, stop):
        for r in range(y.shape[1]):
            upper, lower = x[plane, 2 * r], x[plane, 2 * r + 1]
            for q in range(y.shape[2]):
                best = upper[2 * q]
                for value in (upper[2 * q + 1], lower[2 * q], lower[2 * q + 1]):
                    best = value if (value > best) | (value != value) else best
                y[plane, r, q] = best


@kernel
def max_squares(begin, end, height, width, x, y):
    """Max pooling of 2 x 2 windows with stride 2 of the planes begin <= c < end, by vectors; x and y flat.

    The last vector of a row overlaps the one before it. Where a row is shorter than a vector, the lanes behind it are
    the beginning of the next row, which is written next; behind the last row is no such place.
    """
    out_h, out_w = height // 2, width // 2
    for c in range(begin, end):
        for r in range(out_h):
            upper, place = c * height * width + 2 * r * width, c * out_h * out_w + r * out_w
            if out_w >= LANES or (place + LANES <= end * out_h * out_w and upper + width + 2 * LANES <= x.size):
                for q in range(0, out_w, LANES):
                    q = max(0, min(q, out_w - LANES))
                    max_of_squares(x, upper + 2 * q, upper + width + 2 * q, y, place + q)
                continue
            for q in range(out_w):
                best = x[upper + 2 * q]
                for source in (upper + 2 * q + 1, upper + width + 2 * q, upper + width + 2 * q + 1):
                    best = x[source] if (x[source] > best) | (x[source] != x[source]) else best
                y[place + q] = best


@kernel
def _max_backward(start, stop, dy, x, y, window_h, window_w, stride_h, stride_w, pad_h, pad_w, dx):
    _, height, width = dx.shape
    _, out_h, out_w = dy.shape
    for plane in range(start, stop):
        for r in range(out_h):
            for q in range(out_w):
                top, left = r * stride_h - pad_h, q * stride_w - pad_w
                rest = dy[plane, r, q]
                for h in range(max(top, 0), min(top + window_h, height)):
                    for w in range(max(left, 0), min(left + window_w, width)):
                        if x[plane, h, w] == y[plane, r, q]:  # the first of several maxima takes it all
                            dx[plane, h, w] += rest
                            rest = dy.dtype.type(0)


@kernel
def _max_backward_2x2(start, stop, dy, x, y, dx):
    zero = dy.dtype.type(0)
    width = y.shape[2]
    # even and odd columns apart, in arrays of their own: that is what lets the compiler use vectors (4 times as fast)
    rest, even, odd = np.empty(width, dy.dtype), np.empty(width, dy.dtype), np.empty(width, dy.dtype)
    for plane in range(start, stop):
        for r in range(y.shape[1]):
            best = y[plane, r]
            rest[:] = dy[plane, r]
            for i in range(2):
                source, target = x[plane, 2 * r + i], dx[plane, 2 * r + i]
                for q in range(width):
                    before = rest[q]
                    even[q] = before if source[2 * q] == best[q] else zero
                    between = zero if source[2 * q] == best[q] else before
                    odd[q] = between if source[2 * q + 1] == best[q] else zero
                    rest[q] = zero if source[2 * q + 1] == best[q] else between
                for q in range(width):
                    target[2 * q] = even[q]
                    target[2 * q + 1] = odd[q]


@kernel
def average_forward(start, stop, x, window_h, window_w, stride_h, stride_w, pad_h, pad_w, y):
    """Average pooling of the planes start <= plane < stop.

    The rows of a window are added first, all columns at once (vector code), then the columns of each window. Both sums
    are float64: one running float32 sum is wrong by 0.2 % on a map of 448 x 448.
    """
    _, height, width = x.shape
    _, out_h, out_w = y.shape
    column_sums = np.empty(width, np.float64)
    for plane in range(start, stop):
        for r in range(out_h):
            top = r * stride_h - pad_h
            column_sums[:] = 0
            for h in range(max(top, 0), min(top + window_h, height)):
                row = x[plane, h]
                for w in range(width):
                    column_sums[w] += row[w]
            for q in range(out_w):
                left = q * stride_w - pad_w
                total = 0.0
                for w in range(max(left, 0), min(left + window_w, width)):
                    total += column_sums[w]
                y[plane, r, q] = total / (window_h * window_w)


@kernel
def _average_backward(start, stop, dy, window_h, window_w, stride_h, stride_w, pad_h, pad_w, dx):
    """The same the other way round: row r of dy spread over the columns, then row h of dx from all r over it."""
    _, height, width = dx.shape
    _, out_h, out_w = dy.shape
    spread, total = np.empty((out_h, width), np.float64), np.empty(width, np.float64)
    for plane in range(start, stop):
        spread[:] = 0
        for r in range(out_h):
            for q in range(out_w):
                left, part = q * stride_w - pad_w, dy[plane, r, q] / (window_h * window_w)
                for w in range(max(left, 0), min(left + window_w, width)):
                    spread[r, w] += part
        for h in range(height):
            total[:] = 0
            for r in range(max((h + pad_h - window_h) // stride_h + 1, 0), min((h + pad_h) // stride_h + 1, out_h)):
                row = spread[r]
                for w in range(width):
                    total[w] += row[w]
            for w in range(width):
                dx[plane, h, w] = total[w]


def _planes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _share_planes(kernel, *arguments) -> None:
    """Share the planes of the 4-D arrays among the arguments, where there is enough for a second thread."""
    first = arguments[0]
    arguments = [_planes(a) if isinstance(a, np.ndarray) else a for a in arguments]
    least = count_worth(first.shape[2] * first.shape[3], THREAD_ELEMENTS)
    share(kernel, first.shape[0] * first.shape[1], *arguments, least=least)


def _is_2x2(window: tuple, stride: tuple, padding: tuple) -> bool:
    return (*window, *stride, *padding) == (2, 2, 2, 2, 0, 0)


def max_pool2d(x: np.ndarray, window: tuple, stride: tuple, padding: tuple, y: np.ndarray | None = None) -> np.ndarray:
    """y[n,c,r,q] = max over i, j of x[n, c, r s + i - p, q s + j - p], the positions inside the image."""
    if y is None:
        y = np.empty((*x.shape[:2], *output_size(x.shape[2:], window, stride, padding)), x.dtype)
    if _is_2x2(window, stride, padding):
        _share_planes(_max_forward_2x2, x, y)
    else:
        _share_planes(max_forward, x, *window, *stride, *padding, y)
    return y


def max_pool2d_gradient(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, window: tuple, stride: tuple, padding: tuple
) -> np.ndarray:
    """dx[n, c, argmax of the window] += dy[n,c,r,q]: the first position that holds the maximum takes the gradient."""
    dy = check_output_gradient(dy, y.shape, x.dtype)
    dx = np.zeros_like(x, order="C")
    if _is_2x2(window, stride, padding):
        _share_planes(_max_backward_2x2, dy, x, y, dx)
    else:
        _share_planes(_max_backward, dy, x, y, *window, *stride, *padding, dx)
    return dx


def average_pool2d(
    x: np.ndarray, window: tuple, stride: tuple, padding: tuple, y: np.ndarray | None = None
) -> np.ndarray:
    """y[n,c,r,q] = sum over i, j of x[n, c, r s + i - p, q s + j - p] / (window height * window width).

    The sum is taken in float64, whatever x is.
    """
    if y is None:
        y = np.empty((*x.shape[:2], *output_size(x.shape[2:], window, stride, padding)), x.dtype)
    _share_planes(average_forward, x, *window, *stride, *padding, y)
    return y


def average_pool2d_gradient(
    dy: np.ndarray, shape: tuple, dtype: np.dtype, window: tuple, stride: tuple, padding: tuple
) -> np.ndarray:
    """dx[n,c,h,w] += dy[n,c,r,q] / (window height * window width) for every window over (h, w) of x."""
    dy = check_output_gradient(dy, (*shape[:2], *output_size(shape[2:], window, stride, padding)), dtype)
    dx = np.empty(shape, dtype)
    _share_planes(_average_backward, dy, *window, *stride, *padding, dx)
    return dx
