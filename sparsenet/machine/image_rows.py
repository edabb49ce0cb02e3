"""Pieces of the rows of an image, read where they lie, as LLVM instructions; see `kernels/depthwise_conv.py`."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .register_tile import fill, vectors_of
from .vectors import (
    I64,
    LANES,
    address,
    broadcast,
    check,
    further,
    lanes_between,
    load_at,
    masked_load,
    masked_store,
    multiply_add,
    shuffle,
)

EVEN = list(range(0, 2 * LANES, 2))


def _add_rows(context, builder, signature, args, pieces_at):
    """The tile's sums + weight pieces_at(place, row), each row `pitch` behind the one before."""
    sums, weight = signature.args[1], broadcast(builder, args[2])
    place, vectors = args[4], vectors_of(builder, sums, args[1])
    for row, vector in enumerate(vectors):
        vectors[row] = multiply_add(builder, weight, pieces_at(place, row), vector)
        place = builder.add(place, args[5])
    return fill(builder, sums, vectors)


def _image_at(context, builder, signature, args, place):
    return address(context, builder, signature.args[3], args[3], place)


@intrinsic
def add_rows(typing_context, tile, sums, weight, x, start, pitch):
    def emit(context, builder, signature, args):
        def piece(place, row):
            check(context, builder, signature.args[3], args[3], place, LANES)
            return load_at(builder, _image_at(context, builder, signature, args, place))

        return _add_rows(context, builder, signature, args, piece)

    return sums(tile, sums, types.float32, x, types.intp, types.intp), emit


@intrinsic
def add_rows_of_every_second(typing_context, tile, sums, weight, x, start, pitch):
    def emit(context, builder, signature, args):
        def piece(place, row):
            check(context, builder, signature.args[3], args[3], place, 2 * LANES)
            places = place, further(builder, place, LANES)
            pair = [load_at(builder, _image_at(context, builder, signature, args, p)) for p in places]
            return shuffle(builder, *pair, EVEN)

        return _add_rows(context, builder, signature, args, piece)

    return sums(tile, sums, types.float32, x, types.intp, types.intp), emit


def _rows_inside(context, builder, signature, args):
    """The function that gives the piece of a row at a place: of the image if above <= row < below, else of zeros."""
    kind = ir.ArrayType(ir.FloatType(), LANES)
    zeros = context.insert_unique_const(builder.module, "rows_outside", ir.Constant(kind, None))
    zeros = builder.bitcast(zeros, ir.VectorType(ir.FloatType(), LANES).as_pointer())

    def piece(place, row, mask):
        number = ir.Constant(I64, row)
        inside = builder.and_(builder.icmp_signed("<=", args[8], number), builder.icmp_signed("<", number, args[9]))
        there = _image_at(context, builder, signature, args, place)
        return masked_load(builder, builder.select(inside, there, zeros), mask)

    return piece


@intrinsic
def add_row_ends(typing_context, tile, sums, weight, x, start, pitch, first, last, above, below):
    def emit(context, builder, signature, args):
        mask, piece = lanes_between(builder, 0, *args[6:8]), _rows_inside(context, builder, signature, args)
        return _add_rows(context, builder, signature, args, lambda place, row: piece(place, row, mask))

    index = types.intp
    return sums(tile, sums, types.float32, x, index, index, index, index, index, index), emit


@intrinsic
def add_row_ends_of_every_second(typing_context, tile, sums, weight, x, start, pitch, first, last, above, below):
    def emit(context, builder, signature, args):
        double = [builder.shl(bound, ir.Constant(I64, 1)) for bound in args[6:8]]
        double[1] = further(builder, double[1], -1)  # the element behind the last one may not exist
        masks = [lanes_between(builder, begin, *double) for begin in (0, LANES)]

        some = _rows_inside(context, builder, signature, args)

        def piece(place, row):
            pair = [some(further(builder, place, begin), row, m) for begin, m in zip((0, LANES), masks, strict=True)]
            return shuffle(builder, *pair, EVEN)

        return _add_rows(context, builder, signature, args, piece)

    index = types.intp
    return sums(tile, sums, types.float32, x, index, index, index, index, index, index), emit


@intrinsic
def store_row_starts(typing_context, tile, sums, y, start, pitch, count):
    def emit(context, builder, signature, args):
        mask, place = lanes_between(builder, 0, ir.Constant(I64, 0), args[5]), args[3]
        for vector in vectors_of(builder, signature.args[1], args[1]):
            masked_store(builder, vector, address(context, builder, signature.args[2], args[2], place), mask)
            place = builder.add(place, args[4])
        return context.get_dummy_value()

    index = types.intp
    return types.void(tile, sums, y, index, index, index), emit
