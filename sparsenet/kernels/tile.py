"""A tile of the output as a value: its sums stay in vector registers while a kernel walks over the weights.

Each operation is a few lines of NumPy here. Numba compiles the LLVM instructions of the same name instead
(`machine/register_tile.py` and its neighbours); with `NUMBA_DISABLE_JIT=1` these lines run, slow, and the oracle of the
fast ones.

    sums[m, r, a, lane]    channel m, row r, vector a, position `lane`: where lanes are positions
    sums[0, 0, a, lane]    position a, channel `lane`: where lanes are output channels (`Tile.channel_lanes`)
"""

import numpy as np

from ..machine import maxpool_tile, register_tile, stored_tile
from ..machine.tile_shape import Tile
from ..machine.vectors import LINE, compiled_as


def _shape(tile: Tile) -> tuple[int, int, int, int]:
    return tile.outputs, tile.rows, tile.across, tile.lanes


@compiled_as(register_tile.splat)
def splat(tile, values, start):
    """sums[m, r, a, lane] = values[start + m]; where lanes are channels values[start + lane]."""
    each = values[start : start + tile.block]
    return np.broadcast_to(each if tile.channel_lanes else each[:, None, None, None], _shape(tile))


@compiled_as(register_tile.zero)
def zero(tile):
    """Sums of zero."""
    return np.zeros(_shape(tile), np.float32)


@compiled_as(register_tile.load)
def load(tile, array, start):
    """The sums that `keep` has left at array[start]."""
    return array[start : start + tile.size * tile.lanes].reshape(_shape(tile))


@compiled_as(register_tile.keep)
def keep(tile, sums, array, start):
    """Write sums to where `load` finds them again."""
    array[start : start + sums.size] = sums.reshape(-1)


@compiled_as(stored_tile.store)
def store(tile, sums, array, start, plane, pitch, step):
    """array[start + m plane + r pitch + a step + lane] = sums[m, r, a, lane].

    Where lanes are channels array[start + lane plane + a] = sums[0, 0, a, lane].
    """
    for m, r, a, lane in np.ndindex(sums.shape):
        place = lane * plane + a if tile.channel_lanes else m * plane + r * pitch + a * step + lane
        array[start + place] = sums[m, r, a, lane]


@compiled_as(stored_tile.add_stored)
def add_stored(tile, sums, array, start, plane, pitch, step):
    """sums[m, r, a, lane] + array[start + m plane + r pitch + a step + lane], for tiles of positions."""
    others = np.empty_like(sums)
    for m, r, a in np.ndindex(sums.shape[:3]):
        first = start + m * plane + r * pitch + a * step
        others[m, r, a] = array[first : first + tile.lanes]
    return sums + others


@compiled_as(maxpool_tile.store_maxima)
def store_maxima(tile, sums, array, start, plane, pitch, step):
    """array[start + m plane + r pitch + a step / 2 + l] = max of sums[m, 2 r : 2 r + 2, a, 2 l : 2 l + 2].

    Max pooling of 2 x 2 squares, for tiles of positions with an even number of rows and an even step.
    """
    rows = larger(sums[:, ::2], sums[:, 1::2])
    best = larger(rows[..., ::2], rows[..., 1::2])
    for m, r, a in np.ndindex(best.shape[:3]):
        first = start + m * plane + r * pitch + a * (step // 2)
        array[first : first + tile.lanes // 2] = best[m, r, a]


def larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Maximum of each lane; NaN where a or b is NaN."""
    return np.where((a > b) | np.isnan(a), a, b)


@compiled_as(register_tile.fma)
def fma(tile, sums, entries, k, packed, base, step):
    """sums[m, r, a, :] + weight[m] packed[base + offset + r LINE + a step : ...], a multiply-add per lane.

    Where lanes are channels sums[0, 0, a, :] + weights packed[base + offset + a]. Entry k of the packed weights holds
    the offset and the bits of M weights: int32, (entries, 1 + M), flat.
    """
    count = 1 + tile.block
    entry = entries[k * count : (k + 1) * count]
    weights, start = entry[1:].view(np.float32), base + entry[0]
    if tile.channel_lanes:
        return sums + weights * packed[start : start + tile.across, None]
    rows, vectors = np.arange(tile.rows)[:, None, None] * LINE, np.arange(tile.across)[:, None] * step
    return sums + weights[:, None, None, None] * packed[start + rows + vectors + np.arange(tile.lanes)]


@compiled_as(register_tile.add)
def add(sums, others):
    """The sums of two tiles, lane by lane."""
    return sums + others


@compiled_as(register_tile.relu)
def relu(sums):
    """max(sums, 0); NaN stays NaN."""
    return np.where(sums < 0, np.float32(0), sums)


@compiled_as(register_tile.scale_add)
def scale_add(sums, factor, addend):
    """Sums * factor + addend: one multiply-add of registers for each vector."""
    return sums * factor + addend
