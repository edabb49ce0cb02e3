"""The steps of a compiled plan: each reads its row of the plan's table and calls a kernel on a range of samples.

A row holds a `Frame`, where the arrays are, behind it a `Target`, which tiles read, and the sizes of the layer.
Activations that stay with one thread lie in that thread's workspace (`local`, then x and y are bytes from its start),
the others at fixed addresses.
"""

from functools import cache
from typing import NamedTuple

from ..kernels.direct_sparse_conv import (
    Convolution,
    Target,
    convolve,
    multiply_tile,
)
from ..kernels.pooling import average_forward, max_forward, max_squares
from ..kernels.sparse_linear import Product, multiply_samples, multiply_single, multiply_slices
from ..machine.jit import inlined, kernel
from ..machine.pointers import floats, integers, reader, shorts, step, tile_step, words
from ..machine.register_tile import tall_tile, wide_tile


class Frame(NamedTuple):
    """Where a step finds its arrays: addresses, and sizes in elements (x and y: of one sample).

    `call` is first, as it is all that the crew reads: the address of the step itself.
    """

    call: int
    x: int
    x_size: int
    x_local: int
    y: int
    y_size: int
    y_local: int
    multiply: int
    values: int
    value_count: int
    entries: int
    entry_count: int
    pointers: int
    pointer_count: int
    spans: int
    bias: int
    bias_size: int
    reads: int
    read_count: int
    window: int
    window_size: int
    sums: int
    sums_size: int


class Pooling(NamedTuple):
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


class Scaling(NamedTuple):
    """Sizes of y = scale x + shift per channel."""

    channels: int
    plane: int
    relu: int


TARGET = len(Frame._fields)
SIZES = TARGET + len(Target._fields)
ROW = SIZES + len(Convolution._fields)  # numbers in a row: the frame, the target and the longest of the others


read_frame, read_target = reader(Frame, 0), reader(Target, TARGET)
read_convolution, read_product, read_pooling, read_scaling = (
    reader(kind, SIZES) for kind in (Convolution, Product, Pooling, Scaling)
)


@kernel
def _sample(address, size, local, n, first, workspace):
    """Activations of sample n, where samples begin at `first` in a thread's own buffer."""
    return floats(workspace + address + 4 * (n - first) * size if local else address + 4 * n * size, size)


@inlined
def _run_tile(shape, row, workspace, y, y_size, chunk, first, last, base, begin, place, room):
    f, t = read_frame(row), read_target(row)
    entries, bias = words(f.entries, f.entry_count), floats(f.bias, f.bias_size)
    pointers, spans = integers(f.pointers, f.pointer_count), integers(f.spans, 2 * t.blocks)
    window, sums = floats(workspace + f.window, f.window_size), floats(workspace + f.sums, f.sums_size)
    y = floats(y, y_size)
    multiply_tile(
        shape, t, chunk, first, last, entries, pointers, spans, bias, window, base, sums, begin, y, place, room
    )


@cache
def tile_multiplier(outputs: int, rows: int, across: int, tall: bool) -> int:
    """Address of the multiplier of such tiles; compiled on first use."""
    shape = tall_tile(across) if tall else wide_tile(outputs, rows, across)

    def run(row, workspace, y, y_size, chunk, first, last, base, begin, place, room):
        _run_tile(shape, row, workspace, y, y_size, chunk, first, last, base, begin, place, room)

    return tile_step(run)


@cache
def convolution() -> int:
    """Address of the convolution, for tiles of any size."""

    def run(row, first, last, part, parts, workspace):
        f, t, g = read_frame(row), read_target(row), read_convolution(row)
        window, reads = floats(workspace + f.window, f.window_size), integers(f.reads, f.read_count)
        for n in range(first, last):
            x = _sample(f.x, f.x_size, f.x_local, n, first, workspace)
            y = _sample(f.y, f.y_size, f.y_local, n, first, workspace)
            convolve(f.multiply, row, workspace, g, t, x, reads, y, window, part, parts)

    return step(run)


