"""How a layer is cut into tiles and packed inputs: every way that fits registers and cache, the cheapest by a model.

The model counts in multiply-adds of one vector; its constants were measured. It only has to order the ways of cutting
one layer: which *form* of the layer is the fastest is measured when a plan is made (`engine/autotune.py`).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from ..machine.tile_shape import Tile
from ..machine.vectors import LANES, LINE, REGISTERS, WIDEST, WIDTHS
from .direct_sparse_conv import ConvSizes, TileSizes
from .im2col_conv import output_size
from .sample_lanes_conv import SampleConvSizes
from .sparse_linear import LinearSizes

PACKED_BYTES = 28 * 1024  # of a packed input that stays in the first-level cache (of 32 to 64 KB)
LARGEST_PACKED = 8  # times PACKED_BYTES: larger ones are not tried, unless one channel alone needs one
NARROW = 4  # lanes of the tiles of a fully connected layer for no more samples
FEWEST_SAMPLES = LANES // 2 + 1  # of a batch, for which lanes may be samples
GROUP_BYTES = 12 * 1024  # of weights that all tiles of a packed input use before the next ones
SUMS_IN_FLIGHT = 9  # multiply-adds that are under way at once: fewer vectors in a tile wait for each other
# Costs, in multiply-adds of one vector of LANES numbers:
FETCH_LINE = 4  # a line from the second-level cache
FETCH_OVERLAP = 0.15  # of fetching and multiplying, the smaller one comes on top of the larger by so much
ENTRY = 1  # an entry of the weights, beside its multiply-adds or its loads
SPILL_VECTOR = 3  # storing one vector of sums and loading it again
BLOCK_ROW = 8  # a block row in each chunk, whatever it holds
PACK_LINE = 6  # copying one line into the packed input
TILE_ROWS = (28, 16, 14, 12, 8, 7, 6, 5, 4, 3, 2, 1)  # rows of tiles worth compiling


class Tiling(NamedTuple):
    """A layer cut into tiles: what the model thinks that it costs, its tiles, the numbers that its kernel reads."""

    cost: float
    tile: Tile
    tiles: TileSizes
    sizes: ConvSizes | LinearSizes | SampleConvSizes


class Geometry(NamedTuple):
    """A convolution: input (C, H, W), output channels, kernel and so on."""

    shape: tuple[int, int, int]
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the output."""
        return output_size(self.shape[1:], self.kernel, self.stride, self.padding, self.dilation)

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns between the first tap and the last."""
        return tuple((k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def pointwise(self) -> bool:
        """Whether an output position reads the same position of the input and no other."""
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)


class Terms(NamedTuple):
    """What a layer is cut for: tiles of M = `block` outputs whose vectors have `lanes` numbers.

    Of the weights the fraction `density` is kept. The machine multiplies `at_once` numbers in one go.
    """

    block: int
    density: float
    relu: bool
    lanes: int
    at_once: int


class Taps(NamedTuple):
    """Where the taps along one axis lie: tap j at place shifts[j] of the copy copies[j]; copies begin `step` apart."""

    copies: tuple[int, ...]
    shifts: tuple[int, ...]
    step: int

    @property
    def count(self) -> int:
        """Number of copies."""
        return max(self.copies) + 1

    @property
    def reach(self) -> int:
        """The largest shift."""
        return max(self.shifts)


def phases(kernel: int, stride: int, dilation: int) -> Taps:
    """A copy for each phase of the stride: tap j is at j d = shift stride + copy."""
    places = [j * dilation for j in range(kernel)]
    return Taps(tuple(p % stride for p in places), tuple(p // stride for p in places), 1)


def column_taps(g: Geometry, lanes: int) -> Taps:
    """Phases, where a shifted vector stays within its line; else a copy for each tap, which needs no shift."""
    kernel, stride, dilation = g.kernel[1], g.stride[1], g.dilation[1]
    taps = phases(kernel, stride, dilation)
    return taps if taps.reach + lanes <= LINE else Taps(tuple(range(kernel)), (0,) * kernel, dilation)


def row_taps(g: Geometry) -> Taps:
    """Phases: lines lie below each other, and every shift is a number of lines."""
    return phases(g.kernel[0], g.stride[0], g.dilation[0])


def tile_convolution(
    g: Geometry,
    block: int,
    *,
    density: float = 1.0,
    relu: bool = False,
    pool: bool = False,
    samples: int = 1,
    widths: Sequence[int] = WIDTHS,
    at_once: int = WIDEST,
) -> Tiling | None:
    """The cheapest tiling with tiles of M = `block` outputs for weights of which the fraction `density` is kept.

    With M = LINE the lanes of the tiles are output channels; in a batch of `samples` they may be samples. With `pool`
    the output is the maxima of its 2 x 2 squares: None where no tiling allows that. The vectors of a tile have one of
    the `widths`; the machine multiplies `at_once` numbers in one go.
    """
    ways = []
    for lanes in widths if block < LINE else (LINE,):
        terms = Terms(block, density, relu, lanes, at_once)
        if block == LINE:
            ways += _channel_tilings(g, terms)
            continue
        ways += _line_tilings(g, terms)
        if g.pointwise:
            ways += _pointwise_tilings(g, terms)
        if samples >= FEWEST_SAMPLES and not pool:
            ways += _sample_tilings(g, terms, samples)
    if pool:
        ways = filter(None, map(_pooled, ways))
    return min(ways, key=lambda way: way.cost, default=None)


def _pooled(tiling: Tiling) -> Tiling | None:
    """The same tiling with maxima of 2 x 2 squares as its output; None where a square would reach over two tiles."""
    tile, tiles, g = tiling.tile, tiling.tiles, tiling.sizes
    inside = g.area_rows <= g.out_height and g.area_columns <= g.out_width
    lengths = [g.out_height, g.out_width, g.area_rows, g.tile_rows, g.area_columns]
    lengths += [tiles.step] if tile.across > 1 else []
    if tile.channel_lanes or g.pointwise or not inside or tiles.outputs % tile.block or any(n % 2 for n in lengths):
        return None
    return tiling._replace(tiles=tiles._replace(plane=tiles.plane // 4, pitch=tiles.pitch // 2, pool=1))


def _line_tilings(g: Geometry, terms: Terms) -> Iterator[Tiling]:
    """Each row of a tile lies in a line of its own, for each phase or shift of the columns."""
    (out_h, out_w), lanes = g.output, terms.lanes
    columns, rows = column_taps(g, lanes), row_taps(g)
    for across in range(1, LINE // lanes + 1):
        step = min(lanes, (LINE - columns.reach - lanes) // max(1, across - 1))
        if across > 1 and step < 1:
            return
        covered = lanes + (across - 1) * step
        for tile, area_rows in _stacks(terms, across, out_h):
            depth = area_rows + rows.reach
            sizes = _sizes(
                g,
                tile,
                area_rows=area_rows,
                area_columns=covered,
                tile_columns=covered,
                depth=depth,
                columns=columns.count,
                column_step=columns.step,
                phases=rows.count,
                length=columns.count * rows.count * depth * LINE,
            )
            yield from _in_chunks(g, tile, _tile_sizes(g, tile, out_w, step, terms.relu), sizes, terms)


def _pointwise_tilings(g: Geometry, terms: Terms) -> Iterator[Tiling]:
    """Lines are positions of the image, wherever its rows end."""
    positions = g.shape[1] * g.shape[2]
    for tile, lines in _stacks(terms, LINE // terms.lanes, -(-positions // LINE)):
        length = lines * LINE
        sizes = _sizes(
            g, tile, area_rows=lines, area_columns=length, tile_columns=length, depth=lines, length=length, pointwise=1
        )
        sizes = sizes._replace(out_height=lines, out_width=positions, areas_y=1, areas_x=-(-positions // length))
        yield from _in_chunks(g, tile, _tile_sizes(g, tile, LINE, terms.lanes, terms.relu), sizes, terms)


def _channel_tilings(g: Geometry, terms: Terms) -> Iterator[Tiling]:
    """Lanes are output channels, inputs zero-padded rows of the image behind each other; for a column stride of 1."""
    (out_h, out_w), row_pitch, (below, _) = g.output, g.shape[2] + g.padding[1], g.reach
    for area_rows, across in product(_equal_parts(out_h), range(1, REGISTERS)):
        tile = Tile(1, 1, across, channel_lanes=True)
        if not tile.fits or across > out_w:
            continue
        depth = (area_rows - 1) * g.stride[0] + below + 1
        sizes = _sizes(
            g,
            tile,
            area_rows=area_rows,
            area_columns=out_w,
            tile_columns=across,
            depth=depth,
            line=g.stride[0] * row_pitch,
            length=-(-(g.padding[1] + depth * row_pitch) // LINE) * LINE,
            row_pitch=row_pitch,
        )
        yield from _in_chunks(g, tile, _tile_sizes(g, tile, out_w, 1, terms.relu), sizes, terms)


def _sample_tilings(g: Geometry, terms: Terms, samples: int) -> Iterator[Tiling]:
    """Lanes are samples, a line of the packed input is a position; the cost is that of one sample."""
    (channels, *_), (out_h, out_w), inputs = g.shape, g.output, g.shape[0] // g.groups
    columns, rows = phases(g.kernel[1], g.stride[1], g.dilation[1]), row_taps(g)
    depth, pitch, plane = out_h + rows.reach, out_w + columns.reach, g.shape[1] * g.shape[2]
    length = columns.count * rows.count * depth * pitch * LINE
    entries = terms.density * inputs * g.kernel[0] * g.kernel[1]
    for tile_rows, across in product(TILE_ROWS, range(1, LINE // terms.lanes + 1)):
        tile, lanes = Tile(terms.block, tile_rows, across, width=terms.lanes), across * terms.lanes
        if not tile.fits or tile_rows > out_w:
            continue
        tiles = _tile_sizes(g, tile, lanes, terms.lanes, terms.relu)._replace(plane=out_h * out_w * lanes)
        count = out_h * -(-out_w // tile_rows)
        for chunks in _numbers_of_chunks(channels, (length + plane * LINE) * 4):
            chunk = -(-channels // chunks)
            lines = min(inputs * length / LINE, entries * tile_rows) * _missed(chunk * (length + plane * LINE) * 4)
            row = _cost_of_row(tile, terms.at_once, entries, -(-chunks // g.groups), lines)
            packing = channels * (length // LINE + plane) + g.outputs * out_h * out_w
            cost = -(-samples // lanes) / samples * (count * tiles.blocks * row + packing * PACK_LINE)
            sizes = SampleConvSizes(
                *g.shape, *g.stride, *g.padding, out_h, out_w, columns.count, rows.count, depth, pitch, length, chunk,
                tile_rows, _block_rows(tile, tiles.blocks, entries / chunks), channels * plane,
                g.outputs * out_h * out_w, 1, lanes,
            )  # fmt: skip
            yield Tiling(cost, tile, tiles._replace(chunks=chunks), sizes)


def _block_rows(tile: Tile, blocks: int, entries: float) -> int:
    """How many block rows of so many entries all tiles of a packed input use before the next ones."""
    return int(max(1, min(blocks, GROUP_BYTES / max(1, entries * (1 + tile.block) * 4))))


def _equal_parts(length: int) -> list[int]:
    """Rows of areas that share so many rows equally."""
    return sorted({-(-length // pieces) for pieces in range(1, length + 1)})


def _stacks(terms: Terms, across: int, length: int) -> Iterator[tuple[Tile, int]]:
    """(tile, rows of an area) for an image of `length` rows: in equal areas, each of a few tiles."""
    for rows in TILE_ROWS:
        tile = Tile(terms.block, rows, across, width=terms.lanes)
        if tile.fits and rows <= max(1, length):
            yield from ((tile, area_rows) for area_rows in _equal_parts(length) if rows <= area_rows <= 4 * rows)


def _tile_sizes(g: Geometry, tile: Tile, pitch: int, step: int, relu: bool) -> TileSizes:
    out_h, out_w = g.output
    blocks, size = -(-g.outputs // tile.block), tile.size * tile.lanes
    return TileSizes(g.outputs, tile.block, size, blocks, 0, out_h * out_w, pitch, step, int(relu), 0)


def _sizes(g: Geometry, tile: Tile, *, area_rows: int, area_columns: int, **others: int) -> ConvSizes:
    """Numbers that the kernel reads; `chunk` and `block_rows` are set by `_in_chunks`."""
    (channels, height, width), (out_h, out_w) = g.shape, g.output
    numbers = {
        "channels": channels,
        "height": height,
        "width": width,
        "pitch": width,
        "plane": height * width,
        "stride_y": g.stride[0],
        "stride_x": g.stride[1],
        "pad_y": g.padding[0],
        "pad_x": g.padding[1],
        "out_height": out_h,
        "out_width": out_w,
        "columns": 1,
        "column_step": 1,
        "phases": 1,
        "line": LINE,
        "chunk": 0,
        "tile_rows": tile.rows,
        "area_rows": area_rows,
        "area_columns": area_columns,
        "areas_y": -(-out_h // area_rows),
        "areas_x": -(-out_w // area_columns),
        "splits": 1,
        "block_rows": 0,
        "pointwise": 0,
        "row_pitch": 0,
    }
    return ConvSizes(**numbers | others)


def _in_chunks(g: Geometry, tile: Tile, tiles: TileSizes, sizes: ConvSizes, terms: Terms) -> Iterator[Tiling]:
    """The same with packed inputs that the first-level cache holds, and with a few larger ones."""
    channels, inputs = g.shape[0], g.shape[0] // g.groups  # all of them, and those that an output reads
    entries = terms.density * inputs * g.kernel[0] * g.kernel[1]
    areas = sizes.areas_y * sizes.areas_x
    count = -(-sizes.area_rows // sizes.tile_rows) * -(-sizes.area_columns // sizes.tile_columns)
    for chunks in _numbers_of_chunks(channels, sizes.length * 4):
        chunk = -(-channels // chunks)
        lines = min(inputs * sizes.length / LINE, entries * tile.rows)
        missed = lines * _missed(chunk * sizes.length * 4)
        row = _cost_of_row(tile, terms.at_once, entries, -(-chunks // g.groups), missed)
        cost = areas * (count * tiles.blocks * row + channels * sizes.length // LINE * PACK_LINE)
        block_rows = _block_rows(tile, tiles.blocks, entries / chunks)
        yield Tiling(cost, tile, tiles._replace(chunks=chunks), sizes._replace(chunk=chunk, block_rows=block_rows))


def _numbers_of_chunks(inputs: int, size: int) -> set[int]:
    """How many chunks to try for so many inputs of `size` bytes each."""
    fits = max(1, PACKED_BYTES // size)
    return {-(-inputs // min(inputs, times * fits)) for times in (1, 2, 4, LARGEST_PACKED)}


def _missed(packed: int) -> float:
    """The share of a packed input of so many bytes that the first-level cache does not hold."""
    return max(0.0, 1 - PACKED_BYTES / packed)


def _cost_of_row(tile: Tile, at_once: int, entries: float, chunks: int, fetched: float) -> float:
    """What a block row of one tile costs: its entries, lines to fetch for them, its sums between chunks, its output."""
    turns = max(1, tile.lanes // at_once)  # of a vector
    vectors, pieces = turns * tile.size, tile.rows * tile.across * (1 if tile.channel_lanes else turns)
    loads = pieces + 1 + (LINE // WIDEST if tile.channel_lanes else tile.outputs)
    multiply = entries * (max(vectors, loads, 2 if tile.has_room else SUMS_IN_FLIGHT) + ENTRY)
    fetch = FETCH_LINE * fetched
    return max(multiply, fetch) + FETCH_OVERLAP * min(multiply, fetch) + chunks * (SPILL_VECTOR * vectors + BLOCK_ROW)


def tile_linear(
    inputs: int,
    outputs: int,
    samples: int,
    block: int,
    *,
    density: float = 1.0,
    relu: bool = False,
    widths: Sequence[int] = WIDTHS,
    at_once: int = WIDEST,
) -> Tiling:
    """The cheapest tiling of a fully connected layer for batches of `samples`, with tiles of M = `block` outputs.

    Few samples need no more lanes than there are: the narrower the vectors, the more inputs lie in a line.
    """
    blocks, ways = -(-outputs // block), []
    narrow = [NARROW] if samples <= NARROW < LANES in widths else []
    for lines, width, across in product(TILE_ROWS, [*narrow, *widths], range(1, LINE // LANES + 1)):
        tile, lanes = Tile(block, lines, across, width=width), across * width
        if not tile.fits or lanes > LINE or lines > -(-samples // lanes):
            continue
        plane, apart = lines * lanes, lines * LINE if lines > 1 else lanes
        for chunks in _numbers_of_chunks(inputs, apart * 4):
            chunk = -(-inputs // chunks // LANES) * LANES  # whole squares of numbers to transpose
            fetched = density * inputs * apart / LINE * _missed(chunk * apart * 4)
            row = _cost_of_row(tile, at_once, density * inputs, chunks, fetched)
            cost = -(-samples // plane) * (blocks * row + inputs * lines * PACK_LINE)
            chunks = -(-inputs // chunk)
            tiles = TileSizes(blocks * block, block, block * plane, blocks, chunks, plane, lanes, width, int(relu), 0)
            ways.append(Tiling(cost, tile, tiles, LinearSizes(inputs, outputs, chunk, lines, lanes, apart, int(relu))))
    return min(ways, key=lambda way: way.cost)
