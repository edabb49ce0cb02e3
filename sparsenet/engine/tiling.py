"""How a layer is cut into tiles and windows: every way that fits the registers and the cache, the cheapest by a model.

The model counts in multiply-adds of one vector; its constants were measured. It only has to order the ways of cutting
one layer: which *form* of the layer is the fastest is measured when a plan is made (`tuning.py`).
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from ..kernels.conv import output_size
from ..kernels.simd import LANES, LINE, REGISTERS
from ..kernels.sparse import Convolution, Product, Target

WINDOW = 28 * 1024  # bytes of a window that stays in the first-level cache (of 32 to 64 KB)
LARGEST = 8  # times WINDOW: larger windows are not tried
MISS = 0.9  # what loading from the second-level cache adds to a multiply-add, times the square of the share of misses
ENTRY = 3  # what an entry of the stream costs beside its multiply-adds
SPILL = 3  # storing one vector of sums and loading it again
ROW = 8  # what a block row costs in each chunk, whatever it holds
PACKED = 6  # copying one line into the window
HEIGHTS = (28, 16, 14, 12, 8, 7, 6, 5, 4, 3, 2, 1)  # rows of tiles worth compiling


class Tile(NamedTuple):
    """M output channels by R rows by A vectors."""

    outputs: int
    rows: int
    across: int

    @property
    def numbers(self) -> int:
        """Numbers of one block row of such tiles."""
        return self.outputs * self.rows * self.across * LANES

    @property
    def fits(self) -> bool:
        """Whether the tile, what is held beside it and one operand in passing fit the registers."""
        pieces = self.rows * self.across
        return self.outputs * pieces + min(self.outputs, pieces) < REGISTERS


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


def tile_convolution(g: Geometry, outputs: int, *, density: float = 1.0, relu: bool = False) -> Tiling:
    """The cheapest tiling with tiles of M = `outputs` for weights of which the fraction `density` is kept."""
    ways = [*_image_tilings(g, outputs, density, relu)]
    if g.pointwise:
        ways += _flat_tilings(g, outputs, density, relu)
    return min(ways, key=lambda way: way.cost)


def _image_tilings(g: Geometry, outputs: int, density: float, relu: bool) -> Iterator[Tiling]:
    out_h, out_w = g.output
    columns, rows = column_taps(g), row_taps(g)
    for across in range(1, LINE // LANES + 1):
        step = min(LANES, (LINE - columns.reach - LANES) // max(1, across - 1))
        if across > 1 and step < 1:
            return
        cover = LANES + (across - 1) * step
        for tile, tall in _stacks(outputs, across, out_h):
            target = _target(g, tile, pitch=out_w, step=step, relu=relu)
            sizes = _convolution(g, columns, rows, tall + rows.reach)._replace(
                rows=tile.rows,
                cover=cover,
                tall=tall,
                tiles_y=-(-out_h // tall),
                tiles_x=-(-out_w // cover),
                size=tile.numbers,
            )
            yield from _in_chunks(g, tile, target, sizes, density)


def _flat_tilings(g: Geometry, outputs: int, density: float, relu: bool) -> Iterator[Tiling]:
    positions, across = g.shape[1] * g.shape[2], LINE // LANES
    one = phases(1, 1, 1)
    for tile, tall in _stacks(outputs, across, -(-positions // LINE)):
        target = _target(g, tile, pitch=LINE, step=LANES, relu=relu)
        sizes = _convolution(g, one, one, tall)._replace(
            out_height=tall,
            out_width=positions,
            rows=tile.rows,
            cover=tall * LINE,
            tall=tall,
            tiles_y=1,
            tiles_x=-(-positions // (tall * LINE)),
            size=tile.numbers,
            flat=1,
        )
        yield from _in_chunks(g, tile, target, sizes, density)


def _stacks(outputs: int, across: int, length: int) -> Iterator[tuple[Tile, int]]:
    """(tile, rows of a window) for a column of `length` rows: in equal windows, each of a few tiles."""
    for height in HEIGHTS:
        tile = Tile(outputs, height, across)
        if not tile.fits or (height > length and height > 1):
            continue
        for tall in sorted({max(height, -(-length // pieces)) for pieces in range(1, length + 1)}):
            if tall <= 4 * height:
                yield tile, tall


def _target(g: Geometry, tile: Tile, *, pitch: int, step: int, relu: bool) -> Target:
    out_h, out_w = g.output
    blocks = -(-g.outputs // tile.outputs)
    return Target(g.outputs, blocks, 0, plane=out_h * out_w, pitch=pitch, step=step, relu=int(relu))


def _convolution(g: Geometry, columns: Taps, rows: Taps, depth: int) -> Convolution:
    """The sizes that do not depend on the tile."""
    channels, height, width = g.shape
    return Convolution(
        channels=channels,
        height=height,
        width=width,
        pitch=width,
        plane=height * width,
        stride_y=g.stride[0],
        stride_x=g.stride[1],
        pad_y=g.padding[0],
        pad_x=g.padding[1],
        out_height=g.output[0],
        out_width=g.output[1],
        columns=columns.count,
        column_step=columns.step,
        phases=rows.count,
        depth=depth,
        chunk=0,
        rows=0,
        cover=0,
        tall=0,
        tiles_y=0,
        tiles_x=0,
        splits=1,
        size=0,
        flat=0,
    )


def _in_chunks(g: Geometry, tile: Tile, target: Target, sizes: Convolution, density: float) -> Iterator[Tiling]:
    """The same with windows that the first-level cache holds, and with a few larger ones."""
    lines = sizes.columns * sizes.phases * sizes.depth
    entries = density * g.shape[0] // g.groups * g.kernel[0] * g.kernel[1]
    tiles = target.blocks * -(-sizes.tall // tile.rows)
    for chunks in _numbers_of_chunks(g.shape[0], lines * LINE * 4):
        chunk = -(-g.shape[0] // chunks)
        row = _cost_of_row(tile, entries, -(-chunks // g.groups), chunk * lines * LINE * 4)
        cost = sizes.tiles_y * sizes.tiles_x * (tiles * row + g.shape[0] * lines * PACKED)
        yield Tiling(cost, tile, target._replace(chunks=chunks), sizes._replace(chunk=chunk))


def _numbers_of_chunks(inputs: int, size: int) -> set[int]:
    """How many chunks to try for so many inputs of `size` bytes each."""
    fits = max(1, WINDOW // size)
    return {-(-inputs // min(inputs, times * fits)) for times in (1, 2, 4, LARGEST)}


def _cost_of_row(tile: Tile, entries: float, chunks: int, window: int) -> float:
    """What a block row of one tile costs: its entries, its sums between chunks, its output."""
    pieces, missed = tile.rows * tile.across, max(0.0, 1 - WINDOW / window)
    vectors = tile.outputs * pieces
    return entries * (vectors + pieces * MISS * missed**2 + ENTRY) + chunks * (SPILL * vectors + ROW)


def tile_product(
    inputs: int, outputs: int, samples: int, rows: int, *, density: float = 1.0, relu: bool = False
) -> Tiling:
    """The cheapest tiling of a fully connected layer for batches of `samples`, with tiles of M = `rows` outputs."""
    blocks, ways = -(-outputs // rows), []
    for height, across in product(HEIGHTS, range(1, LINE // LANES + 1)):
        tile, lanes = Tile(rows, height, across), across * LANES
        if not tile.fits or (height > -(-samples // lanes) and height > 1):
            continue
        for chunks in _numbers_of_chunks(inputs, height * LINE * 4):
            chunk = -(-inputs // chunks // LANES) * LANES  # whole squares of numbers to transpose
            row = _cost_of_row(tile, density * inputs, chunks, chunk * height * LINE * 4)
            cost = -(-samples // (height * lanes)) * (blocks * row + inputs * height * PACKED)
            target = Target(blocks * rows, blocks, -(-inputs // chunk), height * lanes, lanes, LANES, int(relu))
            sizes = Product(inputs, outputs, chunk, height, lanes, tile.numbers, int(relu))
            ways.append(Tiling(cost, tile, target, sizes))
    return min(ways, key=lambda way: way.cost)
