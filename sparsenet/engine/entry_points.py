"""The steps of a compiled plan: each reads its record by name and calls a kernel on a range of samples.

A record begins with a `Frame` and the `Span`s of its input x and its output y. Activations that stay with one worker
lie in its workspace, the others at fixed addresses. Each function here compiles one step, once, and returns the address
to call it at.
"""

from functools import cache

import numpy as np

from ..kernels.depthwise_conv import DepthwiseSizes, TapWeights, convolve_channels
from ..kernels.direct_sparse_conv import TILE_CALL, ConvSizes, Scratch, TiledWeights, TileSizes, convolve, multiply_tile
from ..kernels.merging import add_to, add_two, copy_to, pad_channels
from ..kernels.pooling import average_forward, max_forward, max_squares
from ..kernels.sample_lanes_conv import SampleConvSizes, convolve_samples
from ..kernels.sparse_linear import (
    LinearSizes,
    RowWeights,
    SlicedWeights,
    multiply_samples,
    multiply_single,
    multiply_slices,
    multiply_slices_of_pairs,
)
from ..machine.jit import inlined, kernel
from ..machine.pointers import floats, integers, record_at, record_of, shorts, step, tile_step, words
from ..machine.tile_shape import Tile
from .records import AddSizes, ConcatSizes, Frame, PadSizes, PoolSizes, ScaleSizes, ScaleWeights, Span

SPAN = record_of(Span)
SPAN_BYTES = SPAN.itemsize
TILED = record_of(TileSizes, weights=record_of(TiledWeights), scratch=record_of(Scratch))


def _record(sizes: type, **more: np.dtype) -> np.dtype:
    """Record of a step: its frame, where its input and output lie, what else it reads, the sizes of the layer."""
    return record_of(Frame, x=SPAN, y=SPAN, **more, sizes=record_of(sizes))


def _tiled_record(sizes: type) -> np.dtype:
    """Record of a step that multiplies by tiles: the address of their code, what this reads, the sizes of the layer."""
    return _record(sizes, multiply=np.dtype(np.int64), tiled=TILED)


CONVOLUTION, SAMPLE_CONVOLUTION, BATCH_LINEAR = map(_tiled_record, (ConvSizes, SampleConvSizes, LinearSizes))
TILED_AT = CONVOLUTION.fields["tiled"][1]  # bytes from the start of each of these records
ROW_LINEAR, SLICED_LINEAR = (_record(LinearSizes, weights=record_of(kind)) for kind in (RowWeights, SlicedWeights))
SLICED_PAIRS = _record(LinearSizes, weights=record_of(SlicedWeights), scratch=record_of(Scratch))
DEPTHWISE = _record(DepthwiseSizes, weights=record_of(TapWeights))
POOLING, SCALING = _record(PoolSizes), _record(ScaleSizes, weights=record_of(ScaleWeights))
ADDITION, CONCATENATION, PADDING = (_record(sizes) for sizes in (AddSizes, ConcatSizes, PadSizes))


@kernel
def _sample(span, n, first, workspace):
    """Activations of sample n, where samples begin at `first` in a worker's own buffer."""
    if span.local:
        return floats(workspace + span.address + 4 * (n - first) * span.stride, span.count)
    return floats(span.address + 4 * n * span.stride, span.count)


@inlined
def _run_tile(tile, adds, tiled, workspace):
    t = record_at(tiled, TILED)
    work, w, scratch = record_at(workspace, TILE_CALL), t.weights, t.scratch
    entries, bias = words(w.entries.address, w.entries.count), floats(w.bias.address, w.bias.count)
    indptr, spans = integers(w.indptr.address, w.indptr.count), integers(w.spans.address, w.spans.count)
    packed = floats(workspace + scratch.packed, scratch.packed_size)
    waiting = floats(workspace + scratch.sums, scratch.sums_size)
    y, z = floats(work.y, work.y_size), floats(work.z, work.z_size)
    multiply_tile(tile, adds, t, work, entries, indptr, spans, bias, packed, waiting, y, z)


@cache
def tile_multiplier(tile: Tile, adds: bool = False) -> int:
    """`direct_sparse_conv.multiply_tile` for such tiles."""

    def run(tiled, workspace):
        _run_tile(tile, adds, tiled, workspace)

    return tile_step(run)


