"""Direct sparse convolution and products, one tile of the output at a time in registers (Park et al., ICLR 2017).

Every kept weight (o, c, i, j) is one fused multiply-add of a number with a shifted piece of the input. It is fast as:

- the tile, R rows of A vectors of M output channels, stays in registers over all weights of an output channel;
- the pieces come from a *window* (`windows.py`), a copy of the few input channels that the tile needs next, small
  enough for the first-level cache: channels go in chunks, and the tile's sums wait in `sums` between them;
- the weights are a stream of (offset into the window, values), in the order in which they are used.

A dense layer is the pattern with every weight kept; M x 1 blocks of output channels share one offset (and one load) for
M weights. A pruned weight is not in the stream: it contributes nothing, not 0 x; NaN and infinity reach an output only
through a kept weight.

    y[o, r, q] = b[o] + sum_k weight[k] window[offset[k] + (r, q)],   k over row o of the stream
"""

from typing import NamedTuple

from ..machine.jit import inlined, kernel
from ..machine.maxpool_tile import store_squares
from ..machine.pointers import call_tile
from ..machine.register_tile import add, fma, is_small, keep, load, relu, splat, store, zero
from ..machine.vector_copy import prefetch
from ..machine.vectors import LANES, LINE
from .input_packing import pack_flat, pack_strip, pack_window, put_tall, put_tile

AHEAD = 16 * LINE  # words of the stream between what is multiplied and what is asked for


class Target(NamedTuple):
    """What a tile has to know of its layer: the stream's sizes, and how its numbers lie in y.

    A block row has `block` outputs (M), and `size` numbers in a tile. In y outputs are `plane` numbers apart, rows
    `pitch`, vectors in a row `step`, as they are in the window too. With `pool` the maxima of squares of 2 x 2 go to y,
    and `plane` and `pitch` are those of the pooled image.
    """

    outputs: int
    block: int
    size: int
    blocks: int
    chunks: int
    plane: int
    pitch: int
    step: int
    relu: int
    pool: int


class Convolution(NamedTuple):
    """Sizes of one convolution, in numbers of elements.

    The input has `height` rows `pitch` apart, its channels are `plane` apart. The output is cut into areas_y x areas_x
    areas, each `area_rows` by `area_columns`; and its channels into `splits`, where threads share them. An area is the
    work of one window and of tiles of `tile_rows` by `tile_columns`: of all of them with the weights of `group` block
    rows, then with the next. In the window `line` numbers lie between what is needed for one row of the output and for
    the next. It holds `length` numbers of each of `chunk` channels, in one of three layouts:

    - lines: `columns` copies of the channel (phases of the stride, or column shifts), whose first columns are
      `column_step` apart, and `depth` lines for each of these and each of `phases` phases of the rows;
    - flat, for 1 x 1 kernels: lines are positions of the image one after the other, wherever its rows end; the area's
      columns are positions, too;
    - a strip, for tall tiles: `depth` rows of the image behind each other with a pitch of `strip`.
    """

    channels: int
    height: int
    width: int
    pitch: int
    plane: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    out_height: int
    out_width: int
    columns: int
    column_step: int
    phases: int
    depth: int
    line: int
    length: int
    chunk: int
    tile_rows: int
    tile_columns: int
    area_rows: int
    area_columns: int
    areas_y: int
    areas_x: int
    splits: int
    group: int
    flat: int
    strip: int


@inlined
def _add_entries(tile, m, total, entries, k, end, window, base, step):
    """Add entries k ... end - 1 of the stream to a block.

    A small one has four sums, added at the end: each would wait for its own multiply-add before the next one. It is
    also so fast through its weights that they must be asked for, where they come from memory.
    """
    if is_small(tile):
        words = 1 + m
        second, third, fourth = zero(tile), zero(tile), zero(tile)
        while k + 4 <= end:
            prefetch(entries, k * words + AHEAD)
            if len(tile) > 2:
                prefetch(entries, k * words + AHEAD + LINE)
            total = fma(tile, total, entries, k, window, base, step)
            second = fma(tile, second, entries, k + 1, window, base, step)
            third = fma(tile, third, entries, k + 2, window, base, step)
            fourth = fma(tile, fourth, entries, k + 3, window, base, step)
            k += 4
        total = add(add(total, second), add(third, fourth))
    while k < end:
        total = fma(tile, total, entries, k, window, base, step)
        k += 1
    return total


