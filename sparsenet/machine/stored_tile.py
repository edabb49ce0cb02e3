"""The sums of a tile and an image: stored there, or added to what is there; see `kernels/tile.py`."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .register_tile import fill, vectors_of
from .vectors import (
    F32,
    I64,
    LINE,
    WIDEST,
    address,
    check,
    data_of,
    further,
    load_at,
    shuffle,
    store_at,
    transposed,
)


@intrinsic
def store(typing_context, tile, sums, array, start, plane, pitch, step):
    store_vectors = _store_channels if tile.tile.channel_lanes else _store_positions

    def emit(context, builder, signature, args):
        def pointer_to(place, count):
            check(context, builder, signature.args[2], args[2], place, count)
            return data_of(context, builder, signature.args[2], args[2], place)

        store_vectors(builder, tile.tile, vectors_of(builder, sums, args[1]), pointer_to, *args[3:])
        return context.get_dummy_value()

    index = types.intp
    return types.void(tile, sums, array, index, index, index, index), emit


def _store_positions(builder, tile, vectors, pointer_to, start, plane, pitch, step):
    for vector, place in zip(vectors, _places(builder, tile, start, plane, pitch, step), strict=True):
        store_at(builder, vector, builder.bitcast(pointer_to(place, tile.lanes), vector.type.as_pointer()))


def _places(builder, tile, start, plane, pitch, step):
    """Where each vector of a tile of positions lies, one after the other."""
    for m in range(tile.outputs):
        row = builder.add(start, builder.mul(plane, ir.Constant(I64, m)))
        for _ in range(tile.rows):
            place = row
            for _ in range(tile.across):
                yield place
                place = builder.add(place, step)
            row = builder.add(row, pitch)


def _store_channels(builder, tile, vectors, pointer_to, start, plane, _pitch, _step):
    """Squares of outputs by positions are transposed; the last square overlaps the one before it."""
    count = min(WIDEST, tile.across)
    nothing = [ir.Constant(ir.VectorType(F32, WIDEST), ir.Undefined)] * (WIDEST - count)
    for part in range(0, LINE, WIDEST):
        outputs = [shuffle(builder, v, v, list(range(part, part + WIDEST))) for v in vectors]
        for first in range(0, tile.across, WIDEST):
            first = min(first, tile.across - count)
            square = transposed(builder, outputs[first : first + count] + nothing)
            for lane, vector in enumerate(square):
                place = builder.add(start, builder.mul(plane, ir.Constant(I64, part + lane)))
                _store_some(builder, vector, count, pointer_to(further(builder, place, first), count))


def _store_some(builder, vector, count, pointer):
    """Store the first `count` lanes: as halves, quarters, ... of a vector, each a store of its own."""
    size, done = WIDEST, 0
    while done < count:
        if size <= count - done:
            some = shuffle(builder, vector, vector, list(range(done, done + size)))
            place = builder.bitcast(builder.gep(pointer, [ir.Constant(I64, done)]), some.type.as_pointer())
            store_at(builder, some, place)
            done += size
        size //= 2


@intrinsic
def add_stored(typing_context, tile, sums, array, start, plane, pitch, step):
    shape = tile.tile

    def emit(context, builder, signature, args):
        if shape.channel_lanes:  # never asked for: the code for a tile is compiled once, for whatever follows it
            return args[1]

        def pointer_to(place):
            check(context, builder, signature.args[2], args[2], place, shape.lanes)
            return address(context, builder, signature.args[2], args[2], place, vector=sums.vector)

        start, plane, pitch, step = args[3:]
        places = _places(builder, shape, start, plane, pitch, step)
        pairs = zip(vectors_of(builder, sums, args[1]), places, strict=True)
        return fill(builder, sums, [builder.fadd(v, load_at(builder, pointer_to(place))) for v, place in pairs])

    index = types.intp
    return sums(tile, sums, array, index, index, index, index), emit
