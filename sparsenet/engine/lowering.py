"""Layers as native steps: sizes chosen, weights packed, scratch memory counted."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ..kernels.tiling import Geometry, tile_convolution, tile_product
from ..kernels.weight_packing import (
    NOTHING,
    Stream,
    is_better_sliced,
    pack_convolution,
    pack_product,
    pack_single,
    pack_slices,
    size_single,
)
from ..machine.vectors import LANES, LINE
from ..nn.layers import Conv2d
from . import entry_points as calls
from .folding import FrozenWeights
from .program import Native


def geometry_of(layer: Conv2d, input_shape: tuple) -> Geometry:
    """The sizes of a convolution of images of this shape."""
    sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups
    return Geometry(tuple(input_shape), layer.out_channels, *sizes)


def native_convolution(
    layer: Conv2d,
    frozen: FrozenWeights,
    mask: np.ndarray,
    relu: bool,
    input_shape: tuple,
    block: int,
    *,
    pool: bool = False,
) -> Native | None:
    """Direct sparse convolution with tiles of M = `block` output channels; `mask` is what the stream holds.

    With `pool` max pooling of 2 x 2 squares follows while the sums are in registers; None where tiles do not allow it.
    """
    g = geometry_of(layer, input_shape)
    tiling = tile_convolution(g, block, density=float(mask.mean()), relu=relu, pool=pool)
    if tiling is None:
        return None
    stream, sizes = pack_convolution(frozen.weight, mask, frozen.bias, g, tiling), tiling.sizes
    tiles = -(-sizes.area_rows // sizes.tile_rows) * -(-sizes.area_columns // sizes.tile_columns)
    return Native(
        address=calls.convolution,
        multiply=partial(calls.tile_multiplier, *tiling.tile),
        target=tiling.target,
        sizes=sizes,
        input_size=int(np.prod(input_shape)),
        output_size=tiling.target.outputs * tiling.target.plane,
        stream=stream,
        window=sizes.chunk * sizes.length + LINE,
        sums=tiles * tiling.target.blocks * tiling.target.size + LINE,
        parts=sizes.areas_y * sizes.areas_x,
        work=stream.weights * int(np.prod(g.output)),
    )


SUMS = 512 * 1024  # bytes of sums that one part of a fully connected layer should keep: they stay in the second cache
NEAR = 2 * 1024 * 1024  # bytes of weights that each thread may read for itself
STACK = 4  # tiles of samples that read a chunk of the weights while it is in the cache


def native_product(
    frozen: FrozenWeights, mask: np.ndarray, relu: bool, batch: int, block: int, threads: int = 1
) -> Native:
    """Fully connected layer for batches, with tiles of M = `block` outputs; the lanes are samples.

    Threads share the samples where each may read all weights, else the outputs.
    """
    outputs, inputs = frozen.weight.shape
    share = -(-batch // threads) if 8 * mask.sum() <= NEAR else batch
    tiling = tile_product(inputs, outputs, share, block, density=float(mask.mean()), relu=relu)
    stream, sizes = pack_product(frozen.weight, mask, frozen.bias, tiling), tiling.sizes
    plane = tiling.target.plane
    stack = min(STACK, -(-share // plane))
    groups = -(-outputs // LANES)
    pieces = -(-groups * LANES * plane * stack * 4 // SUMS)
    return Native(
        address=calls.product,
        multiply=partial(calls.tile_multiplier, *tiling.tile),
        target=tiling.target,
        sizes=sizes,
        input_size=inputs,
        output_size=outputs,
        stream=stream,
        window=sizes.chunk * sizes.lines * LINE,
        sums=(-(-groups // pieces) + 1) * LANES * plane * stack,
        samples=plane * stack,
        parts=groups,
        pieces=pieces,
        work=stream.weights * plane * stack,
    )


def native_single(frozen: FrozenWeights, mask: np.ndarray, relu: bool) -> Native:
    """Fully connected layer, sample by sample: the lanes are outputs, or entries where there are few outputs."""
    outputs, inputs = frozen.weight.shape
    sliced = is_better_sliced(mask)
    stream = (pack_slices if sliced else pack_single)(frozen.weight, mask, frozen.bias)
    return Native(
        partial(calls.single, sliced),
        size_single(inputs, outputs, relu=relu),
        inputs,
        outputs,
        stream,
        parts=len(stream.bias) // (LINE if sliced else 1),
        work=LINE * stream.weights,  # numbers are gathered one by one
    )


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
    stream = Stream(NOTHING, NOTHING, NOTHING, shift.astype(np.float32), scale.astype(np.float32), NOTHING)
    size = int(np.prod(shape))
    return Native(calls.scale, g, size, size, stream, parts=shape[0], work=size)
