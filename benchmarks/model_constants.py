"""The constants of the model of costs (`kernels/tiling.py`) beside what this machine takes: python model_constants.py

Each in multiply-adds of one vector, as there: a time is divided by that of one multiply-add of registers. The kernels
are the engine's own, on numbers made for the purpose; the least of several runs counts. The model only orders the ways
of cutting a layer, so a constant that is off by a third changes little.
"""

import argparse
import json
import time

import numpy as np

from sparsenet.engine.peak import measure_peak, numbers_at_once
from sparsenet.kernels import tiling
from sparsenet.kernels.direct_sparse_conv import TileCall, TileSizes, multiply_tile
from sparsenet.kernels.input_packing import pack_lines
from sparsenet.lab.environment import processor_name
from sparsenet.machine.jit import kernel
from sparsenet.machine.tile_shape import Tile
from sparsenet.machine.vectors import LANES, LINE

REPEATS = 400
BLOCK_ROWS = 256
NEAR, FAR = 8 * 1024, 256 * 1024  # bytes of packed inputs in the first-level cache, and in the second
FEW_ENTRIES, MANY_ENTRIES = 8, 64  # of a block row
OFTEN = 2000  # copies of channels that are timed at once


@kernel
def multiply(tile, t, work, entries, indptr, spans, bias, packed, waiting, y):
    """A tile's block rows, compiled as in a plan."""
    multiply_tile(tile, False, t, work, entries, indptr, spans, bias, packed, waiting, y, y)


@kernel
def pack(count, g, x, reads, packed):
    """Copy the same channel so often."""
    for _ in range(count):
        pack_lines(g, x, reads, 0, 1, 0, 0, packed)


def least_time(run):
    """Seconds of a call: the least of several."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def time_of_row(tile, count, size):
    """Seconds of a block row with so many entries in a packed input of so many bytes, in a chunk between two others."""
    rng, words = np.random.default_rng(0), size // 4
    entries = np.ones((BLOCK_ROWS * count, 2), np.int32)
    entries[:, 0] = rng.integers(0, words // LINE - tile.rows, len(entries)) * LINE
    entries[:, 1] = np.float32(1e-3).view(np.int32)
    indptr = np.repeat(np.array([0, len(entries)]), [BLOCK_ROWS, 2 * BLOCK_ROWS + 1])
    indptr[BLOCK_ROWS : 2 * BLOCK_ROWS + 1] = count * np.arange(BLOCK_ROWS + 1)
    spans = np.tile([0, 2], BLOCK_ROWS)
    sizes = TileSizes(BLOCK_ROWS, 1, tile.size * tile.lanes, BLOCK_ROWS, 3, 0, 0, tile.lanes, 0, 0)
    waiting = np.zeros(BLOCK_ROWS * sizes.sums + LINE, np.float32)
    numbers = np.zeros(BLOCK_ROWS, np.float32), np.ones(words + LINE, np.float32), waiting, waiting

    def run(rows):
        work = TileCall(0, 0, 1, 0, rows, 0, 0, 0, 0)
        return least_time(lambda: multiply(tile, sizes, work, entries.reshape(-1), indptr, spans, *numbers))

    return (run(BLOCK_ROWS) - run(0)) / BLOCK_ROWS


def time_of_line():
    """Seconds that one line takes to be copied into the packed input."""
    way = next(tiling._line_tilings(tiling.Geometry((1, 28, 28), 1, (3, 3), padding=(1, 1)), terms()))
    x, reads = np.ones(28 * 28, np.float32), np.ones((way.sizes.columns, 1), np.int64)
    packed = np.zeros(way.sizes.length + LINE, np.float32)
    return least_time(lambda: pack(OFTEN, way.sizes, x, reads.reshape(-1), packed)) / OFTEN / (way.sizes.length // LINE)


def terms():
    return tiling.Terms(1, 0.1, False, LANES, numbers_at_once())


def measure():
    """{constant: (what the model says, what was measured)}."""
    unit = LANES / measure_peak(LANES)  # seconds of a multiply-add
    tiles = [tile for tile in (Tile(1, rows, 1) for rows in tiling.TILE_ROWS) if tile.fits]
    large = [tile for tile in tiles if tile.rows >= tiling.SUMS_IN_FLIGHT]
    few, many = ({t.rows: time_of_row(t, n, NEAR) / unit for t in tiles} for n in (FEW_ENTRIES, MANY_ENTRIES))
    entry = {rows: (many[rows] - few[rows]) / (MANY_ENTRIES - FEW_ENTRIES) for rows in many}
    start = {rows: few[rows] - FEW_ENTRIES * entry[rows] for rows in few}
    spill, block_row = np.polyfit(list(start), list(start.values()), 1)
    alone, tile = min((t for t in tiles if not t.has_room), key=lambda t: t.rows), large[-1]
    far = (time_of_row(tile, MANY_ENTRIES, FAR) / unit - start[tile.rows]) / MANY_ENTRIES
    fetch = (far - tiling.FETCH_OVERLAP * entry[tile.rows]) / tile.rows / (1 - tiling.PACKED_BYTES / FAR)
    return {
        "SUMS_IN_FLIGHT": (tiling.SUMS_IN_FLIGHT, entry[alone.rows] - tiling.ENTRY),
        "ENTRY": (tiling.ENTRY, np.mean([entry[t.rows] - t.rows for t in large])),
        "SPILL_VECTOR": (tiling.SPILL_VECTOR, spill),
        "BLOCK_ROW": (tiling.BLOCK_ROW, block_row),
        "FETCH_LINE": (tiling.FETCH_LINE, fetch),
        "PACK_LINE": (tiling.PACK_LINE, time_of_line() / unit),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="instead of a table")
    options = parser.parse_args()
    found = {name: (float(model), round(float(measured), 2)) for name, (model, measured) in measure().items()}
    if options.json:
        print(json.dumps({"processor": processor_name(), "numbers_at_once": numbers_at_once(), "constants": found}))
        return
    print(f"{processor_name()}, {numbers_at_once()} numbers at once\n")
    print("| constant | model | measured |\n| --- | --- | --- |")
    for name, (model, measured) in found.items():
        print(f"| `{name}` | {model:g} | {measured:g} |")


if __name__ == "__main__":
    main()
