"""The steps of a plan: each layer frozen into one call of Python, or into a native step that threads run without it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from ..kernels import csr_loops, im2col_conv, linear
from ..nn.layer import Layer
from ..nn.layers import Conv2d, ReLU
from ..nn.normalization import BatchNorm
from ..nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from . import entry_points as calls
from .folding import FrozenWeights
from .lowering import native_pool, native_scale
from .program import Native
from .scipy_reference import scipy_conv2d, scipy_linear

Run = Callable[[np.ndarray, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a plan: y (N, *shape) from x (N, *input_shape), both contiguous.

    Attributes
    ----------
    name : str
        The layer it comes from.
    form : str
        How a layer with weights runs (see `compile`), else "".
    input_shape, shape : tuple
        Of x and y, without the sample axis.
    native : Native, optional
        The step for compiled programs; without it `run(x, y)` is called.
    single : Native, optional
        What runs in its place for one sample alone.
    folded : names
        The layers behind it that are folded into it.
    kept : int
        Multiply-adds for one sample with the weights of its form: the kept ones, in a dense form all.
    measured : dict form -> seconds
        What each candidate took for a batch when the plan chose.
    """

    name: str
    form: str
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    native: Native | None = None
    single: Native | None = None
    run: Run | None = None
    folded: tuple[str, ...] = ()
    kept: int = 0
    measured: dict[str, float] = field(default_factory=dict)


def run_blas(layer: Layer, frozen: FrozenWeights, relu: bool) -> Run:
    """The dense layer as run(x, y), by BLAS (a convolution after im2col)."""
    weight, bias = np.ascontiguousarray(frozen.weight), frozen.bias
    if isinstance(layer, Conv2d):
        return lambda x, y: im2col_conv.conv2d_into(x, weight, bias, *layer.geometry, y, relu=relu)
    return lambda x, y: linear.linear_into(x, weight, bias, y, relu=relu)


def run_loops(layer: Layer, frozen: FrozenWeights, relu: bool) -> Run:
    """The sparse layer as run(x, y), by plain loops over CSR: the readable form, and the oracle of the native ones."""
    rows, bias = _arrays(_to_csr(layer, frozen)), frozen.bias
    if isinstance(layer, Conv2d):
        geometry = (layer.kernel_size, layer.stride, layer.padding)
        return lambda x, y: csr_loops.csr_conv2d(x, rows, bias, *geometry, y, dilation=layer.dilation, relu=relu)
    return lambda x, y: csr_loops.csr_linear(x, rows, bias, y, relu=relu)


def run_scipy(layer: Layer, frozen: FrozenWeights, relu: bool) -> Run:
    """The same layer through SciPy's CSR product: the reference path."""
    matrix, bias = _to_csr(layer, frozen), frozen.bias

    def run(x, y):
        if isinstance(layer, Conv2d):
            y[...] = scipy_conv2d(x, matrix, bias, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        else:
            y[...] = scipy_linear(x, matrix, bias)
        if relu:
            np.maximum(y, 0, out=y)

    return run


def _to_csr(layer: Layer, frozen: FrozenWeights) -> csr_array:
    return frozen.csr(layer.groups) if isinstance(layer, Conv2d) else frozen.csr()


def _arrays(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.data, matrix.indices, matrix.indptr


def is_pool_of_squares(layer: Layer) -> bool:
    """Whether a layer is max pooling of 2 x 2 squares beside each other."""
    return type(layer) is MaxPool2d and layer.window == layer.stride == (2, 2) and layer.padding == (0, 0)


def freeze_plain(layer: Layer, input_shape: tuple[int, ...], shape: tuple[int, ...]) -> Native | None:
    """A layer without weights as a native step; None for one of another type, subclasses too."""
    kind = type(layer)
    if kind in (MaxPool2d, AvgPool2d):
        largest = calls.max_pool_squares if is_pool_of_squares(layer) else calls.max_pool
        address = largest if kind is MaxPool2d else calls.average_pool
        return native_pool(address, input_shape, shape, layer.window, layer.stride, layer.padding)
    if kind is GlobalAvgPool2d:
        size = input_shape[1:]
        return native_pool(calls.average_pool, input_shape, (*shape, 1, 1), size, size, (0, 0))
    if kind is ReLU:
        ones = np.ones(input_shape[0])
        return native_scale(ones, np.zeros_like(ones), True, input_shape)
    if kind is BatchNorm:
        return native_scale(*layer.affine(), False, input_shape)
    return None


def run_forward(layer: Layer) -> Run:
    """Any layer as run(x, y), through its own forward."""

    def run(x, y):
        y[...] = layer.forward(x)

    return run
