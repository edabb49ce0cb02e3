"""The steps of a plan: each layer frozen into one call that writes into its own buffer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from ..kernels import conv, csr, linear, pooling
from ..nn.layer import Layer
from ..nn.layers import Conv2d, ReLU
from ..nn.normalization import BatchNorm
from ..nn.pooling import AvgPool2d, MaxPool2d
from .formats import scipy_conv2d, scipy_linear, to_csr

Run = Callable[[np.ndarray, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a plan: run(x, y) computes y (N, *shape) from x (N, *input_shape), both contiguous.

    Attributes
    ----------
    name : str
        The layer it comes from.
    form : str
        "dense", "csr" or "scipy" for layers with weights, else "".
    source : str
        The step whose output it reads.
    input_shape, shape : tuple
        Of x and y, without the sample axis.
    folded : names
        The layers behind it that are folded into it.
    """

    name: str
    form: str
    source: str
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    run: Run
    folded: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FrozenWeights:
    """Weight, mask and bias of a layer with the batch normalisation behind it folded in.

    Notes
    -----
    y = scale (W x + b) + shift = (scale W) x + (scale b + shift), per output unit.
    """

    weight: np.ndarray
    mask: np.ndarray | None
    bias: np.ndarray

    def fold(self, scale: np.ndarray, shift: np.ndarray) -> "FrozenWeights":
        """These weights followed by y -> scale y + shift per output unit."""
        wide = scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return FrozenWeights(self.weight * wide, self.mask, self.bias * scale + shift)

    @property
    def csr(self) -> csr_array:
        """The kept weights as a CSR array (out, in * kh * kw)."""
        return to_csr(self.weight, self.mask)


def freeze_conv(form: str, layer: Conv2d, frozen: FrozenWeights, relu: bool) -> Run:
    """A convolution with `frozen` weights as run(x, y), by im2col and BLAS ("dense") or the CSR kernel ("csr")."""
    geometry = (layer.stride, layer.padding)
    bias = frozen.bias
    if form == "dense":
        weight = np.ascontiguousarray(frozen.weight)
        return lambda x, y: conv.conv2d_into(x, weight, bias, *geometry, y, relu=relu)
    rows = _arrays(frozen.csr)
    return lambda x, y: csr.csr_conv2d(x, rows, bias, layer.kernel_size, *geometry, y, relu=relu)


def freeze_linear(form: str, frozen: FrozenWeights, relu: bool) -> Run:
    """A fully connected layer with `frozen` weights as run(x, y)."""
    bias = frozen.bias
    if form == "dense":
        weight = np.ascontiguousarray(frozen.weight)
        return lambda x, y: linear.linear_into(x, weight, bias, y, relu=relu)
    rows = _arrays(frozen.csr)
    return lambda x, y: csr.csr_linear(x, rows, bias, y, relu=relu)


def freeze_scipy(layer: Conv2d | None, frozen: FrozenWeights, relu: bool) -> Run:
    """The same layer through SciPy's CSR product: the reference path."""
    matrix, bias = frozen.csr, frozen.bias

    def run(x, y):
        if layer is None:
            y[...] = scipy_linear(x, matrix, bias)
        else:
            y[...] = scipy_conv2d(x, matrix, bias, layer.kernel_size, layer.stride, layer.padding)
        if relu:
            np.maximum(y, 0, out=y)

    return run


def _arrays(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.data, matrix.indices, matrix.indptr


def freeze_plain(layer: Layer) -> Run:
    """A layer without weights as run(x, y). Layers of other types, subclasses too, run through their own forward."""
    kind = type(layer)
    if kind is MaxPool2d:
        return lambda x, y: pooling.max_pool2d(x, layer.window, layer.stride, layer.padding, y)
    if kind is AvgPool2d:
        return lambda x, y: pooling.average_pool2d(x, layer.window, layer.stride, layer.padding, y)
    if kind is ReLU:
        return lambda x, y: np.maximum(x, 0, out=y)
    if kind is BatchNorm:
        return _freeze_affine(*layer.affine())

    def run(x, y):
        y[...] = layer.forward(x)

    return run


def _freeze_affine(scale: np.ndarray, shift: np.ndarray) -> Run:
    def run(x, y):
        wide = [1] * (x.ndim - 2)
        np.multiply(x, scale.reshape(-1, *wide), out=y)
        y += shift.reshape(-1, *wide)

    return run
