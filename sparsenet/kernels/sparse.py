"""Direct sparse convolution and products, one tile of the output at a time in registers (Park et al., ICLR 2017).

Every kept weight (o, c, i, j) is one fused multiply-add of a number with a shifted piece of the input. It is fast as:

- the tile, R vectors of M output channels, stays in registers over all weights of an output row;
- the pieces come from a *window*, a copy of the few input channels that the tile needs next, small enough for the
  first-level cache: channels go in chunks, and the tile's sums wait in `sums` between them;
- the window begins each row at a cache line, so that no load crosses one (where two vectors fill a line or more, by a
  copy for each column shift), and holds zeros where the image ends, so that there is no edge to test for;
- the weights are a stream of (values, offset into the window), in the order in which they are used.

A dense layer is the pattern with every weight kept; M x 1 blocks of output channels share one offset (and one load) for
M weights. A pruned weight is not in the stream: it contributes nothing, not 0 x; NaN and infinity reach an output only
through a kept weight.

    y[o, r, q] = b[o] + sum_k values[k] window[offsets[k] + (r, q)],   k over row o of the stream
"""

from typing import NamedTuple

import numpy as np

from .jit import inlined, kernel
from .lanes import clear, copy_every_second, copy_lanes, copy_vector, prefetch, transpose
from .simd import LANES, fma, fma_scalar, load, relu, splat, store


class Convolution(NamedTuple):
    """Sizes of one convolution, in numbers of elements.

    `pitch` and `plane` are the distances between rows and between channels. A tile covers R rows of LANES columns; a
    `flat` one (1 x 1 kernels) R LANES positions of the image in a row. A window serves the tiles that cover `tall` rows
    (vectors, if flat), one below the other; it holds `shifts` copies of a channel, each for one column shift, or one of
    rows that are `spread` vectors wide and serve all shifts. `depth` rows hold one (channel, copy, row phase) of it.
    """

    channels: int
    height: int
    width: int
    pitch: int
    plane: int
    outputs: int
    out_height: int
    out_width: int
    out_pitch: int
    out_plane: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    dilation_x: int
    shifts: int
    spread: int
    depth: int
    chunk: int
    chunks: int
    tiles_y: int
    tiles_x: int
    tall: int
    flat: int
    splits: int
    relu: int


class Product(NamedTuple):
    """Sizes of one fully connected layer."""

    inputs: int
    outputs: int
    chunk: int
    chunks: int
    relu: int


