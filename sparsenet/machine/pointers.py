"""Arrays and records at an address, and calls of an address.

A compiled plan is a table of numbers that threads walk through without Python: what it points at are addresses. Beside
each operation stands what it does in plain Python, where one thread walks.
"""

import ctypes
from typing import get_type_hints

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

from .jit import callback
from .vectors import I64, compiled

_python_calls = []  # with NUMBA_DISABLE_JIT=1 an "address" is a place in this list
_keep = []  # a compiled function lives as long as its address may be called


def _address_of(function, count):
    compiled_function = callback(types.void(*[types.intp] * count))(function)
    if compiled_function is function:
        _python_calls.append(function)
        return len(_python_calls) - 1
    _keep.append(compiled_function)
    return compiled_function.address


def step(function):
    """Compile function(record, first, last, part, parts, workspace) now; returns the address to call it at."""
    return _address_of(function, 6)


def tile_step(function):
    """Compile function(tiled, workspace) now; returns the address to call it at."""
    return _address_of(function, 2)


def _emit_call(context, builder, signature, args):
    kind = ir.FunctionType(ir.VoidType(), [I64] * (len(args) - 1))
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
    return context.get_dummy_value()


def call(address, record, first, last, part, parts, workspace):
    """Call the step at `address`."""
    _python_calls[address](record, first, last, part, parts, workspace)


@compiled(call)
def call(typing_context, address, record, first, last, part, parts, workspace):
    return types.void(*[types.intp] * 7), _emit_call


def call_tile(address, tiled, workspace):
    """Call the tile's code at `address`, for the record at `tiled`, on the work described at `workspace`."""
    _python_calls[address](tiled, workspace)


@compiled(call_tile)
def call_tile(typing_context, address, tiled, workspace):
    return types.void(*[types.intp] * 3), _emit_call


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


# --- records: a NamedTuple of numbers and arrays, laid out for compiled code, which reads it by the same names -------

ARRAY = np.dtype([("address", np.int64), ("count", np.int64)])


def record_of(kind: type, **more: np.dtype) -> np.dtype:
    """Record of a NamedTuple's fields, 64-bit integers, or the address and count of an array; and of `more` fields."""
    fields = [(name, ARRAY if hint is np.ndarray else np.int64) for name, hint in get_type_hints(kind).items()]
    return np.dtype([*fields, *more.items()])


def write_record(record: np.ndarray, values: tuple) -> None:
    """Write a NamedTuple's values into its record, arrays as address and count: they must outlive it."""
    for name, value in values._asdict().items():
        record[name] = (value.ctypes.data, value.size) if isinstance(value, np.ndarray) else value


class _Fields:
    """The fields of a record as attributes; those of np.record give way to its own, such as `size` and `flat`."""

    def __init__(self, record):
        vars(self)["record"] = record

    def __getattr__(self, name):
        value = self.record[name]
        return _Fields(value) if isinstance(value, np.void) else value

    def __setattr__(self, name, value):
        self.record[name] = value


def record_at(address, dtype):
    """Record at an address, its fields to be read by name and to be written."""
    return _Fields(np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(int(address)), dtype)[0])


@compiled(record_at)
def record_at(typing_context, address, dtype):
    record = dtype.dtype

    def emit(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(record))

    return record(types.intp, dtype), emit
