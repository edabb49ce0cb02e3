"""A line of sums and gathered inputs: what `kernels/lane_sums.py` says in NumPy, as LLVM instructions."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .vectors import (
    F32,
    I32,
    I64,
    LINE,
    LINE_VECTOR,
    LITTLE_ENDIAN,
    broadcast,
    check,
    data_of,
    load_at,
    multiply_add,
    range_of,
    shuffle,
)


class LineType(types.Type):
    """Numba type of LINE sums, or of the sums of two samples: those of each output beside each other."""

    def __init__(self, samples: int):
        self.vector = ir.VectorType(F32, samples * LINE)
        super().__init__(f"Line of {samples}")


LINE_OF_SUMS, LINE_OF_PAIRS = LineType(1), LineType(2)
TWICE = [lane // 2 for lane in range(2 * LINE)]  # each lane of a line, for both samples


@register_model(LineType)
class _LineModel(models.PrimitiveModel):
    def __init__(self, manager, line):
        super().__init__(manager, line, line.vector)


@intrinsic
def zero_line(typing_context):
    return LINE_OF_SUMS(), lambda context, builder, signature, args: ir.Constant(LINE_VECTOR, None)


@intrinsic
def load_line(typing_context, numbers, k):
    def emit(context, builder, signature, args):
        check(context, builder, signature.args[0], args[0], args[1], LINE)
        start = data_of(context, builder, signature.args[0], *args)
        return load_at(builder, builder.bitcast(start, LINE_VECTOR.as_pointer()))

    return LINE_OF_SUMS(numbers, types.intp), emit


@intrinsic
def add_lines(typing_context, line, other):
    return line(line, other), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def number_of(typing_context, line, lane):
    def emit(context, builder, signature, args):
        return builder.extract_element(*args)

    return types.float32(line, types.intp), emit


@intrinsic
def fma_line(typing_context, line, values, offsets, k, count, x, base):
    def emit(context, builder, signature, args):
        kinds, start = signature.args, args[3]
        check(context, builder, kinds[1], args[1], start, LINE)
        check(context, builder, kinds[2], args[2], start, LINE)
        values, indices = (data_of(context, builder, kinds[i], args[i], start) for i in (1, 2))
        numbers, pieces = data_of(context, builder, kinds[5], args[5], args[6]), ir.Constant(LINE_VECTOR, ir.Undefined)
        for lane, index in enumerate(_four_at_a_time(builder, indices)):
            check(context, builder, kinds[5], args[5], builder.add(args[6], index), 1)
            pieces = builder.insert_element(pieces, builder.load(builder.gep(numbers, [index])), ir.Constant(I32, lane))
        weights = load_at(builder, builder.bitcast(values, LINE_VECTOR.as_pointer()))
        total = multiply_add(builder, weights, pieces, args[0])
        count = broadcast(builder, builder.trunc(args[4], I32), LINE)
        return builder.select(builder.icmp_signed("<", range_of(LINE), count), total, args[0])

    index = types.intp
    return LINE_OF_SUMS(line, values, offsets, index, index, x, index), emit


def _four_at_a_time(builder, pointer):
    """LINE numbers of 16 bits, by loads of 64."""
    pointer = builder.bitcast(pointer, I64.as_pointer())
    for quarter in range(LINE // 4):
        four = builder.load(builder.gep(pointer, [ir.Constant(I64, quarter)]))
        four.align = 2
        for place in range(4) if LITTLE_ENDIAN else reversed(range(4)):
            yield builder.and_(builder.lshr(four, ir.Constant(I64, 16 * place)), ir.Constant(I64, 0xFFFF))


@intrinsic
def zero_pairs(typing_context):
    return LINE_OF_PAIRS(), lambda context, builder, signature, args: ir.Constant(LINE_OF_PAIRS.vector, None)


@intrinsic
def load_twice(typing_context, numbers, k):
    def emit(context, builder, signature, args):
        check(context, builder, signature.args[0], args[0], args[1], LINE)
        start = data_of(context, builder, signature.args[0], *args)
        line = load_at(builder, builder.bitcast(start, LINE_VECTOR.as_pointer()))
        return shuffle(builder, line, line, TWICE)

    return LINE_OF_PAIRS(numbers, types.intp), emit


@intrinsic
def fma_pairs(typing_context, line, values, offsets, k, count, pairs):
    def emit(context, builder, signature, args):
        kinds, start, both = signature.args, args[3], ir.DoubleType()  # two float32 numbers in one load
        check(context, builder, kinds[1], args[1], start, LINE)
        check(context, builder, kinds[2], args[2], start, LINE)
        values, indices = (data_of(context, builder, kinds[i], args[i], start) for i in (1, 2))
        numbers = builder.bitcast(data_of(context, builder, kinds[5], args[5]), both.as_pointer())
        pieces = ir.Constant(ir.VectorType(both, LINE), ir.Undefined)
        for lane, index in enumerate(_four_at_a_time(builder, indices)):
            check(context, builder, kinds[5], args[5], builder.shl(index, ir.Constant(I64, 1)), 2)
            piece = load_at(builder, builder.gep(numbers, [index]))
            pieces = builder.insert_element(pieces, piece, ir.Constant(I32, lane))
        weights = load_at(builder, builder.bitcast(values, LINE_VECTOR.as_pointer()))
        weights, pieces = shuffle(builder, weights, weights, TWICE), builder.bitcast(pieces, line.vector)
        total = multiply_add(builder, weights, pieces, args[0])
        count = broadcast(builder, builder.trunc(args[4], I32), 2 * LINE)
        lanes = ir.Constant(ir.VectorType(I32, 2 * LINE), TWICE)
        return builder.select(builder.icmp_signed("<", lanes, count), total, args[0])

    index = types.intp
    return LINE_OF_PAIRS(line, values, offsets, index, index, pairs), emit


@intrinsic
def sum_line(typing_context, line):
    def emit(context, builder, signature, args):
        line, size = args[0], LINE // 2
        while size:
            halves = [list(range(first, first + size)) for first in (0, size)]
            low, high = (
                builder.shuffle_vector(line, line, ir.Constant(ir.VectorType(I32, size), half)) for half in halves
            )
            line, size = builder.fadd(low, high), size // 2
        return builder.extract_element(line, ir.Constant(I32, 0))

    return types.float32(line), emit
