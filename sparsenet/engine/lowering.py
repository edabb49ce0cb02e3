"""Lowering: a layer becomes the description of a compiled step, its sizes chosen, weights packed, scratch counted."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.sparse import bsr_array, csr_array

from ..kernels import depthwise_conv
from ..kernels.sample_lanes_conv import SampleConvSizes
from ..kernels.tiling import (
    BLOCK_ROW,
    SPILL_VECTOR,
    Geometry,
    Tiling,
    tile_convolution,
    tile_linear,
)
from ..kernels.weight_packing import (
    block_of,
    count_weights,
    is_better_sliced,
    pack_convolution,
    pack_linear,
    pack_rows,
    pack_slices,
    pack_taps,
    size_single,
)
from ..machine.tile_shape import Tile
from ..machine.vectors import LANES, LINE, WIDTHS
from ..nn.layer import Layer
from ..nn.layers import Conv2d, ReLU
from ..nn.merge import Add, Concat, PadShortcut
from ..nn.normalization import BatchNorm
from ..nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from . import entry_points
from .folding import FoldedLayer, is_pool_of_squares
from .peak import numbers_at_once
from .program import CompiledStep
from .records import AddSizes, ConcatSizes, PadSizes, PoolSizes, ScaleSizes, ScaleWeights

IN_PLACE = "in place"  # a form of a depthwise convolution that copies nothing
SUMS_BYTES = 512 * 1024  # of sums that one part of a fully connected layer should keep: they stay in the second cache
PRIVATE_BYTES = 2 * 1024 * 1024  # of weights that each thread may read for itself
MOST_ROWS = 8  # of a tile of a depthwise convolution: enough multiply-adds under way, and room for masks beside them
TAP = 16  # multiply-adds that it takes to find what of the image a weight of a depthwise convolution meets
STACKED_TILES = 4  # tiles of samples that read a chunk of the weights while it is in the cache


def name_of(form: str, lanes: int) -> str:
    """The name of a form in tiles of vectors of so many numbers, where there are several widths."""
    return f"{form}, {lanes} lanes" if len(WIDTHS) > 1 else form


def is_in_place(step: CompiledStep | None) -> bool:
    """Whether a step reads its input where it lies."""
    return step is not None and isinstance(step.sizes, depthwise_conv.DepthwiseSizes)


def exact_form(form: str, step: CompiledStep | None) -> str:
    """The form by which `compile` makes the same step again."""
    if is_in_place(step):
        return f"{form}, {IN_PLACE}"
    return name_of(form, step.tile.lanes) if step and step.tile and not step.tile.channel_lanes else form


def geometry_of(layer: Conv2d, input_shape: tuple) -> Geometry:
    """The sizes of a convolution of images of this shape."""
    sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups
    return Geometry(tuple(input_shape), layer.out_channels, *sizes)


def _density(matrix: csr_array | bsr_array, groups: int = 1) -> float:
    return matrix.data.size * groups / (matrix.shape[0] * matrix.shape[1])


def lower_convolution(
    folded: FoldedLayer,
    matrix: csr_array | bsr_array,
    input_shape: tuple,
    *,
    pool: bool = False,
    adds: bool = False,
    batch: int = 1,
    widths: Sequence[int] = WIDTHS,
) -> CompiledStep | None:
    """Direct sparse convolution by `matrix`, with tiles of as many output channels as its blocks have.

    While the sums are in registers, with `adds` a second input is added to them, before ReLU, and with `pool` max
    pooling of 2 x 2 squares follows; None where tiles do not allow it. In a `batch` the lanes may be samples. The
    vectors of the tiles have one of the `widths`.
    """
    g = geometry_of(folded.layer, input_shape)
    tiling = tile_convolution(
        g,
        block_of(matrix),
        density=_density(matrix, g.groups),
        relu=folded.relu,
        pool=pool,
        samples=batch,
        widths=widths,
        at_once=numbers_at_once(),
    )
    if tiling is None or (adds and tiling.tile.channel_lanes):
        return None
    if isinstance(tiling.sizes, SampleConvSizes):
        return _lower_samples(folded, matrix, g, tiling)
    weights, sizes = pack_convolution(matrix, folded.bias, g, tiling), tiling.sizes
    output_size = tiling.tiles.outputs * tiling.tiles.plane
    tiles = -(-sizes.area_rows // sizes.tile_rows) * -(-sizes.area_columns // sizes.tile_columns)
    return CompiledStep(
        code=entry_points.convolution,
        record=entry_points.CONVOLUTION,
        multiply=partial(entry_points.tile_multiplier, tiling.tile, adds),
        tiles=tiling.tiles,
        sizes=sizes,
        input_sizes=(int(np.prod(input_shape)), *[output_size] * adds),
        output_size=output_size,
        weights=weights,
        packed=sizes.chunk * sizes.length + LINE,
        sums=tiles * tiling.tiles.blocks * tiling.tiles.sums + LINE,
        parts=sizes.areas_y * sizes.areas_x,
        work=count_weights(weights) * int(np.prod(g.output)),
        cost=tiling.cost,
    )


def can_be_in_place(layer: Conv2d) -> bool:
    """Whether a layer is a depthwise convolution that can read its input where it lies."""
    return layer.groups == layer.in_channels and all(s in depthwise_conv.STRIDES for s in layer.stride)


def lower_in_place(folded: FoldedLayer, matrix: csr_array, input_shape: tuple) -> CompiledStep:
    """The convolution of each channel by itself, its input read where it lies."""
    g = geometry_of(folded.layer, input_shape)
    (channels, height, width), (out_h, out_w) = g.shape, g.output
    tile, outputs = Tile(1, depthwise_conv.choose_rows(out_h, MOST_ROWS), 1), g.outputs
    sizes = depthwise_conv.DepthwiseSizes(
        outputs, outputs // channels, height, width, *g.stride, *g.padding, out_h, out_w, int(folded.relu)
    )
    tiles, taps = outputs * -(-out_h // tile.rows) * -(-out_w // LANES), matrix.nnz / outputs
    return CompiledStep(
        code=partial(entry_points.depthwise, tile),
        record=entry_points.DEPTHWISE,
        sizes=sizes,
        input_sizes=(channels * height * width,),
        output_size=outputs * out_h * out_w,
        weights=pack_taps(matrix, folded.bias, g),
        parts=outputs,
        work=LANES * tile.rows * tiles * int(taps + 1),
        cost=tiles * (taps * (tile.rows + TAP) + SPILL_VECTOR * tile.rows + BLOCK_ROW),
    )


def _lower_samples(folded: FoldedLayer, matrix: csr_array | bsr_array, g: Geometry, tiling: Tiling) -> CompiledStep:
    """The convolution with samples as lanes; threads share the outputs where there are few samples."""
    weights, sizes, tiles = pack_convolution(matrix, folded.bias, g, tiling), tiling.sizes, tiling.tiles
    pieces = min(tiles.blocks, -(-tiles.blocks * tiles.block * tiles.plane * 4 // SUMS_BYTES))
    most = -(-tiles.blocks // pieces) + 1  # block rows of a part
    count = sizes.out_height * -(-sizes.out_width // sizes.tile_rows)
    return CompiledStep(
        code=entry_points.sample_convolution,
        record=entry_points.SAMPLE_CONVOLUTION,
        multiply=partial(entry_points.tile_multiplier, tiling.tile),
        tiles=tiles,
        sizes=sizes,
        input_sizes=(sizes.inputs,),
        output_size=sizes.outputs,
        weights=weights,
        packed=sizes.chunk * (sizes.length + sizes.height * sizes.width * LINE) + LINE,
        sums=most * (tiles.block * tiles.plane + count * tiles.sums) + LINE,
        samples=sizes.lanes,
        parts=tiles.blocks,
        pieces=pieces,
        work=count_weights(weights) * int(np.prod(g.output)) * sizes.lanes,
        cost=tiling.cost,
    )


def lower_linear(
    folded: FoldedLayer,
    matrix: csr_array | bsr_array,
    batch: int,
    threads: int = 1,
    *,
    widths: Sequence[int] = WIDTHS,
) -> CompiledStep:
    """Fully connected layer for batches by `matrix`, in tiles of as many outputs as its blocks have; lanes are samples.

    Threads share the samples where each may read all weights, else the outputs.
    """
    outputs, inputs = folded.matrix.shape
    share = -(-batch // threads) if 8 * matrix.data.size <= PRIVATE_BYTES else batch
    tiling = tile_linear(
        inputs,
        outputs,
        share,
        block_of(matrix),
        density=_density(matrix),
        relu=folded.relu,
        widths=widths,
        at_once=numbers_at_once(),
    )
    weights, sizes = pack_linear(matrix, folded.bias, tiling), tiling.sizes
    plane = tiling.tiles.plane
    stack = min(STACKED_TILES, -(-share // plane))
    vectors = -(-outputs // LANES)
    pieces = -(-vectors * LANES * plane * stack * 4 // SUMS_BYTES)
    return CompiledStep(
        code=entry_points.batch_linear,
        record=entry_points.BATCH_LINEAR,
        multiply=partial(entry_points.tile_multiplier, tiling.tile),
        tiles=tiling.tiles,
        sizes=sizes,
        input_sizes=(inputs,),
        output_size=outputs,
        weights=weights,
        packed=sizes.chunk * sizes.apart + LINE,
        sums=(-(-vectors // pieces) + 1) * LANES * plane * stack,
        samples=plane * stack,
        parts=vectors,
        pieces=pieces,
        work=count_weights(weights) * plane * stack,
        cost=tiling.cost,
    )


def lower_single(folded: FoldedLayer, matrix: csr_array, *, batch: int = 1) -> CompiledStep:
    """Fully connected layer, sample by sample: the lanes are outputs, or entries where there are few outputs.

    Where the lanes are outputs, two samples are multiplied at once.
    """
    sliced = is_better_sliced(matrix)
    pairs = sliced and batch == 2
    weights = (pack_slices if sliced else pack_rows)(matrix, folded.bias)
    outputs, inputs = matrix.shape
    if pairs:
        code, record = entry_points.sliced_linear_of_pairs, entry_points.SLICED_PAIRS
    elif sliced:
        code, record = entry_points.sliced_linear, entry_points.SLICED_LINEAR
    else:
        code, record = entry_points.row_linear, entry_points.ROW_LINEAR
    return CompiledStep(
        code=code,
        record=record,
        sizes=size_single(matrix, relu=folded.relu),
        input_sizes=(inputs,),
        output_size=outputs,
        weights=weights,
        packed=2 * inputs if pairs else 0,
        samples=2 if pairs else 1,
        parts=len(weights.bias) // (LINE if sliced else 1),
        work=(1 + pairs) * LINE * count_weights(weights),  # numbers are gathered one by one
    )


def _lower_pool(
    code: Callable[[], int], input_shape: tuple, output_shape: tuple, window: tuple, stride: tuple, padding: tuple
) -> CompiledStep:
    sizes, size = PoolSizes(*input_shape, *output_shape[1:], *window, *stride, *padding), int(np.prod(output_shape))
    return CompiledStep(
        code=code,
        record=entry_points.POOLING,
        sizes=sizes,
        input_sizes=(int(np.prod(input_shape)),),
        output_size=size,
        parts=input_shape[0],
        work=size * int(np.prod(window)),
    )


def _lower_scale(factors: np.ndarray, shifts: np.ndarray, relu: bool, shape: tuple) -> CompiledStep:
    """y = factors x + shifts per channel, then ReLU where asked."""
    size = int(np.prod(shape))
    return CompiledStep(
        code=entry_points.scale,
        record=entry_points.SCALING,
        sizes=ScaleSizes(shape[0], int(np.prod(shape[1:])), int(relu)),
        input_sizes=(size,),
        output_size=size,
        weights=ScaleWeights(factors.astype(np.float32), shifts.astype(np.float32)),
        parts=shape[0],
        work=size,
    )


def _lower_padding(layer: PadShortcut, input_shape: tuple, shape: tuple) -> CompiledStep | None:
    """None where the input's channels do not lie in a row between the zeros."""
    copied = np.flatnonzero(np.array(layer.channels) >= 0)
    before = int(copied[0]) if copied.size else 0
    if layer.channels[before : before + layer.in_channels] != tuple(range(layer.in_channels)):
        return None
    size = int(np.prod(shape))
    return CompiledStep(
        code=entry_points.channel_padding,
        record=entry_points.PADDING,
        sizes=PadSizes(*input_shape, *shape, layer.stride, before),
        input_sizes=(int(np.prod(input_shape)),),
        output_size=size,
        parts=shape[0],
        work=size,
    )


