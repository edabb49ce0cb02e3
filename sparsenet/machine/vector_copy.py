"""Moving lanes: what `kernels/lane_copy.py` says in NumPy, as LLVM instructions."""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import (
    F32,
    I32,
    I64,
    LANES,
    LINE,
    WIDEST,
    address,
    check,
    forbid_unrolling,
    further,
    lanes_between,
    load_at,
    masked_load,
    masked_store,
    shuffle,
    store_at,
    transposed,
)

REGISTER = ir.VectorType(F32, WIDEST)  # lines are copied in as large pieces as registers hold
ZERO = ir.Constant(REGISTER, None)


def _register_at(context, builder, array_type, array, place):
    return address(context, builder, array_type, array, place, vector=REGISTER)


def _check_lanes(context, builder, signature, args, first, last):
    """Bounds of a copy (source, start, ..., target, place) that reads source[start + first : start + last], if any."""
    check(context, builder, signature.args[4], args[4], args[5], LINE)
    if config.BOUNDSCHECK:
        with builder.if_then(builder.icmp_signed("<", args[2], args[3])):
            size = builder.sub(last, first)
            check(context, builder, signature.args[0], args[0], builder.add(args[1], first), size)


# --- lines of a packed input ---------------------------------------------------------------------------------------


@intrinsic
def clear_line(typing_context, target, place):
    def emit(context, builder, signature, args):
        forbid_unrolling(builder)
        check(context, builder, signature.args[0], args[0], args[1], LINE)
        for begin in range(0, LINE, WIDEST):
            pointer = _register_at(context, builder, signature.args[0], args[0], further(builder, args[1], begin))
            store_at(builder, ZERO, pointer)
        return context.get_dummy_value()

    return types.void(target, types.intp), emit


@intrinsic
def copy_line(typing_context, source, start, first, last, target, place):
    def emit(context, builder, signature, args):
        forbid_unrolling(builder)
        _check_lanes(context, builder, signature, args, args[2], args[3])
        for begin in range(0, LINE, WIDEST):
            mask = lanes_between(builder, begin, args[2], args[3], WIDEST)
            source = _register_at(context, builder, signature.args[0], args[0], further(builder, args[1], begin))
            target = _register_at(context, builder, signature.args[4], args[4], further(builder, args[5], begin))
            store_at(builder, masked_load(builder, source, mask), target)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, index, target, index), emit


@intrinsic
def copy_every_second(typing_context, source, start, first, last, target, place):
    def emit(context, builder, signature, args):
        forbid_unrolling(builder)
        double = [builder.shl(bound, ir.Constant(I64, 1)) for bound in args[2:4]]
        double[1] = further(builder, double[1], -1)  # the element behind the last one may not exist
        _check_lanes(context, builder, signature, args, *double)
        for begin in range(0, LINE, WIDEST):
            halves = []
            for half in (2 * begin, 2 * begin + WIDEST):
                pointer = _register_at(context, builder, signature.args[0], args[0], further(builder, args[1], half))
                halves.append(masked_load(builder, pointer, lanes_between(builder, half, *double, WIDEST)))
            target = _register_at(context, builder, signature.args[4], args[4], further(builder, args[5], begin))
            store_at(builder, shuffle(builder, *halves, list(range(0, 2 * WIDEST, 2))), target)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, index, target, index), emit


@intrinsic
def put_lanes(typing_context, source, start, count, target, place):
    def emit(context, builder, signature, args):
        check(context, builder, signature.args[0], args[0], args[1], LANES)
        vector = load_at(builder, address(context, builder, signature.args[0], args[0], args[1]))
        target = address(context, builder, signature.args[3], args[3], args[4])
        whole = builder.icmp_signed(">=", args[2], ir.Constant(I64, LANES))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                check(context, builder, signature.args[3], args[3], args[4], LANES)
                store_at(builder, vector, target)
            with otherwise:
                mask = lanes_between(builder, 0, ir.Constant(I64, 0), args[2])
                masked_store(builder, vector, target, mask)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, target, index), emit


@intrinsic
def add_lanes(typing_context, source, start, count, target, place):
    def emit(context, builder, signature, args):
        check(context, builder, signature.args[3], args[3], args[4], LANES)
        mask = lanes_between(builder, 0, ir.Constant(I64, 0), args[2])
        piece = masked_load(builder, address(context, builder, signature.args[0], args[0], args[1]), mask)
        target = address(context, builder, signature.args[3], args[3], args[4])
        store_at(builder, builder.fadd(load_at(builder, target), piece), target)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, target, index), emit


@intrinsic
def prefetch(typing_context, source, start):
    def emit(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.bitcast(address(context, builder, signature.args[0], args[0], args[1]), byte)
        builder.call(fetch, [pointer, ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)])
        return context.get_dummy_value()

    return types.void(source, types.intp), emit


# --- a square of lanes, transposed ---------------------------------------------------------------------------------


@intrinsic
def transpose(typing_context, source, start, pitch, target, place, target_pitch):
    def emit(context, builder, signature, args):
        vectors, index = [], args[1]
        for _ in range(LANES):
            check(context, builder, signature.args[0], args[0], index, LANES)
            vectors.append(load_at(builder, address(context, builder, signature.args[0], args[0], index)))
            index = builder.add(index, args[2])
        vectors, index = transposed(builder, vectors), args[4]
        for vector in vectors:
            check(context, builder, signature.args[3], args[3], index, LANES)
            store_at(builder, vector, address(context, builder, signature.args[3], args[3], index))
            index = builder.add(index, args[5])
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, target, index, index), emit
