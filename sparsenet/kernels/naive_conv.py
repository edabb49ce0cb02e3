"""Convolution as plain loops: the formulas as they are written, the oracle of every faster kernel.

Letters: n image, o output channel, c input channel of a group, (r, q) output position, (i, j) kernel position;
s = stride, p = padding, d = dilation; g = floor(o G / O) is the group of o, one of G, and G = 1 unless given. All three
kernels are one sum, read for one of its three arrays:

    y[n, o, r, q] = b[o] + sum_cij  w[o, c, i, j] * x[n, g*C/G + c, r*s + i*d - p, q*s + j*d - p]
"""

import numpy as np

from ..machine.jit import kernel
from .im2col_conv import check_convolution, output_size


@kernel
def _forward(x, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, y):
    images, outputs, out_h, out_w = y.shape
    _, channels, kernel_h, kernel_w = weight.shape
    for n in range(images):
        for o in range(outputs):
            first = o // (outputs // groups) * channels
            for r in range(out_h):
                for q in range(out_w):
                    total = bias[o]
                    for c in range(channels):
                        for i in range(kernel_h):
                            for j in range(kernel_w):
                                h = r * stride_h + i * dilation_h - pad_h
                                w = q * stride_w + j * dilation_w - pad_w
                                if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
                                    total += weight[o, c, i, j] * x[n, first + c, h, w]
                    y[n, o, r, q] = total


@kernel
def _input_gradient(dy, weight, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, dx):
    images, outputs, out_h, out_w = dy.shape
    _, channels, kernel_h, kernel_w = weight.shape
    for n in range(images):
        for o in range(outputs):
            first = o // (outputs // groups) * channels
            for r in range(out_h):
                for q in range(out_w):
                    for c in range(channels):
                        for i in range(kernel_h):
                            for j in range(kernel_w):
                                h = r * stride_h + i * dilation_h - pad_h
                                w = q * stride_w + j * dilation_w - pad_w
                                if 0 <= h < dx.shape[2] and 0 <= w < dx.shape[3]:
                                    dx[n, first + c, h, w] += weight[o, c, i, j] * dy[n, o, r, q]


@kernel
def _weight_gradient(x, dy, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, dw):
    images, outputs, out_h, out_w = dy.shape
    _, channels, kernel_h, kernel_w = dw.shape
    for n in range(images):
        for o in range(outputs):
            first = o // (outputs // groups) * channels
            for r in range(out_h):
                for q in range(out_w):
                    for c in range(channels):
                        for i in range(kernel_h):
                            for j in range(kernel_w):
                                h = r * stride_h + i * dilation_h - pad_h
                                w = q * stride_w + j * dilation_w - pad_w
                                if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
                                    dw[o, c, i, j] += dy[n, o, r, q] * x[n, first + c, h, w]


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
    y[n,o,r,q] = b[o] + sum_cij w[o,c,i,j] x[n, g C/G + c, r s + i d - p, q s + j d - p], zero outside the image.
    """
    check_convolution(x, weight, stride, padding, dilation, groups)
    size = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y = np.empty((len(x), len(weight), *size), x.dtype)
    _forward(x, weight, bias, *stride, *padding, *dilation, groups, y)
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
    dx[n, g C/G + c, r s + i d - p, q s + j d - p] += w[o,c,i,j] dy[n,o,r,q]   (the adjoint of x -> y).
    """
    dx = np.zeros((len(dy), weight.shape[1] * groups, *input_size), dy.dtype)
    _input_gradient(dy, weight, *stride, *padding, *dilation, groups, dx)
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
    dw[o,c,i,j] = sum_nrq dy[n,o,r,q] x[n, g C/G + c, r s + i d - p, q s + j d - p]   (the adjoint of w -> y).
    """
    dw = np.zeros((dy.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    _weight_gradient(x, dy, *stride, *padding, *dilation, groups, dw)
    return dw
