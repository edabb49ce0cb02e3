"""Layers as native steps: sizes chosen, weights packed, scratch memory counted."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ..kernels import steps as calls
from ..kernels.simd import LANES
from ..nn.layers import Conv2d
from .program import Native
from .streams import Stream, pack_convolution, pack_product, size_convolution, size_product, size_single
from .weights import FrozenWeights


def native_convolution(
    layer: Conv2d, frozen: FrozenWeights, mask: np.ndarray, relu: bool, input_shape: tuple, rows: int
) -> Native:
    """Direct sparse convolution with tiles of M = `rows` output channels; `mask` is what the stream holds."""
    geometry = (layer.kernel_size, layer.stride, layer.padding)
    g, vectors = size_convolution(input_shape, layer.out_channels, *geometry, rows, dilation=layer.dilation, relu=relu)
    dilation_y, groups = layer.dilation[0], layer.groups
    stream = pack_convolution(frozen.weight, mask, frozen.bias, g, rows, dilation_y=dilation_y, groups=groups)
    return Native(
        address=partial(calls.convolution, rows, vectors, g.spread),
        sizes=g,
        input_size=int(np.prod(input_shape)),
        output_size=g.outputs * g.out_plane,
        stream=stream,
        window=g.chunk * g.shifts * g.spread * g.stride_y * g.depth * LANES,
        sums=-(-g.tall // vectors) * vectors * LANES * len(stream.bias),
        parts=g.tiles_y * g.tiles_x,
        work=len(stream.values) * g.out_plane,
    )


SUMS = 128 * 1024  # bytes of sums that one part of a fully connected layer should keep: they stay in the second cache


def native_product(frozen: FrozenWeights, mask: np.ndarray, relu: bool, batch: int, rows: int) -> Native:
    """Fully connected layer for batches, with tiles of M = `rows` outputs; the lanes are samples."""
    outputs, inputs = frozen.weight.shape
    g, vectors = size_product(inputs, outputs, batch, rows, relu=relu)
    stream = pack_product(frozen.weight, mask, frozen.bias, g, rows, vectors)
    groups, plane = -(-outputs // LANES), vectors * LANES
    pieces = -(-groups * LANES * plane * 4 // SUMS)
    return Native(
        address=partial(calls.product, rows, vectors),
        sizes=g,
        input_size=inputs,
        output_size=outputs,
        stream=stream,
        window=g.chunk * plane,
        sums=(-(-groups // pieces) + 1) * LANES * plane,
        samples=plane,
        parts=groups,
        pieces=pieces,
        work=len(stream.values) * plane,
    )


def native_single(frozen: FrozenWeights, mask: np.ndarray, relu: bool) -> Native:
    """Fully connected layer, sample by sample."""
    outputs, inputs = frozen.weight.shape
    g = size_single(inputs, outputs, relu=relu)
    stream = pack_product(frozen.weight, mask, frozen.bias, g, 1, 0)
    return Native(calls.single, g, inputs, outputs, stream, parts=outputs, work=len(stream.values))


def native_pool(
    address: Callable[[], int], input_shape: tuple, output_shape: tuple, window: tuple, stride: tuple, padding: tuple
) -> Native:
    """Max or average pooling, as `address` says."""
    g = calls.Pooling(*input_shape, *output_shape[1:], *window, *stride, *padding)
    size = int(np.prod(output_shape))
    return Native(address, g, int(np.prod(input_shape)), size, parts=input_shape[0], work=size * int(np.prod(window)))


def native_scale(scale: np.ndarray, shift: np.ndarray, relu: bool, shape: tuple) -> Native:
    """y = scale x + shift per channel, then ReLU where asked."""
    g = calls.Scaling(shape[0], int(np.prod(shape[1:])), int(relu))
    stream = Stream(
        scale.astype(np.float32), np.zeros(shape[0], np.int32), np.zeros(1, np.int64), shift.astype(np.float32)
    )
    size = int(np.prod(shape))
    return Native(calls.scale, g, size, size, stream, parts=shape[0], work=size)