@inlined
def multiply_tile(
    tile, t, chunk, first, last, entries, pointers, spans, bias, window, base, sums, begin, y, place, room
):
    """Add one chunk of inputs to a tile of the block rows first <= o < last; each one's last chunk writes y.

    The tile's input begins at window[base], what it keeps between chunks at sums[begin], its output at y[place]; of
    each output's plane it may write `room` numbers from there on. Block row o has the entries from `pointers` on, and
    such in the chunks from spans[2 o] to spans[2 o + 1] only.

    Notes
    -----
    total = b + sum over k in row o of weight[k] window[offset[k] ...], then max(total, 0) where `t.relu`.
    """
    m, r, a = t.block, len(tile[0]), len(tile[0][0])
    tall = m > len(tile)  # a tall tile has one row of vectors for all of its outputs
    whole = tall or (r - 1) * t.pitch + (a - 1) * t.step + LANES <= room
    for o in range(first, last):
        entry, end = pointers[chunk * t.blocks + o], pointers[chunk * t.blocks + o + 1]
        begins, ends = spans[2 * o], spans[2 * o + 1]
        if chunk < begins or chunk > ends or (entry == end and begins < chunk < ends):
            continue
        kept = begin + (o - first) * t.size
        total = splat(tile, bias, o * m) if chunk == begins else load(tile, sums, kept)
        total = _add_entries(tile, m, total, entries, entry, end, window, base, t.step)
        if chunk < ends:
            keep(tile, total, sums, kept)
            continue
        if t.relu:
            total = relu(total)
        there, count = place + o * m * t.plane, min(m, t.outputs - o * m)
        if t.pool:
            store_squares(tile, total, y, there, t.plane, t.pitch, t.step)
            continue
        if whole and count == m:
            store(tile, total, y, there, t.plane, t.pitch, t.step)
            continue
        keep(tile, total, sums, kept)
        if tall:
            put_tall(count, a, sums, kept, y, there, t.plane)
        else:
            put_tile(count, r, a, sums, kept, y, there, t.plane, t.pitch, t.step, room)


@kernel
def _pack(g, x, reads, first_channel, last_channel, r0, q0, window):
    """Pack the window of the area that begins at the output position (r0, q0), in its layout."""
    top, left = r0 * g.stride_y - g.pad_y, q0 * g.stride_x - g.pad_x
    if g.flat:
        pack_flat(g, x, reads, first_channel, last_channel, q0, window)
    elif g.strip:
        pack_strip(g, x, reads, first_channel, last_channel, top, window)
    else:
        pack_window(g, x, reads, first_channel, last_channel, top, left, window)


@kernel
def convolve(multiply, row, workspace, g, t, x, reads, y, window, part, parts):
    """Write the part-th of `parts` parts of the convolution of one image x into y (both flat).

    `multiply` is the address of `multiply_tile` for this layer's tiles, which finds the stream by `row`; `reads` says
    which copies of which channels have a weight there: the others are not made. The last area of a row or column, and
    the last tile of an area, overlap the one before: the positions that they share get the same bits twice. Only tiles
    larger than the image reach over its edge.
    """
    areas, shrink = g.areas_y * g.areas_x, 1 + t.pool
    tasks = areas * g.splits
    for task in range(part * tasks // parts, (part + 1) * tasks // parts):
        area, split = task % areas, task // areas
        first, last = split * t.blocks // g.splits, (split + 1) * t.blocks // g.splits
        r0 = max(0, min(area // g.areas_x * g.area_rows, g.out_height - g.area_rows))
        q0 = max(0, min(area % g.areas_x * g.area_columns, g.out_width - g.area_columns))
        for chunk in range(t.chunks):
            _pack(g, x, reads, chunk * g.chunk, min((chunk + 1) * g.chunk, g.channels), r0, q0, window)
            for o in range(first, last, g.group):
                behind = min(o + g.group, last)
                begin = (o - first) * t.size
                for r in range(0, g.area_rows, g.tile_rows):
                    r = max(0, min(r, g.area_rows - g.tile_rows))
                    for q in range(0, g.area_columns, g.tile_columns):
                        q = max(0, min(q, g.area_columns - g.tile_columns))
                        place = q0 + r * LINE if g.flat else (r0 + r) // shrink * t.pitch + (q0 + q) // shrink
                        # the rows below the tile's may be another thread's
                        end = t.plane if g.flat else min(r0 + r + g.tile_rows, g.out_height) * t.pitch
                        where = y.ctypes.data, y.size, chunk, o, behind, r * g.line + q, begin, place, end - place
                        call_tile(multiply, row, workspace, *where)
                        begin += (last - first) * t.size