def lower_merge(layer: Layer, input_shapes: Sequence[tuple[int, ...]], *, relu: bool = False) -> CompiledStep | None:
    """A layer of several inputs, a sum with ReLU where asked; None for one of another type, subclasses too."""
    sizes, kind = tuple(int(np.prod(shape)) for shape in input_shapes), type(layer)
    if kind is Add:
        return CompiledStep(
            code=entry_points.addition,
            record=entry_points.ADDITION,
            sizes=AddSizes(int(relu)),
            input_sizes=sizes,
            output_size=sizes[0],
            parts=input_shapes[0][0],
            work=sum(sizes),
        )
    if kind is Concat:
        return CompiledStep(
            code=entry_points.concatenation,
            record=entry_points.CONCATENATION,
            sizes=ConcatSizes(len(sizes)),
            input_sizes=sizes,
            output_size=sum(sizes),
            parts=sum(shape[0] for shape in input_shapes),
            work=sum(sizes),
        )
    return None


def lower_plain(layer: Layer, input_shape: tuple[int, ...], shape: tuple[int, ...]) -> CompiledStep | None:
    """A layer of one input without weights; None for one of another type, subclasses too."""
    kind = type(layer)
    if kind is PadShortcut:
        return _lower_padding(layer, input_shape, shape)
    if kind in (MaxPool2d, AvgPool2d):
        largest = entry_points.max_pool_squares if is_pool_of_squares(layer) else entry_points.max_pool
        code = largest if kind is MaxPool2d else entry_points.average_pool
        return _lower_pool(code, input_shape, shape, layer.window, layer.stride, layer.padding)
    if kind is GlobalAvgPool2d:
        size = input_shape[1:]
        return _lower_pool(entry_points.average_pool, input_shape, (*shape, 1, 1), size, size, (0, 0))
    if kind is ReLU:
        return _lower_scale(np.ones(input_shape[0]), np.zeros(input_shape[0]), True, input_shape)
    if kind is BatchNorm:
        return _lower_scale(*layer.affine(), False, input_shape)
    return None