@cache
def product() -> int:
    """Address of the fully connected layer for batches, for tiles of any size."""

    def run(row, first, last, part, parts, workspace):
        f, t, g = read_frame(row), read_target(row), read_product(row)
        window, sums = floats(workspace + f.window, f.window_size), floats(workspace + f.sums, f.sums_size)
        samples = last - first
        x = floats(f.x + 4 * first * f.x_size, samples * f.x_size)
        y = floats(f.y + 4 * first * f.y_size, samples * f.y_size)
        multiply_samples(f.multiply, row, workspace, g, t, x, samples, y, window, sums, part, parts)

    return step(run)


@cache
def single(sliced: bool) -> int:
    """Address of the fully connected layer, sample by sample, with entries or with slices of outputs as lanes."""

    def run(row, first, last, part, parts, workspace):
        f, g = read_frame(row), read_product(row)
        values, offsets = floats(f.values, f.value_count), shorts(f.entries, f.entry_count)
        pointers, bias = integers(f.pointers, f.pointer_count), floats(f.bias, f.bias_size)
        for n in range(first, last):
            x = _sample(f.x, f.x_size, f.x_local, n, first, workspace)
            y = _sample(f.y, f.y_size, f.y_local, n, first, workspace)
            if sliced:
                outputs = integers(f.spans, f.bias_size)
                multiply_slices(g, x, values, offsets, pointers, outputs, bias, y, part, parts)
            else:
                multiply_single(g, x, values, offsets, pointers, bias, y, part, parts)

    return step(run)


@cache
def max_pool_squares() -> int:
    """Address of max pooling with windows of 2 x 2 and stride 2."""

    def run(row, first, last, part, parts, workspace):
        f, g = read_frame(row), read_pooling(row)
        begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
        for n in range(first, last):
            x = _sample(f.x, f.x_size, f.x_local, n, first, workspace)
            y = _sample(f.y, f.y_size, f.y_local, n, first, workspace)
            max_squares(begin, end, g.height, g.width, x, y)

    return step(run)


@cache
def max_pool() -> int:
    """Address of max pooling with any window."""

    def run(row, first, last, part, parts, workspace):
        f, g = read_frame(row), read_pooling(row)
        begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
        for n in range(first, last):
            x = _sample(f.x, f.x_size, f.x_local, n, first, workspace).reshape((g.channels, g.height, g.width))
            y = _sample(f.y, f.y_size, f.y_local, n, first, workspace).reshape((g.channels, g.out_height, g.out_width))
            max_forward(begin, end, x, g.window_y, g.window_x, g.stride_y, g.stride_x, g.pad_y, g.pad_x, y)

    return step(run)


@cache
def average_pool() -> int:
    """Address of average pooling."""

    def run(row, first, last, part, parts, workspace):
        f, g = read_frame(row), read_pooling(row)
        begin, end = part * g.channels // parts, (part + 1) * g.channels // parts
        for n in range(first, last):
            x = _sample(f.x, f.x_size, f.x_local, n, first, workspace).reshape((g.channels, g.height, g.width))
            y = _sample(f.y, f.y_size, f.y_local, n, first, workspace).reshape((g.channels, g.out_height, g.out_width))
            average_forward(begin, end, x, g.window_y, g.window_x, g.stride_y, g.stride_x, g.pad_y, g.pad_x, y)

    return step(run)


@cache
def scale() -> int:
    """Address of y = values[c] x + bias[c] per channel, then max(y, 0) where asked: what could not be folded."""

    def run(row, first, last, part, parts, workspace):
        f, g = read_frame(row), read_scaling(row)
        values, bias = floats(f.values, f.value_count), floats(f.bias, f.bias_size)
        for n in range(first, last):
            x = _sample(f.x, f.x_size, f.x_local, n, first, workspace)
            y = _sample(f.y, f.y_size, f.y_local, n, first, workspace)
            for c in range(part * g.channels // parts, (part + 1) * g.channels // parts):
                for p in range(c * g.plane, (c + 1) * g.plane):
                    total = values[c] * x[p] + bias[c]
                    y[p] = x.dtype.type(0) if g.relu and total < 0 else total

    return step(run)