@kernel
def _meeting(start, size, stride, count):
    """First and last of the steps t < count for which 0 <= start + t stride < size."""
    if stride == 1:  # divisions are slow
        first, last = -start, size - start
    else:
        first, last = -(start // stride), (size - 1 - start) // stride + 1
    first = min(count, max(0, first))
    return first, max(first, min(count, last))


@kernel
def pack_window(g, x, first_channel, last_channel, top, left, window):
    """Copy what a tile needs of some channels of x, whose first lane's first tap is x[top, left], into the window.

    window[((c kw + j) s + phase) depth + t, lane] = x[c, top + phase + t s, left + j d + lane s], 0 outside the image;
    with a spread of 2 there is j = 0 only, of twice the lanes: a column shift is then a shift within a cache line.
    """
    step, stride, depth, ahead = g.stride_y * g.pitch, g.stride_x, g.depth, 2 * g.plane
    reach = (g.kernel_width - 1) * g.dilation_x  # lanes of the second vector that a shift comes to
    place = 0
    for c in range(first_channel, last_channel):
        for j in range(g.shifts):
            column = left + j * g.dilation_x
            first, last = _meeting(column, g.width, stride, LANES)  # the lanes that meet the image
            whole = stride == 1 and first == 0 and last == LANES
            first_behind, last_behind = _meeting(column + LANES, g.width, 1, reach)
            for phase in range(g.stride_y):
                row = top + phase
                above, below = _meeting(row, g.height, g.stride_y, depth)  # the rows that do
                start = c * g.plane + row * g.pitch + column
                for t in range(depth):
                    source, target = start + t * step, place + t * g.spread * LANES
                    if t < above or t >= below:
                        clear(window, target)
                    elif whole:
                        prefetch(x, source + ahead)
                        copy_vector(x, source, window, target)
                    elif stride == 1:
                        prefetch(x, source + ahead)
                        copy_lanes(x, source, first, last, window, target)
                    elif stride == 2:
                        prefetch(x, source + ahead)
                        prefetch(x, source + ahead + LANES)
                        copy_every_second(x, source, first, last, window, target)
                    else:
                        clear(window, target)
                        for lane in range(first, last):
                            window[target + lane] = x[source + lane * stride]
                    if g.spread == 2:
                        inside = above <= t < below
                        copy_lanes(
                            x, source + LANES, first_behind, last_behind if inside else 0, window, target + LANES
                        )
                place += depth * g.spread * LANES


@kernel
def _store_part(block_size, vectors, g, sums, base, o, rows, r0, q0, y):
    """Write the part of a tile that lies within the output, from memory: for images smaller than a tile."""
    for m in range(min(rows, g.outputs - o)):
        for v in range(min(vectors, g.out_height - r0)):
            start = base + m * block_size + v * LANES
            target = (o + m) * g.out_plane + (r0 + v) * g.out_pitch + q0
            for lane in range(min(LANES, g.out_width - q0)):
                y[target + lane] = sums[start + lane]


@inlined
def multiply_tile(tile, g, chunk, first, last, values, offsets, rows, bias, window, base, sums, begin, r0, q0, y):
    """Add one chunk of channels to the tile at (r0, q0) for the block rows first <= o < last; the last chunk writes y.

    The tile's input begins at window[base], what it keeps between chunks at sums[begin].

    Notes
    -----
    total = b + sum over k in row o of values[k] window[offsets[k] ...], then max(total, 0) where `g.relu`.
    """
    m, vectors = len(tile), len(tile[0])
    plane = vectors * LANES
    blocks = -(-g.outputs // m)
    fits = r0 + vectors <= g.out_height and q0 + LANES <= g.out_width
    for o in range(first, last):
        entry, end = rows[chunk * blocks + o], rows[chunk * blocks + o + 1]
        if entry == end and 0 < chunk < g.chunks - 1:
            continue
        place = begin + (o - first) * m * plane
        total = splat(tile, bias, o * m) if chunk == 0 else load(tile, sums, place)
        for k in range(entry, end):
            total = fma(tile, total, values, offsets, k, window, base)
        if chunk < g.chunks - 1:
            store(total, sums, place, plane, LANES)
            continue
        if g.relu:
            total = relu(total)
        if fits and (o + 1) * m <= g.outputs:
            store(total, y, o * m * g.out_plane + r0 * g.out_pitch + q0, g.out_plane, g.out_pitch)
        else:
            store(total, sums, place, plane, LANES)
            _store_part(plane, vectors, g, sums, place, o * m, m, r0, q0, y)


@kernel
def convolve(tile, g, x, values, offsets, rows, bias, y, window, sums, part, parts):
    """Write the part-th of `parts` parts of the convolution of one image x into y (both flat).

    The last tile of a row or column overlaps the one before it instead of reaching over the edge: the positions that
    two tiles share get the same bits twice.
    """
    vectors, blocks = len(tile[0]), -(-g.outputs // len(tile))
    columns = g.tall * LANES if g.flat else LANES
    size = len(tile) * vectors * LANES
    tasks = g.tiles_y * g.tiles_x * g.splits
    for task in range(part * tasks // parts, (part + 1) * tasks // parts):
        place, split = task // g.splits, task % g.splits
        first, last = split * blocks // g.splits, (split + 1) * blocks // g.splits
        r0 = max(0, min(place // g.tiles_x * g.tall, g.out_height - g.tall))
        q0 = max(0, min(place % g.tiles_x * columns, g.out_width - columns))
        top, left = r0 * g.stride_y - g.pad_y, q0 * g.stride_x - g.pad_x
        for chunk in range(g.chunks):
            channel = chunk * g.chunk
            pack_window(g, x, channel, min(channel + g.chunk, g.channels), top, left, window)
            begin = 0
            for row in range(0, g.tall, vectors):
                row = max(0, min(row, g.tall - vectors))
                r, q = (r0, q0 + row * LANES) if g.flat else (r0 + row, q0)
                base = row * g.spread * LANES
                multiply_tile(
                    tile, g, chunk, first, last, values, offsets, rows, bias, window, base, sums, begin, r, q, y
                )
                begin += (last - first) * size


@kernel
def _pack_samples(vectors, g, x, first_input, last_input, samples, window):
    """window[i R LANES + n] = x[n, i]: samples become lanes, by transposed squares where whole ones exist."""
    plane = vectors * LANES
    for n in range(0, plane, LANES):
        i = first_input
        if n + LANES <= samples:
            while i + LANES <= last_input:
                transpose(x, n * g.inputs + i, g.inputs, window, (i - first_input) * plane + n, plane)
                i += LANES
        while i < last_input:
            for lane in range(LANES):
                value = x[(n + lane) * g.inputs + i] if n + lane < samples else x.dtype.type(0)
                window[(i - first_input) * plane + n + lane] = value
            i += 1


@kernel
def _unpack_samples(vectors, g, sums, first_output, last_output, samples, y):
    """y[n, o] = sums[o R LANES + n]."""
    plane = vectors * LANES
    for n in range(0, samples, LANES):
        o = first_output
        if n + LANES <= samples:
            while o + LANES <= last_output:
                transpose(sums, (o - first_output) * plane + n, plane, y, n * g.outputs + o, g.outputs)
                o += LANES
        while o < last_output:
            for lane in range(min(LANES, samples - n)):
                y[(n + lane) * g.outputs + o] = sums[(o - first_output) * plane + n + lane]
            o += 1


@kernel
def multiply_samples(tile, g, x, samples, values, offsets, rows, bias, y, window, sums, part, parts):
    """Write outputs of a fully connected layer for up to R LANES samples: y[n, o] = b[o] + sum_k values[k] x[n, i_k].

    The part-th of `parts` parts of the outputs; the lanes are samples, otherwise this is the convolution's product.
    """
    m, vectors = len(tile), len(tile[0])
    plane = vectors * LANES
    blocks, groups = -(-g.outputs // m), -(-g.outputs // LANES)
    first_output = part * groups // parts * LANES
    last_output = min((part + 1) * groups // parts * LANES, g.outputs)
    for chunk in range(g.chunks):
        first_input = chunk * g.chunk
        _pack_samples(vectors, g, x, first_input, min(first_input + g.chunk, g.inputs), samples, window)
        for o in range(first_output // m, -(-last_output // m)):
            begin, end = rows[chunk * blocks + o], rows[chunk * blocks + o + 1]
            if begin == end and 0 < chunk < g.chunks - 1:
                continue
            base = (o * m - first_output) * plane
            total = splat(tile, bias, o * m) if chunk == 0 else load(tile, sums, base)
            for k in range(begin, end):
                total = fma(tile, total, values, offsets, k, window, 0)
            if g.relu and chunk == g.chunks - 1:
                total = relu(total)
            store(total, sums, base, plane, LANES)
    _unpack_samples(vectors, g, sums, first_output, last_output, samples, y)


@kernel
def multiply_single(g, x, values, offsets, rows, bias, y, part, parts):
    """Write outputs of a fully connected layer for one sample: y[o] = b[o] + sum_k values[k] x[offsets[k]].

    Eight sums in turn, added in a fixed order, keep the multiply-add units busy.
    """
    for o in range(part * g.outputs // parts, (part + 1) * g.outputs // parts):
        a = b = c = d = e = f = h = i = np.float32(0)
        k, end = rows[o], rows[o + 1]
        while k + 8 <= end:
            a = fma_scalar(a, values, offsets, k, x)
            b = fma_scalar(b, values, offsets, k + 1, x)
            c = fma_scalar(c, values, offsets, k + 2, x)
            d = fma_scalar(d, values, offsets, k + 3, x)
            e = fma_scalar(e, values, offsets, k + 4, x)
            f = fma_scalar(f, values, offsets, k + 5, x)
            h = fma_scalar(h, values, offsets, k + 6, x)
            i = fma_scalar(i, values, offsets, k + 7, x)
            k += 8
        while k < end:
            a = fma_scalar(a, values, offsets, k, x)
            k += 1
        total = bias[o] + (((a + b) + (c + d)) + ((e + f) + (h + i)))
        y[o] = np.float32(0) if g.relu and total < 0 else total
