"""The few atomic operations that threads meet on: sequentially consistent, on elements of an int64 array.

Beside each stands what it does in plain Python, where one thread walks.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .vectors import I64, X86, compiled


def _element(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def fetch_add(array, index, amount):
    """array[index] += amount; returns what was there before."""
    before = int(array[index])
    array[index] += amount
    return before


@compiled(fetch_add)
def fetch_add(typing_context, array, index, amount):
    def emit(context, builder, signature, args):
        place = _element(context, builder, signature.args[0], args[0], args[1])
        return builder.atomic_rmw("add", place, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), emit


def exchange(array, index, value):
    """array[index] = value; returns what was there before."""
    before = int(array[index])
    array[index] = value
    return before


@compiled(exchange)
def exchange(typing_context, array, index, value):
    def emit(context, builder, signature, args):
        place = _element(context, builder, signature.args[0], args[0], args[1])
        return builder.atomic_rmw("xchg", place, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), emit


def peek(array, index):
    """array[index] as another thread may have just set it."""
    return int(array[index])


@compiled(peek)
def peek(typing_context, array, index):
    def emit(context, builder, signature, args):
        return builder.load_atomic(_element(context, builder, signature.args[0], args[0], args[1]), "seq_cst", 8)

    return types.int64(array, types.intp), emit


def pause():
    """Tell the core that this is a waiting loop: the other thread of a shared core gets its units."""


@compiled(pause)
def pause(typing_context):
    def emit(context, builder, signature, args):
        if X86:
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), emit


def yield_cpu(address):
    """Call the operating system's function at `address` (0: none) that lets another thread run."""


@compiled(yield_cpu)
def yield_cpu(typing_context, address):
    def emit(context, builder, signature, args):
        with builder.if_then(builder.icmp_signed("!=", args[0], ir.Constant(I64, 0))):
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), emit
