"""Maxima of squares of 2 x 2 numbers as LLVM instructions: from an image, or from a tile that is still in registers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .register_tile import vectors_of
from .vectors import I64, LANES, address, check, data_of, further, load_at, shuffle, store_at


def _larger(builder, a, b):
    """Maximum of each lane; NaN where a or b is NaN."""
    larger = builder.select(builder.fcmp_ordered(">", a, b), a, b)  # b where b is NaN
    return builder.select(builder.fcmp_unordered("uno", a, a), a, larger)


def _larger_of_pairs(builder, low, high):
    """Maximum of each two lanes beside each other, of two vectors."""
    even, odd = (list(range(parity, 2 * low.type.count, 2)) for parity in (0, 1))
    return _larger(builder, shuffle(builder, low, high, even), shuffle(builder, low, high, odd))


@intrinsic
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
        best = _larger_of_pairs(builder, *halves)
        store_at(builder, best, address(context, builder, signature.args[3], args[3], args[4]))
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp), emit


@intrinsic
def store_maxima(typing_context, tile, sums, array, start, plane, pitch, step):
    def emit(context, builder, signature, args):
        shape = tile.tile
        if shape.channel_lanes or shape.rows % 2:
            return context.get_dummy_value()  # never called: a kernel is compiled for such tiles too
        places = _places_of_squares(builder, shape, *args[3:])
        maxima = _maxima_of_rows(builder, shape, vectors_of(builder, sums, args[1]))
        maxima += maxima[-1:] * (len(maxima) % 2)
        for i in range(0, len(maxima), 2):  # the squares of two vectors fill one
            pair = maxima[i : i + 2]
            best = _larger_of_pairs(builder, *pair)
            for half, place in enumerate(places[i : i + 2]):
                check(context, builder, signature.args[2], args[2], place, shape.lanes // 2)
                lanes = list(range(half * shape.lanes // 2, (half + 1) * shape.lanes // 2))
                some = shuffle(builder, best, best, lanes)
                pointer = data_of(context, builder, signature.args[2], args[2], place)
                store_at(builder, some, builder.bitcast(pointer, some.type.as_pointer()))
        return context.get_dummy_value()

    index = types.intp
    return types.void(tile, sums, array, index, index, index, index), emit


def _maxima_of_rows(builder, tile, vectors):
    """Of each two rows of a tile."""
    across, maxima = tile.across, []
    for first in range(0, len(vectors), 2 * across):
        upper, lower = vectors[first : first + across], vectors[first + across : first + 2 * across]
        maxima += [_larger(builder, *pair) for pair in zip(upper, lower, strict=True)]
    return maxima


def _places_of_squares(builder, tile, start, plane, pitch, step):
    """Where the squares of each of these maxima go."""
    half, places = builder.ashr(step, ir.Constant(I64, 1)), []
    for m in range(tile.outputs):
        row = builder.add(start, builder.mul(plane, ir.Constant(I64, m)))
        for _ in range(tile.rows // 2):
            place = row
            for _ in range(tile.across):
                places.append(place)
                place = builder.add(place, half)
            row = builder.add(row, pitch)
    return places
