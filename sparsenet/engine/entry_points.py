"""The steps of a compiled plan: each reads its record by name and calls a kernel on a range of samples.

A record begins with a `Frame`. Activations that stay with one worker lie in its workspace (`x_local`, `y_local`), the
others at fixed addresses. Each function here compiles one step, once, and returns the address to call it at.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from ..kernels.direct_sparse_conv import TILE_CALL, ConvSizes, Scratch, TiledWeights, TileSizes, convolve, multiply_tile
from ..kernels.pooling import average_forward, max_forward, max_squares
from ..kernels.sparse_linear import (
    LinearSizes,
    RowWeights,
    SlicedWeights,
    multiply_samples,
    multiply_single,
    multiply_slices,
)
from ..machine.jit import inlined, kernel
from ..machine.pointers import floats, integers, record_at, record_of, shorts, step, tile_step, words
from ..machine.tile_shape import Tile


class Frame(NamedTuple):
    """What the record of every step begins with.

    `call` is first, as it is all that the worker pool reads: the address of the step's code. x and y are addresses, or
    where they are local bytes from the start of the workspace; their sizes are those of one sample.
    """

    call: int
    x: int
    x_size: int
    x_local: int
    y: int
    y_size: int
    y_local: int


class PoolSizes(NamedTuple):
    """Sizes of a pooling layer."""

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    window_y: int
    window_x: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int


class ScaleSizes(NamedTuple):
    """Sizes of y = factors x + shifts per channel."""

    channels: int
    plane: int
    relu: int


class ScaleWeights(NamedTuple):
    """One factor and one shift per channel, float32."""

    factors: np.ndarray
    shifts: np.ndarray


TILED = record_of(TileSizes, weights=record_of(TiledWeights), scratch=record_of(Scratch))


def _tiled_record(sizes: type) -> np.dtype:
    """Record of a step that multiplies by tiles: the address of their code, what this reads, the sizes of the layer."""
    return record_of(Frame, multiply=np.dtype(np.int64), tiled=TILED, sizes=record_of(sizes))


CONVOLUTION, BATCH_LINEAR = _tiled_record(ConvSizes), _tiled_record(LinearSizes)
TILED_AT = CONVOLUTION.fields["tiled"][1]  # bytes from the start of either record
ROW_LINEAR, SLICED_LINEAR = (
    record_of(Frame, weights=record_of(kind), sizes=record_of(LinearSizes)) for kind in (RowWeights, SlicedWeights)
)
POOLING = record_of(Frame, sizes=record_of(PoolSizes))
SCALING = record_of(Frame, weights=record_of(ScaleWeights), sizes=record_of(ScaleSizes))


@kernel
def _sample(address, size, local, n, first, workspace):
    """Activations of sample n, where samples begin at `first` in a worker's own buffer."""
    return floats(workspace + address + 4 * (n - first) * size if local else address + 4 * n * size, size)


@inlined
def _run_tile(tile, tiled, workspace):
    t = record_at(tiled, TILED)
    work, w, scratch = record_at(workspace, TILE_CALL), t.weights, t.scratch
    entries, bias = words(w.entries.address, w.entries.count), floats(w.bias.address, w.bias.count)
    indptr, spans = integers(w.indptr.address, w.indptr.count), integers(w.spans.address, w.spans.count)
    packed = floats(workspace + scratch.packed, scratch.packed_size)
    waiting = floats(workspace + scratch.sums, scratch.sums_size)
    multiply_tile(tile, t, work, entries, indptr, spans, bias, packed, waiting, floats(work.y, work.y_size))


@cache
def tile_multiplier(tile: Tile) -> int:
    """`direct_sparse_conv.multiply_tile` for such tiles."""

    def run(tiled, workspace):
        _run_tile(tile, tiled, workspace)

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
            x = _sample(s.x, s.x_size, s.x_local, n, first, workspace)
            y = _sample(s.y, s.y_size, s.y_local, n, first, workspace)
            convolve(s.multiply, tiled, workspace, work, s.sizes, t, x, reads, y, packed, part, parts)

    return step(run)


@cache
def batch_linear() -> int:
    """The fully connected layer for batches, for tiles of any size."""

    def run(address, first, last, part, parts, workspace):
        s, work = record_at(address, BATCH_LINEAR), record_at(workspace, TILE_CALL)
        t, tiled, samples = s.tiled, address + TILED_AT, last - first
        packed = floats(workspace + t.scratch.packed, t.scratch.packed_size)
        waiting = floats(workspace + t.scratch.sums, t.scratch.sums_size)
        x = floats(s.x + 4 * first * s.x_size, samples * s.x_size)
        y = floats(s.y + 4 * first * s.y_size, samples * s.y_size)
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
            x = _sample(s.x, s.x_size, s.x_local, n, first, workspace)
            y = _sample(s.y, s.y_size, s.y_local, n, first, workspace)
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
            x = _sample(s.x, s.x_size, s.x_local, n, first, workspace)
            y = _sample(s.y, s.y_size, s.y_local, n, first, workspace)
            multiply_slices(s.sizes, x, values, offsets, indptr, outputs, bias, y, part, parts)

    return step(run)


@cache
def max_pool_squares() -> int:
    """Max pooling with windows of 2 x 2 and stride 2."""

    def run(address, first, last, part, parts, workspace):
        s = record_at(address, POOLING)
        g = s.sizes
        begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
        for n in range(first, last):
            x = _sample(s.x, s.x_size, s.x_local, n, first, workspace)
            y = _sample(s.y, s.y_size, s.y_local, n, first, workspace)
            max_squares(begin, end, g.height, g.width, x, y)

    return step(run)


@inlined
def _pool(forward, address, first, last, part, parts, workspace):
    """Pooling with any window, by a kernel that takes planes."""
    s = record_at(address, POOLING)
    g = s.sizes
    begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
    for n in range(first, last):
        x = _sample(s.x, s.x_size, s.x_local, n, first, workspace).reshape((g.channels, g.height, g.width))
        y = _sample(s.y, s.y_size, s.y_local, n, first, workspace).reshape((g.channels, g.out_height, g.out_width))
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
            x = _sample(s.x, s.x_size, s.x_local, n, first, workspace)
            y = _sample(s.y, s.y_size, s.y_local, n, first, workspace)
            for c in range(part * channels // parts, (part + 1) * channels // parts):
                for p in range(c * plane, (c + 1) * plane):
                    total = factors[c] * x[p] + shifts[c]
                    y[p] = x.dtype.type(0) if relu and total < 0 else total

    return step(run)
