"""Maxima of squares of 2 x 2 numbers, by vectors: from an image, or from a tile while it is still in registers.

As in `simd.py`, each operation is a few lines of NumPy beside the LLVM instructions that it stands for.
"""

import numpy as np
from llvmlite import ir
from numba import types

from .register_tile import Wide, vectors_of
from .vectors import I64, LANES, address, check, compiled, data_of, further, load_at, shuffle, store_at

EVEN, ODD = (list(range(parity, 2 * LANES, 2)) for parity in (0, 1))


def larger(a, b):
    """Maximum of each lane; NaN where a or b is NaN."""
    return np.where((a > b) | np.isnan(a), a, b)


def _larger(builder, a, b):
    larger = builder.select(builder.fcmp_ordered(">", a, b), a, b)  # b where b is NaN
    return builder.select(builder.fcmp_unordered("uno", a, a), a, larger)


def max_of_squares(source, upper, lower, target, place):
    """target[place + l] = max of source[upper + 2 l], source[upper + 2 l + 1] and the same two behind `lower`."""
    best = larger(source[upper : upper + 2 * LANES], source[lower : lower + 2 * LANES])
    target[place : place + LANES] = larger(best[::2], best[1::2])


@compiled(max_of_squares)
def max_of_squares(typing_context, source, upper, lower, target, place):
    def emit(context, builder, signature, args):
        for start in args[1:3]:
            check(context, builder, signature.args[0], args[0], start, 2 * LANES)
        check(context, builder, signature.args[3], args[3], args[4], LANES)
        halves = []
        for half in (0, LANES):
            places = [
                address(context, builder, signature.args[0], args[0], further(builder, s, half)) for s in args[1:3]
            ]
            halves.append(_larger(builder, *(load_at(builder, place) for place in places)))
        best = _larger(builder, shuffle(builder, *halves, EVEN), shuffle(builder, *halves, ODD))
        store_at(builder, best, address(context, builder, signature.args[3], args[3], args[4]))
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp), emit


def store_squares(tile, block, array, start, plane, pitch, step):
    """array[start + m plane + r pitch + a step / 2 + l] = max of block[m, 2 r : 2 r + 2, a, 2 l : 2 l + 2].

    For wide blocks with an even number of rows and an even step.
    """
    rows = larger(block[:, ::2], block[:, 1::2])
    best = larger(rows[..., ::2], rows[..., 1::2])
    for m, r, a in np.ndindex(best.shape[:3]):
        first = start + m * plane + r * pitch + a * (step // 2)
        array[first : first + LANES // 2] = best[m, r, a]


@compiled(store_squares)
def store_squares(typing_context, tile, block, array, start, plane, pitch, step):
    def emit(context, builder, signature, args):
        if not isinstance(block, Wide) or block.rows % 2:
            return context.get_dummy_value()  # never called: a kernel is compiled for such tiles too
        places = _places_of_squares(builder, block, *args[3:])
        maxima = _maxima_of_rows(builder, block, vectors_of(builder, block, args[1]))
        maxima += maxima[-1:] * (len(maxima) % 2)
        for i in range(0, len(maxima), 2):  # the squares of two vectors fill one
            pair = maxima[i : i + 2]
            best = _larger(builder, shuffle(builder, *pair, EVEN), shuffle(builder, *pair, ODD))
            for half, place in enumerate(places[i : i + 2]):
                check(context, builder, signature.args[2], args[2], place, LANES // 2)
                lanes = list(range(half * LANES // 2, (half + 1) * LANES // 2))
                some = shuffle(builder, best, best, lanes)
                pointer = data_of(context, builder, signature.args[2], args[2], place)
                store_at(builder, some, builder.bitcast(pointer, some.type.as_pointer()))
        return context.get_dummy_value()

    index = types.intp
    return types.void(tile, block, array, index, index, index, index), emit


def _maxima_of_rows(builder, block, vectors):
    """Of each two rows of a block."""
    across, maxima = block.across, []
    for first in range(0, len(vectors), 2 * across):
        upper, lower = vectors[first : first + across], vectors[first + across : first + 2 * across]
        maxima += [_larger(builder, *pair) for pair in zip(upper, lower, strict=True)]
    return maxima


def _places_of_squares(builder, block, start, plane, pitch, step):
    """Where the squares of each of these maxima go."""
    half, places = builder.ashr(step, ir.Constant(I64, 1)), []
    for m in range(block.outputs):
        row = builder.add(start, builder.mul(plane, ir.Constant(I64, m)))
        for _ in range(block.rows // 2):
            place = row
            for _ in range(block.across):
                places.append(place)
                place = builder.add(place, half)
            row = builder.add(row, pitch)
    return places
