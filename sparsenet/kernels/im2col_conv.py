"""Convolution as a matrix product: im2col, then BLAS (Chellapilla et al. 2006); forward and both backwards.

One image at a time, so that its columns stay in the cache: cols has a row per weight column (c, i, j) and a column per
output position (r, q), in the order of a weight row reshaped to (C kh kw):

    cols[(c, i, j), (r, q)] = x[c, r*s + i*d - p, q*s + j*d - p]

    forward           y[o, (r, q)]     = sum_k  w[o, k] cols[k, (r, q)]       y  = W cols + b
    weight gradient   dw[o, k]         = sum_rq dy[o, (r, q)] cols[k, (r, q)] dW = dY colsT, summed over images
    input gradient    dcols[k, (r, q)] = sum_o  w[o, k] dy[o, (r, q)]         dX = col2im(WT dY)

With G groups, outputs g O/G ... (g + 1) O/G - 1 read channels g C/G ... (g + 1) C/G - 1 only: a range of the rows of W
and one of the rows of cols, and each line above is a product per group. `naive_conv.py` has the same three functions as
plain loops.
"""

import numpy as np

from ..checks import check_output_gradient
from ..machine.jit import kernel
from ..machine.threads import count_worth, share

THREAD_MACS = 1 << 20  # the fewest multiply-adds that a second thread is woken for
WEIGHT_GRADIENT_PARTS = 8  # partial sums of dW, added in a fixed order: the same bits on any number of threads


def output_size(size: tuple, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple = (1, 1)) -> tuple[int, int]:
    """Output height and width: floor((size + 2 padding - window) / stride) + 1, window = (kernel - 1) dilation + 1."""
    sizes = zip(size, kernel, stride, padding, dilation, strict=True)
    height, width = ((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes)
    if height < 1 or width < 1:
        window = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        raise ValueError(f"a window of {window} does not fit an image of {tuple(size)} with padding {padding}")
    return height, width


def check_convolution(
    x: np.ndarray, weight: np.ndarray, stride: tuple, padding: tuple, dilation: tuple, groups: int
) -> None:
    """Raise where x (N, C, H, W) and weight (O, C / G, kh, kw) do not go together, before a kernel indexes them."""
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1] * groups or len(weight) % groups:
        raise ValueError(
            f"x {x.shape} and weight {weight.shape} must be (N, C, H, W) and (O, C / G, kh, kw) with one C, "
            f"and O a multiple of G = {groups} groups"
        )
    if x.dtype != weight.dtype:
        raise TypeError(f"x is {x.dtype} and weight {weight.dtype}: they must agree")
    output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)


@kernel
def _pad(image, pad_h, pad_w, padded):
    channels, height, width = image.shape
    for c in range(channels):
        for h in range(height):
            for w in range(width):
                padded[c, h + pad_h, w + pad_w] = image[c, h, w]


@kernel
def _im2col(padded, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, out_h, out_w, cols):
    for c in range(padded.shape[0]):
        for i in range(kernel_h):
            for j in range(kernel_w):
                row = cols[(c * kernel_h + i) * kernel_w + j]
                h, w = i * dilation_h, j * dilation_w
                if h < 0 or w < 0:  # never; without this the compiler allows for indices from the end, and is slower
                    continue
                for r in range(out_h):
                    if stride_w == 1:  # a loop of its own: contiguous, so that it becomes vector copies
                        for q in range(out_w):
                            row[r * out_w + q] = padded[c, r * stride_h + h, q + w]
                    else:
                        for q in range(out_w):
                            row[r * out_w + q] = padded[c, r * stride_h + h, q * stride_w + w]


@kernel
def _col2im(cols, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, out_h, out_w, padded):
    padded[:] = 0
    for c in range(padded.shape[0]):
        for i in range(kernel_h):
            for j in range(kernel_w):
                row = cols[(c * kernel_h + i) * kernel_w + j]
                h, w = i * dilation_h, j * dilation_w
                if h < 0 or w < 0:  # as above
                    continue
                for r in range(out_h):
                    if stride_w == 1:
                        for q in range(out_w):
                            padded[c, r * stride_h + h, q + w] += row[r * out_w + q]
                    else:
                        for q in range(out_w):
                            padded[c, r * stride_h + h, q * stride_w + w] += row[r * out_w + q]


@kernel
def _forward(start, stop, x, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, relu, y):
    _, channels, height, width = x.shape
    outputs, inputs, kernel_h, kernel_w = weight.shape
    out_h, out_w = y.shape[2], y.shape[3]
    rows, depth = outputs // groups, inputs * kernel_h * kernel_w
    matrix = weight.reshape(outputs, depth)
    padded = np.zeros((channels, height + 2 * pad_h, width + 2 * pad_w), x.dtype)
    cols = np.empty((groups * depth, out_h * out_w), x.dtype)
    for n in range(start, stop):
        _pad(x[n], pad_h, pad_w, padded)
        _im2col(padded, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, out_h, out_w, cols)
        image = y[n].reshape(outputs, out_h * out_w)
        for g in range(groups):
            o, k = g * rows, g * depth
            np.dot(matrix[o : o + rows], cols[k : k + depth], image[o : o + rows])
        for o in range(outputs):
            for q in range(out_h * out_w):
                total = image[o, q] + bias[o]
                image[o, q] = x.dtype.type(0) if relu and total < 0 else total


