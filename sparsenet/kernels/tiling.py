"""How a layer is cut into tiles and windows: every way that fits the registers and the cache, the cheapest by a model.

The model counts in multiply-adds of one vector; its constants were measured. It only has to order the ways of cutting
one layer: which *form* of the layer is the fastest is measured when a plan is made (`tuning.py`).
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from ..machine.register_tile import fits_registers, has_room
from ..machine.vectors import LANES, LINE, REGISTERS, WIDEST
from .direct_sparse_conv import Convolution, Target
from .im2col_conv import output_size
from .sparse_linear import Product

WINDOW = 28 * 1024  # bytes of a window that stays in the first-level cache (of 32 to 64 KB)
LARGEST = 8  # times WINDOW: larger windows are not tried, unless one channel alone needs one
FETCH = 4  # a line from the second-level cache
BOTH = 0.15  # of what fetching and multiplying cost, the smaller one comes on top of the larger by so much
ENTRY = 1  # what an entry of the stream costs beside its multiply-adds or its loads
STREAM = 12 * 1024  # bytes of weights that all tiles of a window use before the next ones
BUSY = 9  # multiply-adds that are under way at once: fewer vectors in a tile wait for each other
SPILL = 3  # storing one vector of sums and loading it again
ROW = 8  # what a block row costs in each chunk, whatever it holds
PACKED = 6  # copying one line into the window
HEIGHTS = (28, 16, 14, 12, 8, 7, 6, 5, 4, 3, 2, 1)  # rows of tiles worth compiling


class Tile(NamedTuple):
    """A tile of sums (`kernels/blocks.py`): M outputs by R rows by A vectors, or LINE outputs by A positions."""

    outputs: int
    rows: int
    across: int
    tall: bool = False

    @property
    def block(self) -> int:
        """Output channels."""
        return LINE if self.tall else self.outputs

    @property
    def vectors(self) -> int:
        """Vectors of LANES sums."""
        return self.outputs * self.rows * self.across * (LINE // LANES if self.tall else 1)

    @property
    def fits(self) -> bool:
        """Whether the registers hold it."""
        return fits_registers(*self)


class Tiling(NamedTuple):
    """A layer cut into tiles: the numbers that its kernel reads, its tiles, what the model thinks that it costs."""

    cost: float
    tile: Tile
    target: Target
    sizes: Convolution | Product


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


def column_taps(g: Geometry) -> Taps:
    """Phases, where a shifted vector stays within its line; else a copy for each tap, which needs no shift."""
    kernel, stride, dilation = g.kernel[1], g.stride[1], g.dilation[1]
    taps = phases(kernel, stride, dilation)
    return taps if taps.reach + LANES <= LINE else Taps(tuple(range(kernel)), (0,) * kernel, dilation)


def row_taps(g: Geometry) -> Taps:
    """Phases: lines lie below each other, and every shift is a number of lines."""
    return phases(g.kernel[0], g.stride[0], g.dilation[0])


def tile_convolution(
    g: Geometry, block: int, *, density: float = 1.0, relu: bool = False, pool: bool = False
) -> Tiling | None:
    """The cheapest tiling with tiles of M = `block` outputs for weights of which the fraction `density` is kept.

    With M = LINE the tiles are tall. With `pool` the output is the maxima of its 2 x 2 squares: None where no tiling
    allows that.
    """
    if block == LINE:
        ways = _tall_tilings(g, density, relu)
    elif g.pointwise:
        ways = [*_line_tilings(g, block, density, relu), *_flat_tilings(g, block, density, relu)]
    else:
        ways = _line_tilings(g, block, density, relu)
    if pool:
        ways = filter(None, map(_pooled, ways))
    return min(ways, key=lambda way: way.cost, default=None)


def _pooled(tiling: Tiling) -> Tiling | None:
    """The same tiling with maxima of 2 x 2 squares as its output; None where a square would reach over two tiles."""
    tile, target, g = tiling.tile, tiling.target, tiling.sizes
    inside = g.area_rows <= g.out_height and g.area_columns <= g.out_width
    lengths = [g.out_height, g.out_width, g.area_rows, g.tile_rows, g.area_columns]
    lengths += [target.step] if tile.across > 1 else []
    if tile.tall or g.flat or not inside or target.outputs % tile.block or any(n % 2 for n in lengths):
        return None
    return tiling._replace(target=target._replace(plane=target.plane // 4, pitch=target.pitch // 2, pool=1))


def _line_tilings(g: Geometry, block: int, density: float, relu: bool) -> Iterator[Tiling]:
    """Each row of a tile lies in a line of its own, for each phase or shift of the columns."""
    out_h, out_w = g.output
    columns, rows = column_taps(g), row_taps(g)
    for across in range(1, LINE // LANES + 1):
        step = min(LANES, (LINE - columns.reach - LANES) // max(1, across - 1))
        if across > 1 and step < 1:
            return
        covered = LANES + (across - 1) * step
        for tile, area_rows in _stacks(block, across, out_h):
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
            yield from _in_chunks(g, tile, _target(g, tile, out_w, step, relu), sizes, density)


def _flat_tilings(g: Geometry, block: int, density: float, relu: bool) -> Iterator[Tiling]:
    """Lines are positions of the image, wherever its rows end."""
    positions = g.shape[1] * g.shape[2]
    for tile, lines in _stacks(block, LINE // LANES, -(-positions // LINE)):
        length = lines * LINE
        sizes = _sizes(
            g, tile, area_rows=lines, area_columns=length, tile_columns=length, depth=lines, length=length, flat=1
        )
        sizes = sizes._replace(out_height=lines, out_width=positions, areas_y=1, areas_x=-(-positions // length))
        yield from _in_chunks(g, tile, _target(g, tile, LINE, LANES, relu), sizes, density)


def _tall_tilings(g: Geometry, density: float, relu: bool) -> Iterator[Tiling]:
    """Rows of the image in a strip, with zeros between them; for a column stride of 1."""
    (out_h, out_w), strip, (below, _) = g.output, g.shape[2] + g.padding[1], g.reach
    for area_rows, across in product(_equal_parts(out_h), range(1, REGISTERS)):
        tile = Tile(1, 1, across, tall=True)
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
            line=g.stride[0] * strip,
            length=-(-(g.padding[1] + depth * strip) // LINE) * LINE,
            strip=strip,
        )
        yield from _in_chunks(g, tile, _target(g, tile, out_w, 1, relu), sizes, density)


def _equal_parts(length: int) -> list[int]:
    """Rows of windows that share so many rows equally."""
    return sorted({-(-length // pieces) for pieces in range(1, length + 1)})


def _stacks(block: int, across: int, length: int) -> Iterator[tuple[Tile, int]]:
    """(tile, rows of an area) for an image of `length` rows: in equal areas, each of a few tiles."""
    for rows in HEIGHTS:
        tile = Tile(block, rows, across)
        if tile.fits and rows <= max(1, length):
            yield from ((tile, area_rows) for area_rows in _equal_parts(length) if rows <= area_rows <= 4 * rows)


def _target(g: Geometry, tile: Tile, pitch: int, step: int, relu: bool) -> Target:
    out_h, out_w = g.output
    blocks, size = -(-g.outputs // tile.block), tile.vectors * LANES
    return Target(g.outputs, tile.block, size, blocks, 0, out_h * out_w, pitch, step, int(relu), 0)


def _sizes(g: Geometry, tile: Tile, *, area_rows: int, area_columns: int, **others: int) -> Convolution:
    """Numbers that the kernel reads; `chunk` and `group` are set by `_in_chunks`."""
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
        "group": 0,
        "flat": 0,
        "strip": 0,
    }
    return Convolution(**numbers | others)


def _in_chunks(g: Geometry, tile: Tile, target: Target, sizes: Convolution, density: float) -> Iterator[Tiling]:
    """The same with windows that the first-level cache holds, and with a few larger ones."""
    channels, inputs = g.shape[0], g.shape[0] // g.groups  # all of them, and those that an output reads
    entries = density * inputs * g.kernel[0] * g.kernel[1]
    areas = sizes.areas_y * sizes.areas_x
    tiles = -(-sizes.area_rows // sizes.tile_rows) * -(-sizes.area_columns // sizes.tile_columns)
    for chunks in _numbers_of_chunks(channels, sizes.length * 4):
        chunk = -(-channels // chunks)
        lines = min(inputs * sizes.length / LINE, entries * tile.rows)
        row = _cost_of_row(tile, entries, -(-chunks // g.groups), lines * _missed(chunk * sizes.length * 4))
        cost = areas * (tiles * target.blocks * row + channels * sizes.length // LINE * PACKED)
        stream = entries / chunks * (1 + tile.block) * 4  # bytes of a block row in a chunk
        group = int(max(1, min(target.blocks, STREAM / max(1, stream))))
        yield Tiling(cost, tile, target._replace(chunks=chunks), sizes._replace(chunk=chunk, group=group))


def _numbers_of_chunks(inputs: int, size: int) -> set[int]:
    """How many chunks to try for so many inputs of `size` bytes each."""
    fits = max(1, WINDOW // size)
    return {-(-inputs // min(inputs, times * fits)) for times in (1, 2, 4, LARGEST)}


def _missed(window: int) -> float:
    """The share of a window of so many bytes that the first-level cache does not hold."""
    return max(0.0, 1 - WINDOW / window)


def _cost_of_row(tile: Tile, entries: float, chunks: int, fetched: float) -> float:
    """What a block row of one tile costs: its entries, lines to fetch for them, its sums between chunks, its output."""
    loads = tile.rows * tile.across + 1 + (LINE // WIDEST if tile.tall else tile.outputs)
    multiply = entries * (max(tile.vectors, loads, 2 if has_room(*tile) else BUSY) + ENTRY)
    fetch = FETCH * fetched
    return max(multiply, fetch) + BOTH * min(multiply, fetch) + chunks * (SPILL * tile.vectors + ROW)


def tile_product(
    inputs: int, outputs: int, samples: int, block: int, *, density: float = 1.0, relu: bool = False
) -> Tiling:
    """The cheapest tiling of a fully connected layer for batches of `samples`, with tiles of M = `block` outputs."""
    blocks, ways = -(-outputs // block), []
    for lines, across in product(HEIGHTS, range(1, LINE // LANES + 1)):
        tile, lanes = Tile(block, lines, across), across * LANES
        if not tile.fits or lines > -(-samples // lanes):
            continue
        plane = lines * lanes
        for chunks in _numbers_of_chunks(inputs, lines * LINE * 4):
            chunk = -(-inputs // chunks // LANES) * LANES  # whole squares of numbers to transpose
            fetched = density * inputs * lines * _missed(chunk * lines * LINE * 4)
            row = _cost_of_row(tile, density * inputs, chunks, fetched)
            cost = -(-samples // plane) * (blocks * row + inputs * lines * PACKED)
            chunks = -(-inputs // chunk)
            target = Target(blocks * block, block, block * plane, blocks, chunks, plane, lanes, LANES, int(relu), 0)
            ways.append(Tiling(cost, tile, target, Product(inputs, outputs, chunk, lines, lanes, int(relu))))
    return min(ways, key=lambda way: way.cost)
