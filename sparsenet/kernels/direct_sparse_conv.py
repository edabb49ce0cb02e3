"""Direct sparse convolution, one tile of the output at a time in registers (Park et al., ICLR 2017).

Every kept weight (o, c, i, j) is one fused multiply-add of a number with a shifted piece of the input:

    y[o, r, q] = b[o] + sum_k weight[k] packed[offset[k] + (r, q)],   k over row o of the weights

A pruned weight is not among them: it contributes nothing, not 0 x; NaN and infinity reach an output only through a kept
weight. The loop nest, from the outside (`convolve` to `multiply_tile`):

    for each area of the output                          its inputs fit the first-level cache, a few channels at a time
        for each chunk of the input channels             `input_packing` copies them, with zeros where the image ends
            for each group of block rows of the weights  M output channels share a block row (M x 1 blocks), or M = 1
                for each tile of the area                R rows of A vectors of M output channels, in registers
                    for each block row of the group
                        for each entry of the row        an offset into the packed input, and M weights
                            sums += weights * piece      R A multiply-adds of vectors for each of the M weights

Between the chunks a tile's sums wait in memory; the last chunk adds another branch of the network, ReLU and max
pooling, and writes y. A dense layer is the pattern with every block present.
"""

from typing import NamedTuple

import numpy as np

from ..machine.jit import inlined, kernel
from ..machine.pointers import call_tile, record_of
from ..machine.vectors import LANES, LINE
from .input_packing import add_tile, pack_lines, pack_padded_rows, pack_positions, put_channels, put_tile
from .lane_copy import prefetch
from .tile import add, add_stored, fma, keep, load, relu, splat, store, store_maxima, zero

AHEAD = 16 * LINE  # int32 words of the weights between what is multiplied and what is asked for


class TiledWeights(NamedTuple):
    """A CSR or BSR matrix packed for tiles: block row o of chunk c has the entries from indptr[c blocks + o] on.

    Attributes
    ----------
    entries : int32, (entries, 1 + M)
        An offset into the packed input and the bits of M float32 weights.
    indptr : int64, (chunks blocks + 1,)
    spans : int64, (blocks, 2)
        The first and the last chunk in which a block row has entries; (0, 0) where it has none.
    bias : float32, (blocks M,)
    reads : int64, (copies, channels)
        Whether a convolution has a weight for this copy of an input channel: the others are not packed.
    """

    entries: np.ndarray
    indptr: np.ndarray
    spans: np.ndarray
    bias: np.ndarray
    reads: np.ndarray


class TileSizes(NamedTuple):
    """What a tile has to know of its layer, in numbers of elements.

    A block row has `block` outputs (M), and `sums` numbers in a tile. In y outputs are `plane` numbers apart, rows
    `pitch`, vectors in a row `step`, as they are in the packed input too. With `pool` the maxima of 2 x 2 squares go to
    y, and `plane` and `pitch` are those of the pooled image.
    """

    outputs: int
    block: int
    sums: int
    blocks: int
    chunks: int
    plane: int
    pitch: int
    step: int
    relu: int
    pool: int


class Scratch(NamedTuple):
    """Where a worker's packed input and waiting sums are: bytes from the start of its workspace, sizes in numbers."""

    packed: int
    packed_size: int
    sums: int
    sums_size: int


class TileCall(NamedTuple):
    """What one call of a tile works on, at the start of the workspace.

    One chunk of inputs, block rows first <= o < last. The tile's input begins at packed[source], what it keeps between
    chunks at sums[begin], its output at y[place], and at z[place] what is added to it; of each output's plane it may
    write `room` numbers from there on, and read as many.
    """

    y: int
    y_size: int
    chunk: int
    first: int
    last: int
    source: int
    begin: int
    place: int
    room: int
    z: int = 0
    z_size: int = 0


