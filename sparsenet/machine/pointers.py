"""Arrays at an address, and calls of an address.

A compiled plan is a table of numbers that threads walk through without Python: what it points at are addresses. Beside
each operation stands what it does in plain Python, where one thread walks.
"""

import ctypes

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

from .jit import callback
from .vectors import I64, compiled

_python_calls = []  # with NUMBA_DISABLE_JIT=1 an "address" is a place in this list
_keep = []  # a compiled function lives as long as its address may be called


def _address_of(function, count):
    native = callback(types.void(*[types.intp] * count))(function)
    if native is function:
        _python_calls.append(function)
        return len(_python_calls) - 1
    _keep.append(native)
    return native.address


def step(function):
    """Compile function(row, first, last, part, parts, workspace) now; returns the address to call it at."""
    return _address_of(function, 6)


def tile_step(function):
    """The same for a function of the numbers that `call_tile` passes."""
    return _address_of(function, 11)


def _emit_call(context, builder, signature, args):
    kind = ir.FunctionType(ir.VoidType(), [I64] * (len(args) - 1))
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
    return context.get_dummy_value()


def call(address, row, first, last, part, parts, workspace):
    """Call the step at `address`."""
    _python_calls[address](row, first, last, part, parts, workspace)


@compiled(call)
def call(typing_context, address, row, first, last, part, parts, workspace):
    return types.void(*[types.intp] * 7), _emit_call


def call_tile(address, row, workspace, y, y_size, chunk, first, last, base, begin, place, room):
    """Call the tile's step at `address`: see `sparse.multiply_tile`."""
    _python_calls[address](row, workspace, y, y_size, chunk, first, last, base, begin, place, room)


@compiled(call_tile)
def call_tile(typing_context, address, row, workspace, y, y_size, chunk, first, last, base, begin, place, room):
    return types.void(*[types.intp] * 12), _emit_call


def _view(address, size, dtype):
    return np.frombuffer((ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(int(address)), dtype)


def _pointer_to(element):
    @intrinsic
    def pointer(typing_context, address):
        def emit(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.intp), emit

    return pointer


_to_floats, _to_shorts, _to_words, _to_integers = (
    _pointer_to(element) for element in (types.float32, types.uint16, types.int32, types.int64)
)


def floats(address, size):
    """float32 array of `size` numbers at an address."""
    return _view(address, size, np.float32)


def shorts(address, size):
    """uint16 array of `size` numbers at an address."""
    return _view(address, size, np.uint16)


def words(address, size):
    """int32 array of `size` numbers at an address."""
    return _view(address, size, np.int32)


def integers(address, size):
    """int64 array of `size` numbers at an address."""
    return _view(address, size, np.int64)


@overload(floats)
def _(address, size):
    return lambda address, size: carray(_to_floats(address), size)


@overload(shorts)
def _(address, size):
    return lambda address, size: carray(_to_shorts(address), size)


@overload(words)
def _(address, size):
    return lambda address, size: carray(_to_words(address), size)


@overload(integers)
def _(address, size):
    return lambda address, size: carray(_to_integers(address), size)


def reader(kind, begin):
    """Function that reads a NamedTuple `kind` of integers from an address, from the `begin`-th number there on."""
    count = len(kind._fields)

    def read(address):
        return kind(*(int(number) for number in integers(address, begin + count)[begin:]))

    @compiled(read)
    def compiled_read(typing_context, address):
        result = types.NamedUniTuple(types.int64, count, kind)

        def emit(context, builder, signature, args):
            numbers = builder.inttoptr(args[0], I64.as_pointer())
            places = [builder.gep(numbers, [ir.Constant(I64, begin + index)]) for index in range(count)]
            return context.make_tuple(builder, result, [builder.load(place) for place in places])

        return result(types.intp), emit

    return compiled_read
