"""Sparse weights times dense inputs as plain loops over compressed sparse rows (CSR).

A row of the CSR matrix is an output unit, a column an input (c, i, j) of its window. One nonzero is one multiply-add of
a weight with a shifted piece of the input (direct sparse convolution, Park et al., ICLR 2017): no columns are built,
and a pruned weight costs nothing at all. It contributes nothing, not 0 * x: NaN and infinity reach an output only
through a kept weight.
"""

import numpy as np
from scipy.sparse import csr_array

from ..machine.jit import kernel
from ..machine.threads import count_worth, share

THREAD_MACS = 1 << 18  # the fewest multiply-adds that a second thread is woken for


@kernel
def _pad(image, pad_h, pad_w, padded):
    channels, height, width = image.shape
    for c in range(channels):
        for h in range(height):
            for w in range(width):
                padded[c, h + pad_h, w + pad_w] = image[c, h, w]


@kernel
def _convolve_shifted(data, indices, kernel_size, dilation, padded, flat, total):
    """total[r * W + q] += sum_k data[k] * flat[shift_k + r * W + q]; stride 1, rows of `total` as wide as the input.

    With the output laid out at the pitch of the padded input, position (r, q) of any kernel offset (c, i, j) is one
    constant shift away: the loop over a whole plane is a single contiguous one. The last (kernel_w - 1) d entries of a
    row straddle two rows; they are computed and never read.
    """
    _, height, width = padded.shape
    (kernel_h, kernel_w), (dilation_h, dilation_w) = kernel_size, dilation
    for k in range(data.size):
        value = data[k]
        c = indices[k] // (kernel_h * kernel_w)
        i = indices[k] // kernel_w % kernel_h * dilation_h
        j = indices[k] % kernel_w * dilation_w
        start = (c * height + i) * width + j
        shifted = flat[start : start + total.size]
        for q in range(total.size):
            total[q] += value * shifted[q]


@kernel
def _convolve_strided(data, indices, kernel_size, stride, dilation, padded, total):
    """total[r, q] += sum_k data[k] * padded[c_k, r * s + i_k * d, q * s + j_k * d], for any stride."""
    (kernel_h, kernel_w), (stride_h, stride_w), (dilation_h, dilation_w) = kernel_size, stride, dilation
    for k in range(data.size):
        value = data[k]
        c = indices[k] // (kernel_h * kernel_w)
        i = indices[k] // kernel_w % kernel_h * dilation_h
        j = indices[k] % kernel_w * dilation_w
        for r in range(total.shape[0]):
            for q in range(total.shape[1]):
                total[r, q] += value * padded[c, r * stride_h + i, q * stride_w + j]


@kernel
def _finish(total, bias, relu, plane):
    for r in range(plane.shape[0]):
        for q in range(plane.shape[1]):
            value = total[r, q] + bias
            plane[r, q] = plane.dtype.type(0) if relu and value < 0 else value


@kernel
def _conv(start, stop, x, data, indices, indptr, bias, kernel_size, stride, padding, dilation, relu, y):
    _, channels, height, width = x.shape
    _, outputs, out_h, out_w = y.shape
    pad_h, pad_w = padding
    padded = np.zeros((channels, height + 2 * pad_h, width + 2 * pad_w), x.dtype)
    flat = padded.reshape(padded.size)
    shifted = stride == (1, 1)
    pitch = padded.shape[2] if shifted else out_w
    total = np.empty((out_h, pitch), x.dtype)
    run = total.reshape(total.size)[: (out_h - 1) * pitch + out_w]
    for n in range(start, stop):
        _pad(x[n], pad_h, pad_w, padded)
        for o in range(outputs):
            own, places = data[indptr[o] : indptr[o + 1]], indices[indptr[o] : indptr[o + 1]]
            total[:] = 0
            if shifted:
                _convolve_shifted(own, places, kernel_size, dilation, padded, flat, run)
            else:
                _convolve_strided(own, places, kernel_size, stride, dilation, padded, total)
            _finish(total, bias[o], relu, y[n, o])


@kernel
def _linear(start, stop, x, data, indices, indptr, bias, relu, y):
    """y[n, o] = bias[o] + sum_k data[k] * x[n, indices[k]]; the samples are the innermost, contiguous loop."""
    features = x.shape[1]
    samples = stop - start
    turned = np.empty((features, samples), x.dtype)
    for n in range(samples):
        for i in range(features):
            turned[i, n] = x[start + n, i]
    total = np.empty(samples, x.dtype)
    for o in range(indptr.size - 1):
        total[:] = bias[o]
        for k in range(indptr[o], indptr[o + 1]):
            value, source = data[k], turned[indices[k]]
            for n in range(samples):
                total[n] += value * source[n]
        for n in range(samples):
            y[start + n, o] = y.dtype.type(0) if relu and total[n] < 0 else total[n]


@kernel
def _linear_single(x, data, indices, indptr, bias, relu, y):
    """y[o] = bias[o] + sum_k data[k] * x[indices[k]] for one sample; four sums, to keep the adders busy."""
    for o in range(indptr.size - 1):
        first, last = indptr[o], indptr[o + 1]
        whole = first + (last - first) // 4 * 4
        a = b = c = d = y.dtype.type(0)
        for k in range(first, whole, 4):
            a += data[k] * x[indices[k]]
            b += data[k + 1] * x[indices[k + 1]]
            c += data[k + 2] * x[indices[k + 2]]
            d += data[k + 3] * x[indices[k + 3]]
        for k in range(whole, last):
            a += data[k] * x[indices[k]]
        total = bias[o] + ((a + b) + (c + d))
        y[o] = y.dtype.type(0) if relu and total < 0 else total


def _arrays(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.data, matrix.indices, matrix.indptr


def csr_conv2d(
    x: np.ndarray,
    matrix: csr_array,
    bias: np.ndarray,
    kernel_size: tuple,
    stride: tuple,
    padding: tuple,
    y: np.ndarray,
    *,
    dilation: tuple = (1, 1),
    relu: bool = False,
) -> None:
    """Write the convolution of x (N, C, H, W) with weights (O, C kh kw) into y (N, O, H', W').

    The arguments are trusted: the plan has checked them. A convolution in groups is one whose rows have no entries in
    the columns of other groups' channels.

    Notes
    -----
    y[n,o,r,q] = b[o] + sum over k in row o of data[k] x[n, c, r s + i d - p, q s + j d - p], indices[k] = (c, i, j).
    """
    least = count_worth((matrix.nnz + len(bias)) * y.shape[2] * y.shape[3], THREAD_MACS)
    share(_conv, len(x), x, *_arrays(matrix), bias, kernel_size, stride, padding, dilation, relu, y, least=least)


def csr_linear(
    x: np.ndarray,
    matrix: csr_array,
    bias: np.ndarray,
    y: np.ndarray,
    *,
    relu: bool = False,
) -> None:
    """Write y[n, o] = b[o] + sum_{k in row o} data[k] x[n, indices[k]] for x (N, I) into y (N, O).

    The arguments are trusted: the plan has checked them.
    """
    if len(x) == 1:
        _linear_single(x[0], *_arrays(matrix), bias, relu, y[0])
    else:
        share(
            _linear, len(x), x, *_arrays(matrix), bias, relu, y, least=count_worth(matrix.nnz + x.shape[1], THREAD_MACS)
        )