class ConvSizes(NamedTuple):
    """Sizes of one convolution, in numbers of elements.

    The input has `height` rows `pitch` apart, its channels are `plane` apart. The output is cut into areas_y x areas_x
    areas, each `area_rows` by `area_columns`; and its channels into `splits`, where threads share them. An area is the
    work of one packed input and of tiles of `tile_rows` by `tile_columns`: of all of them with the weights of
    `block_rows`, then with the next. In the packed input `line` numbers lie between what is needed for one row of the
    output and for the next. It holds `length` numbers of each of `chunk` channels, in one of three layouts:

    - lines: `columns` copies of the channel (phases of the stride, or column shifts), whose first columns are
      `column_step` apart, and `depth` lines for each of these and each of `phases` phases of the rows;
    - pointwise, for 1 x 1 kernels: lines are positions of the image one after the other, wherever its rows end; the
      area's columns are positions, too;
    - zero-padded rows, where lanes are output channels: `depth` rows of the image `row_pitch` apart.
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
    block_rows: int
    pointwise: int
    row_pitch: int


TILE_CALL = record_of(TileCall)


@inlined
def add_entries(tile, sums, entries, k, end, packed, base, step):
    """Add entries k ... end - 1 of the weights to a tile's sums.

    A small tile has four sets of sums, added at the end: each would wait for its own multiply-add before the next one.
    It is also so fast through its weights that they must be asked for, where they come from memory.
    """
    if tile.has_room:
        words = 1 + tile.block
        second, third, fourth = zero(tile), zero(tile), zero(tile)
        while k + 4 <= end:
            prefetch(entries, k * words + AHEAD)
            if tile.outputs > 2:
                prefetch(entries, k * words + AHEAD + LINE)
            sums = fma(tile, sums, entries, k, packed, base, step)
            second = fma(tile, second, entries, k + 1, packed, base, step)
            third = fma(tile, third, entries, k + 2, packed, base, step)
            fourth = fma(tile, fourth, entries, k + 3, packed, base, step)
            k += 4
        sums = add(add(sums, second), add(third, fourth))
    while k < end:
        sums = fma(tile, sums, entries, k, packed, base, step)
        k += 1
    return sums


@inlined
def multiply_tile(tile, adds, t, work, entries, indptr, spans, bias, packed, waiting, y, z):
    """Add one chunk of inputs to the sums of a tile, for the block rows of `work`; a row's last chunk writes y.

    `t` is a `TileSizes`, `work` a `TileCall`. `waiting` holds the sums between chunks. With `adds`, which is known when
    compiling, z is added, an image that lies as y does; for tiles of positions only.

    Notes
    -----
    sums = b + sum over k in row o of weight[k] packed[offset[k] ...], + z[o ...] where `adds`, then max(sums, 0)
    where `t.relu`.
    """
    chunk, place, room = work.chunk, work.place, work.room
    blocks, plane, pitch, step = t.blocks, t.plane, t.pitch, t.step
    # a tile's row in pieces of LANES numbers: a wide vector stands alone in its row
    pieces, between = tile.across * (tile.lanes // LANES), step if tile.across > 1 else LANES
    whole = tile.channel_lanes or (tile.rows - 1) * pitch + (tile.across - 1) * step + tile.lanes <= room
    for o in range(work.first, work.last):
        entry, end = indptr[chunk * blocks + o], indptr[chunk * blocks + o + 1]
        begins, ends = spans[2 * o], spans[2 * o + 1]
        if chunk < begins or chunk > ends or (entry == end and begins < chunk < ends):
            continue
        kept = work.begin + (o - work.first) * t.sums
        sums = splat(tile, bias, o * tile.block) if chunk == begins else load(tile, waiting, kept)
        sums = add_entries(tile, sums, entries, entry, end, packed, work.source, step)
        if chunk < ends:
            keep(tile, sums, waiting, kept)
            continue
        there, count = place + o * tile.block * plane, min(tile.block, t.outputs - o * tile.block)
        if adds:
            if whole and count == tile.block:
                sums = add_stored(tile, sums, z, there, plane, pitch, step)
            else:
                keep(tile, sums, waiting, kept)
                add_tile(count, tile.rows, pieces, z, there, plane, pitch, between, room, waiting, kept)
                sums = load(tile, waiting, kept)
        if t.relu:
            sums = relu(sums)
        if t.pool:
            store_maxima(tile, sums, y, there, plane, pitch, step)
            continue
        if whole and count == tile.block:
            store(tile, sums, y, there, plane, pitch, step)
            continue
        keep(tile, sums, waiting, kept)
        if tile.channel_lanes:
            put_channels(count, tile.across, waiting, kept, y, there, plane)
        else:
            put_tile(count, tile.rows, pieces, waiting, kept, y, there, plane, pitch, between, room)


@kernel
def _pack(g, x, reads, first_channel, last_channel, r0, q0, packed):
    """Pack the input of the area that begins at the output position (r0, q0), in its layout."""
    top, left = r0 * g.stride_y - g.pad_y, q0 * g.stride_x - g.pad_x
    if g.pointwise:
        pack_positions(g, x, reads, first_channel, last_channel, q0, packed)
    elif g.row_pitch:
        pack_padded_rows(g, x, reads, first_channel, last_channel, top, packed)
    else:
        pack_lines(g, x, reads, first_channel, last_channel, top, left, packed)


@kernel
def convolve(multiply, tiles, workspace, work, g, t, x, reads, y, z, packed, part, parts):
    """Write the part-th of `parts` parts of the convolution of one image x into y (both flat).

    Where the tiles' code adds another image, that is z; elsewhere it is not read.
    `multiply` is the address of `multiply_tile` for this layer's tiles, which finds its weights at `tiles` and its work
    at `workspace`; g is a `ConvSizes`, t a `TileSizes`, `reads` says which copies of which channels are packed. The
    last area of a row or column, and the last tile of an area, overlap the one before: the positions that they share
    get the same bits twice. Only tiles larger than the image reach over its edge.
    """
    areas, shrink = g.areas_y * g.areas_x, 1 + t.pool
    tasks = areas * g.splits
    work.y, work.y_size, work.z, work.z_size = y.ctypes.data, y.size, z.ctypes.data, z.size
    for task in range(part * tasks // parts, (part + 1) * tasks // parts):
        area, split = task % areas, task // areas
        first, last = split * t.blocks // g.splits, (split + 1) * t.blocks // g.splits
        r0 = max(0, min(area // g.areas_x * g.area_rows, g.out_height - g.area_rows))
        q0 = max(0, min(area % g.areas_x * g.area_columns, g.out_width - g.area_columns))
        for chunk in range(t.chunks):
            _pack(g, x, reads, chunk * g.chunk, min((chunk + 1) * g.chunk, g.channels), r0, q0, packed)
            work.chunk = chunk
            for o in range(first, last, g.block_rows):
                work.first, work.last = o, min(o + g.block_rows, last)
                begin = (o - first) * t.sums
                for r in range(0, g.area_rows, g.tile_rows):
                    r = max(0, min(r, g.area_rows - g.tile_rows))
                    for q in range(0, g.area_columns, g.tile_columns):
                        q = max(0, min(q, g.area_columns - g.tile_columns))
                        place = q0 + r * LINE if g.pointwise else (r0 + r) // shrink * t.pitch + (q0 + q) // shrink
                        # the rows below the tile's may be another thread's
                        end = t.plane if g.pointwise else min(r0 + r + g.tile_rows, g.out_height) * t.pitch
                        work.source, work.begin, work.place, work.room = r * g.line + q, begin, place, end - place
                        call_tile(multiply, tiles, workspace)
                        begin += (last - first) * t.sums