@cache
def convolution() -> int:
    """The convolution, for tiles of any size."""

    def run(address, first, last, part, parts, workspace):
        s, work = record_at(address, CONVOLUTION), record_at(workspace, TILE_CALL)
        t, tiled = s.tiled, address + TILED_AT
        reads = integers(t.weights.reads.address, t.weights.reads.count)
        packed = floats(workspace + t.scratch.packed, t.scratch.packed_size)
        for n in range(first, last):
            x = _sample(s.x, n, first, workspace)
            y = _sample(s.y, n, first, workspace)
            z = _sample(record_at(s.more, SPAN), n, first, workspace) if s.more_count else y
            convolve(s.multiply, tiled, workspace, work, s.sizes, t, x, reads, y, z, packed, part, parts)

    return step(run)


@cache
def depthwise(tile: Tile) -> int:
    """The depthwise convolution that reads its input where it lies, in such tiles."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, DEPTHWISE)
        w = s.weights
        values, bias = floats(w.values.address, w.values.count), floats(w.bias.address, w.bias.count)
        down, right = integers(w.down.address, w.down.count), integers(w.right.address, w.right.count)
        indptr, outputs = integers(w.indptr.address, w.indptr.count), s.sizes.outputs
        begin, end = part * outputs // parts, (part + 1) * outputs // parts
        for n in range(first, last):
            x, y = _sample(s.x, n, first, workspace), _sample(s.y, n, first, workspace)
            convolve_channels(tile, s.sizes, values, down, right, indptr, bias, x, y, begin, end)

    return step(run)


@inlined
def _batch(s, first, last, workspace):
    """Numbers of the samples first ... last - 1 of x and of y, the packed input, the waiting sums."""
    scratch, samples = s.tiled.scratch, last - first
    x = floats(s.x.address + 4 * first * s.x.count, samples * s.x.count)
    y = floats(s.y.address + 4 * first * s.y.count, samples * s.y.count)
    packed, waiting = (
        floats(workspace + scratch.packed, scratch.packed_size),
        floats(workspace + scratch.sums, scratch.sums_size),
    )
    return x, y, packed, waiting


@cache
def sample_convolution() -> int:
    """The convolution of small images in batches, for tiles of any size."""

    def run(address, first, last, part, parts, workspace):
        s, work = record_at(address, SAMPLE_CONVOLUTION), record_at(workspace, TILE_CALL)
        t, tiled, samples = s.tiled, address + TILED_AT, last - first
        reads = integers(t.weights.reads.address, t.weights.reads.count)
        x, y, packed, waiting = _batch(s, first, last, workspace)
        convolve_samples(
            s.multiply, tiled, workspace, work, s.sizes, t, x, samples, reads, y, packed, waiting, part, parts
        )

    return step(run)


@cache
def batch_linear() -> int:
    """The fully connected layer for batches, for tiles of any size."""

    def run(address, first, last, part, parts, workspace):
        s, work = record_at(address, BATCH_LINEAR), record_at(workspace, TILE_CALL)
        t, tiled, samples = s.tiled, address + TILED_AT, last - first
        x, y, packed, waiting = _batch(s, first, last, workspace)
        multiply_samples(s.multiply, tiled, workspace, work, s.sizes, t, x, samples, y, packed, waiting, part, parts)

    return step(run)


@cache
def row_linear() -> int:
    """The fully connected layer sample by sample, the entries of an output as lanes."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, ROW_LINEAR)
        w = s.weights
        values, offsets = floats(w.values.address, w.values.count), shorts(w.offsets.address, w.offsets.count)
        indptr, bias = integers(w.indptr.address, w.indptr.count), floats(w.bias.address, w.bias.count)
        for n in range(first, last):
            x = _sample(s.x, n, first, workspace)
            y = _sample(s.y, n, first, workspace)
            multiply_single(s.sizes, x, values, offsets, indptr, bias, y, part, parts)

    return step(run)


@cache
def sliced_linear() -> int:
    """The fully connected layer sample by sample, slices of outputs as lanes (SELL-C-sigma)."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, SLICED_LINEAR)
        w = s.weights
        values, offsets = floats(w.values.address, w.values.count), shorts(w.offsets.address, w.offsets.count)
        indptr, outputs = integers(w.indptr.address, w.indptr.count), integers(w.outputs.address, w.outputs.count)
        bias = floats(w.bias.address, w.bias.count)
        for n in range(first, last):
            x = _sample(s.x, n, first, workspace)
            y = _sample(s.y, n, first, workspace)
            multiply_slices(s.sizes, x, values, offsets, indptr, outputs, bias, y, part, parts)

    return step(run)


@cache
def sliced_linear_of_pairs() -> int:
    """The same for two samples at a time."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, SLICED_PAIRS)
        w, samples = s.weights, last - first
        values, offsets = floats(w.values.address, w.values.count), shorts(w.offsets.address, w.offsets.count)
        indptr, outputs = integers(w.indptr.address, w.indptr.count), integers(w.outputs.address, w.outputs.count)
        bias, pairs = floats(w.bias.address, w.bias.count), floats(workspace + s.scratch.packed, s.scratch.packed_size)
        x = floats(s.x.address + 4 * first * s.x.count, samples * s.x.count)
        y = floats(s.y.address + 4 * first * s.y.count, samples * s.y.count)
        multiply_slices_of_pairs(s.sizes, x, samples, values, offsets, indptr, outputs, bias, y, pairs, part, parts)

    return step(run)


