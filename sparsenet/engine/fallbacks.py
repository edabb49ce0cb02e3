"""Steps that are a call of Python: BLAS, plain loops over CSR, SciPy's product, and layers of unknown kinds."""

from collections.abc import Callable

import numpy as np

from ..kernels import csr_loops, im2col_conv, linear
from ..kernels.scipy_reference import scipy_conv2d, scipy_linear
from ..nn.layer import Layer
from ..nn.layers import Conv2d
from .folding import FoldedLayer

Run = Callable[..., None]  # run(x, y), with several inputs run(*inputs, y)


def run_blas(folded: FoldedLayer) -> Run:
    """The dense layer as run(x, y), by BLAS (a convolution after im2col)."""
    layer, weight, bias, relu = folded.layer, folded.weight, folded.bias, folded.relu
    if isinstance(layer, Conv2d):
        return lambda x, y: im2col_conv.conv2d_into(x, weight, bias, *layer.geometry, y, relu=relu)
    return lambda x, y: linear.linear_into(x, weight, bias, y, relu=relu)


def run_csr_loops(folded: FoldedLayer) -> Run:
    """The sparse layer as run(x, y), by plain loops over CSR: to read, and the oracle of the compiled forms."""
    layer, matrix, bias, relu = folded.layer, folded.matrix, folded.bias, folded.relu
    if isinstance(layer, Conv2d):
        geometry = (layer.kernel_size, layer.stride, layer.padding)
        return lambda x, y: csr_loops.csr_conv2d(x, matrix, bias, *geometry, y, dilation=layer.dilation, relu=relu)
    return lambda x, y: csr_loops.csr_linear(x, matrix, bias, y, relu=relu)


def run_scipy(folded: FoldedLayer) -> Run:
    """The same layer through SciPy's CSR product: the reference path."""
    layer, matrix, bias = folded.layer, folded.matrix, folded.bias

    def run(x, y):
        if isinstance(layer, Conv2d):
            y[...] = scipy_conv2d(x, matrix, bias, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        else:
            y[...] = scipy_linear(x, matrix, bias)
        if folded.relu:
            np.maximum(y, 0, out=y)

    return run


def run_forward(layer: Layer) -> Run:
    """Any layer as run(*inputs, y), through its own forward."""

    def run(*arrays):
        *inputs, y = arrays
        y[...] = layer.forward(*inputs)

    return run