@kernel
def _input_gradient(start, stop, dy, weight, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, dx):
    _, channels, height, width = dx.shape
    outputs, inputs, kernel_h, kernel_w = weight.shape
    out_h, out_w = dy.shape[2], dy.shape[3]
    rows, depth = outputs // groups, inputs * kernel_h * kernel_w
    matrix = weight.reshape(outputs, depth)
    padded = np.empty((channels, height + 2 * pad_h, width + 2 * pad_w), dy.dtype)
    cols = np.empty((groups * depth, out_h * out_w), dy.dtype)
    for n in range(start, stop):
        image = dy[n].reshape(outputs, out_h * out_w)
        for g in range(groups):
            o, k = g * rows, g * depth
            np.dot(matrix[o : o + rows].T, image[o : o + rows], cols[k : k + depth])
        _col2im(cols, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, out_h, out_w, padded)
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    dx[n, c, h, w] = padded[c, h + pad_h, w + pad_w]


@kernel
def _weight_gradient(start, stop, x, dy, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, parts):
    images, channels, height, width = x.shape
    count, outputs, inputs, kernel_h, kernel_w = parts.shape
    out_h, out_w = dy.shape[2], dy.shape[3]
    padded = np.zeros((channels, height + 2 * pad_h, width + 2 * pad_w), x.dtype)
    rows, depth = outputs // groups, inputs * kernel_h * kernel_w
    cols = np.empty((groups * depth, out_h * out_w), x.dtype)
    product = np.empty((rows, depth), x.dtype)
    for part in range(start, stop):
        total = parts[part].reshape(outputs, depth)
        total[:] = 0
        for n in range(part * images // count, (part + 1) * images // count):
            _pad(x[n], pad_h, pad_w, padded)
            _im2col(padded, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, out_h, out_w, cols)
            image = dy[n].reshape(outputs, out_h * out_w)
            for g in range(groups):
                o, k = g * rows, g * depth
                np.dot(image[o : o + rows], cols[k : k + depth].T, product)
                sums = total[o : o + rows]  # `total[o : o + rows] += product` would copy the sum back onto itself
                sums += product


def conv2d_into(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: tuple,
    padding: tuple,
    dilation: tuple,
    groups: int,
    y: np.ndarray,
    *,
    relu: bool = False,
) -> None:
    """Write `conv2d` of contiguous arrays into y, with `relu` max(y, 0) of it (a NaN stays NaN). Nothing is checked."""
    least = count_worth(weight.size * y.shape[2] * y.shape[3], THREAD_MACS)
    share(_forward, len(x), x, weight, bias, *stride, *padding, *dilation, groups, relu, y, least=least)


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: tuple,
    padding: tuple,
    dilation: tuple = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Cross-correlation of x (N, C, H, W) with weight (O, C / G, kh, kw), plus bias (O,): y (N, O, H', W').

    Notes
    -----
    y[n,o,r,q] = b[o] + sum_cij w[o,c,i,j] x[n, g C/G + c, r s + i d - p, q s + j d - p], zero outside the image;
    o is one of the O/G outputs of group g.
    """
    check_convolution(x, weight, stride, padding, dilation, groups)
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape {weight.shape[:1]}, one for each output channel, not {bias.shape}")
    size = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y = np.empty((len(x), len(weight), *size), x.dtype)
    conv2d_into(np.ascontiguousarray(x), np.ascontiguousarray(weight), bias, stride, padding, dilation, groups, y)
    return y


def conv2d_input_gradient(
    dy: np.ndarray,
    weight: np.ndarray,
    input_size: tuple,
    stride: tuple,
    padding: tuple,
    dilation: tuple = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to x: dx (N, C, H, W) from dy (N, O, H', W').

    Notes
    -----
    dx[n, g C/G + c, r s + i d - p, q s + j d - p] += w[o,c,i,j] dy[n,o,r,q], o in group g   (the adjoint of x -> y).
    """
    shape = (len(dy), len(weight), *output_size(input_size, weight.shape[2:], stride, padding, dilation))
    dy, weight = check_output_gradient(dy, shape, weight.dtype), np.ascontiguousarray(weight)
    dx = np.empty((len(dy), weight.shape[1] * groups, *input_size), dy.dtype)
    share(_input_gradient, len(dy), dy, weight, *stride, *padding, *dilation, groups, dx)
    return dx


def conv2d_weight_gradient(
    x: np.ndarray,
    dy: np.ndarray,
    kernel_size: tuple,
    stride: tuple,
    padding: tuple,
    dilation: tuple = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to weight: dw (O, C / G, kh, kw), summed over the images.

    Notes
    -----
    dw[o,c,i,j] = sum_nrq dy[n,o,r,q] x[n, g C/G + c, r s + i d - p, q s + j d - p], o in group g   (the adjoint of
    w -> y).
    """
    shape = (len(x), dy.shape[1], *output_size(x.shape[2:], kernel_size, stride, padding, dilation))
    x, dy = np.ascontiguousarray(x), check_output_gradient(dy, shape, x.dtype)
    count = min(WEIGHT_GRADIENT_PARTS, max(len(x), 1))
    parts = np.empty((count, dy.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    share(_weight_gradient, len(parts), x, dy, *stride, *padding, *dilation, groups, parts)
    return parts.sum(axis=0)