@cache
def max_pool_squares() -> int:
    """Max pooling with windows of 2 x 2 and stride 2."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, POOLING)
        g = s.sizes
        begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
        for n in range(first, last):
            x = _sample(s.x, n, first, workspace)
            y = _sample(s.y, n, first, workspace)
            max_squares(begin, end, g.height, g.width, x, y)

    return step(run)


@inlined
def _pool(forward, address, first, last, part, parts, workspace):
    """Pooling with any window, by a kernel that takes planes."""
    s = record_at(address, POOLING)
    g = s.sizes
    begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
    for n in range(first, last):
        x = _sample(s.x, n, first, workspace).reshape((g.channels, g.height, g.width))
        y = _sample(s.y, n, first, workspace).reshape((g.channels, g.out_height, g.out_width))
        forward(begin, end, x, g.window_y, g.window_x, g.stride_y, g.stride_x, g.pad_y, g.pad_x, y)


@cache
def max_pool() -> int:
    """Max pooling with any window."""

    def run(address, first, last, part, parts, workspace):
        _pool(max_forward, address, first, last, part, parts, workspace)

    return step(run)


@cache
def average_pool() -> int:
    """Average pooling."""

    def run(address, first, last, part, parts, workspace):
        _pool(average_forward, address, first, last, part, parts, workspace)

    return step(run)


@cache
def scale() -> int:
    """y = factors[c] x + shifts[c] per channel, then max(y, 0) where asked: what could not be folded."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, SCALING)
        g, w = s.sizes, s.weights
        factors, shifts = floats(w.factors.address, w.factors.count), floats(w.shifts.address, w.shifts.count)
        channels, plane, relu = g.channels, g.plane, g.relu
        for n in range(first, last):
            x = _sample(s.x, n, first, workspace)
            y = _sample(s.y, n, first, workspace)
            for c in range(part * channels // parts, (part + 1) * channels // parts):
                for p in range(c * plane, (c + 1) * plane):
                    total = factors[c] * x[p] + shifts[c]
                    y[p] = x.dtype.type(0) if relu and total < 0 else total

    return step(run)


@cache
def addition() -> int:
    """y = x_1 + ... + x_k, then max(y, 0) where asked."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, ADDITION)
        relu, count = s.sizes.relu, s.more_count
        begin, end = part * s.y.count // parts, (part + 1) * s.y.count // parts
        for n in range(first, last):
            x, y = _sample(s.x, n, first, workspace), _sample(s.y, n, first, workspace)
            z = _sample(record_at(s.more, SPAN), n, first, workspace)
            add_two(begin, end, x, z, relu and count == 1, y)
            for i in range(1, count):
                z = _sample(record_at(s.more + i * SPAN_BYTES, SPAN), n, first, workspace)
                add_to(begin, end, z, relu and i == count - 1, y)

    return step(run)


@kernel
def _put(span, n, first, part, parts, workspace, place, y):
    """Copy a part of an input to its place in y, unless that is where it lies; returns the place behind it."""
    x = _sample(span, n, first, workspace)
    if x.ctypes.data != y.ctypes.data + 4 * place:
        copy_to(part * x.size // parts, (part + 1) * x.size // parts, x, place, y)
    return place + x.size


@cache
def concatenation() -> int:
    """The inputs of each sample one behind the other; those that already lie in y stay there."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, CONCATENATION)
        for n in range(first, last):
            y = _sample(s.y, n, first, workspace)
            place = _put(s.x, n, first, part, parts, workspace, 0, y)
            for i in range(s.more_count):
                place = _put(record_at(s.more + i * SPAN_BYTES, SPAN), n, first, part, parts, workspace, place, y)

    return step(run)


@cache
def channel_padding() -> int:
    """Every s-th position of each channel, between channels of zeros."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, PADDING)
        g = s.sizes
        begin, end = part * g.out_channels // parts, (part + 1) * g.out_channels // parts
        for n in range(first, last):
            x, y = _sample(s.x, n, first, workspace), _sample(s.y, n, first, workspace)
            pad_channels(begin, end, g, x, y)

    return step(run)
