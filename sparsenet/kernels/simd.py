"""A block of float32 lanes as a value: registers under Numba, a NumPy array in plain Python.

The fast kernels keep a tile of the output in registers while they walk over the weights. Such a tile is here a value of
M x R vectors of `LANES` lanes (M output channels, R pieces of the image) with a handful of operations, each a line of
NumPy beside the LLVM instructions that it stands for. With `NUMBA_DISABLE_JIT=1` the NumPy lines run: the same kernel
source is then slow, and its own oracle.

A tile's size is carried by the *type* of a nested tuple, `tile(M, R)`, so that one kernel source serves every size,
each compiled once and cached by its signature. The width of a vector, the number of registers and with them the sizes
worth compiling follow the machine that is compiled for.
"""

from collections.abc import Callable

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _features() -> set[str]:
    """Names of the instruction sets of the CPU that Numba compiles for (its own, or NUMBA_CPU_NAME and _FEATURES)."""
    if config.CPU_FEATURES is not None:
        return {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    if config.CPU_NAME not in (None, "host"):
        return set() if config.CPU_NAME in ("generic", "x86-64", "x86-64-v2") else {"avx2"}
    return {name for name, present in llvm.get_host_cpu_features().items() if present}


FEATURES = _features()
LANES = 16 if "avx512f" in FEATURES else 8 if "avx2" in FEATURES else 4
REGISTERS = 32 if {"avx512f", "neon"} & FEATURES else 16
VECTOR = ir.VectorType(F32, LANES)
LANE_MASK = ir.VectorType(ir.IntType(1), LANES)


def tile(rows: int, vectors: int, spread: int = 1) -> tuple:
    """Nested tuple of zeros whose type says: M = `rows` output channels by R = `vectors` vectors.

    The pieces that are multiplied lie `spread` vectors apart in the window.
    """
    return (((0,) * spread,) * vectors,) * rows


class BlockType(types.Type):
    """Numba type of a register block: M x R vectors; it has no Python form inside jitted code."""

    def __init__(self, rows, vectors):
        self.rows, self.vectors = rows, vectors
        super().__init__(f"Block({rows}, {vectors}, {LANES})")

    @property
    def size(self) -> int:
        return self.rows * self.vectors


@register_model(BlockType)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager, block):
        super().__init__(manager, block, ir.ArrayType(VECTOR, block.size))


def _block_of(tile_type: types.BaseTuple) -> BlockType:
    return BlockType(len(tile_type), len(tile_type[0]))


def _address(context, builder, array_type, array, *indices):
    """Pointer to array[sum of indices], as one to a vector."""
    pointer = context.make_array(array_type)(context, builder, array).data
    for index in indices:
        pointer = builder.gep(pointer, [index])
    return builder.bitcast(pointer, VECTOR.as_pointer())


def _load(builder, pointer):
    vector = builder.load(pointer)
    vector.align = 4
    return vector


def _broadcast(builder, scalar):
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _scalar(context, builder, array_type, array, start, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(builder.gep(builder.gep(data, [start]), [ir.Constant(I64, index)]))


def _check(context, builder, array_type, array, start, size):
    """Raise where [start, start + size) leaves the array: what NUMBA_BOUNDSCHECK=1 does for plain indexing."""
    if not config.BOUNDSCHECK:
        return
    length = context.make_array(array_type)(context, builder, array).nitems
    if isinstance(size, int):
        size = ir.Constant(I64, size)
    negative = builder.icmp_signed("<", start, ir.Constant(I64, 0))
    beyond = builder.icmp_signed(">", builder.add(start, size), length)
    with builder.if_then(builder.or_(negative, beyond)):
        context.call_conv.return_user_exc(builder, IndexError, ("a block reaches over the end of its array",))


def compiled(python: Callable) -> Callable:
    """Decorate the intrinsic that does in compiled code what `python` does; NUMBA_DISABLE_JIT=1 keeps `python`."""
    return lambda typed: python if config.DISABLE_JIT else intrinsic(typed)


# --- splat: one number per output channel in all lanes -------------------------------------------------------------


def splat(tile, values, start):
    """Block with values[start + m] in all lanes of output channel m."""
    rows, vectors = len(tile), len(tile[0])
    return np.broadcast_to(values[start : start + rows, None, None], (rows, vectors, LANES))


@compiled(splat)
def splat(typing_context, tile, values, start):
    block = _block_of(tile)

    def emit(context, builder, signature, args):
        _check(context, builder, signature.args[1], args[1], args[2], block.rows)
        result = ir.Constant(ir.ArrayType(VECTOR, block.size), ir.Undefined)
        for m in range(block.rows):
            vector = _broadcast(builder, _scalar(context, builder, signature.args[1], args[1], args[2], m))
            for v in range(block.vectors):
                result = builder.insert_value(result, vector, m * block.vectors + v)
        return result

    return block(tile, values, types.intp), emit


# --- load and store ------------------------------------------------------------------------------------------------


def load(tile, array, start):
    """Block from the M R LANES numbers that begin at array[start]."""
    rows, vectors = len(tile), len(tile[0])
    return array[start : start + rows * vectors * LANES].reshape(rows, vectors, LANES)


@compiled(load)
def load(typing_context, tile, array, start):
    block = _block_of(tile)

    def emit(context, builder, signature, args):
        result = ir.Constant(ir.ArrayType(VECTOR, block.size), ir.Undefined)
        _check(context, builder, signature.args[1], args[1], args[2], block.size * LANES)
        first = _address(context, builder, signature.args[1], args[1], args[2])
        for v in range(block.size):
            vector = _load(builder, builder.gep(first, [ir.Constant(I64, v)]))
            result = builder.insert_value(result, vector, v)
        return result

    return block(tile, array, types.intp), emit


def store(block, array, start, plane, pitch):
    """array[start + m plane + v pitch + lane] = block[m, v, lane]."""
    for m in range(block.shape[0]):
        for v in range(block.shape[1]):
            first = start + m * plane + v * pitch
            array[first : first + LANES] = block[m, v]


@compiled(store)
def store(typing_context, block, array, start, plane, pitch):
    def emit(context, builder, signature, args):
        row = args[2]
        for m in range(block.rows):
            place = row
            for v in range(block.vectors):
                vector = builder.extract_value(args[0], m * block.vectors + v)
                builder.store(vector, _address(context, builder, signature.args[1], args[1], place)).align = 4
                _check(context, builder, signature.args[1], args[1], place, LANES)
                place = builder.add(place, args[4])
            row = builder.add(row, args[3])
        return context.get_dummy_value()

    return types.void(block, array, types.intp, types.intp, types.intp), emit


# --- arithmetic ----------------------------------------------------------------------------------------------------


def fma(tile, block, weights, offsets, k, window, base):
    """block[m, v, :] + weights[k M + m] window[base + offsets[k] + v spread LANES : ...]: M weights meet R vectors."""
    rows, vectors, _ = block.shape
    places = np.arange(vectors)[:, None] * len(tile[0][0]) * LANES + np.arange(LANES)
    piece = window[base + offsets[k] + places]
    return block + weights[k * rows : (k + 1) * rows, None, None] * piece


@compiled(fma)
def fma(typing_context, tile, block, weights, offsets, k, window, base):
    spread = len(tile[0][0])

    def emit(context, builder, signature, args):
        _forbid_unrolling(builder)
        kinds = signature.args
        _check(context, builder, kinds[3], args[3], args[4], 1)
        start = builder.sext(_scalar(context, builder, kinds[3], args[3], args[4], 0), I64)
        entry = builder.mul(args[4], ir.Constant(I64, block.rows))
        _check(context, builder, kinds[2], args[2], entry, block.rows)
        size = ((block.vectors - 1) * spread + 1) * LANES
        _check(context, builder, kinds[5], args[5], builder.add(args[6], start), size)
        first = _address(context, builder, kinds[5], args[5], args[6], start)

        def piece(v):
            return _load(builder, builder.gep(first, [ir.Constant(I64, v * spread)]))

        def weight(m):
            return _broadcast(builder, _scalar(context, builder, kinds[2], args[2], entry, m))

        return _add_products(builder, block, args[1], weight, piece)

    return block(tile, block, weights, offsets, types.intp, window, types.intp), emit


def _add_products(builder, block, result, weight, piece):
    """result[m, v] += weight(m) piece(v). The fewer of the two are held in registers, the others pass through one."""
    # fmuladd, not fma: a CPU without the fused instruction then multiplies and adds instead of calling a library
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    hold_weights = block.rows <= block.vectors
    outer, inner = (block.vectors, block.rows) if hold_weights else (block.rows, block.vectors)
    held = [(weight if hold_weights else piece)(i) for i in range(inner)]
    for o in range(outer):
        passing = (piece if hold_weights else weight)(o)
        for i in range(inner):
            place = i * block.vectors + o if hold_weights else o * block.vectors + i
            total = builder.call(multiply_add, [held[i], passing, builder.extract_value(result, place)])
            result = builder.insert_value(result, total, place)
    return result


def _forbid_unrolling(builder):
    """An empty assembler statement: LLVM leaves a loop with one as it is, where unrolled it runs out of registers."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)


def fma_scalar(total, weights, offsets, k, x):
    """total + weights[k] x[offsets[k]]: one entry of the stream and one number, for a single sample."""
    return total + weights[k] * x[offsets[k]]


@compiled(fma_scalar)
def fma_scalar(typing_context, total, weights, offsets, k, x):
    def emit(context, builder, signature, args):
        kind = ir.FunctionType(F32, [F32] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.f32")
        _check(context, builder, signature.args[1], args[1], args[3], 1)
        _check(context, builder, signature.args[2], args[2], args[3], 1)
        weight = _scalar(context, builder, signature.args[1], args[1], args[3], 0)
        offset = builder.sext(_scalar(context, builder, signature.args[2], args[2], args[3], 0), I64)
        _check(context, builder, signature.args[4], args[4], offset, 1)
        number = _scalar(context, builder, signature.args[4], args[4], offset, 0)
        return builder.call(multiply_add, [weight, number, args[0]])

    return types.float32(types.float32, weights, offsets, types.intp, x), emit


def relu(block):
    """max(block, 0); NaN stays NaN."""
    return np.where(block < 0, np.float32(0), block)


@compiled(relu)
def relu(typing_context, block):
    def emit(context, builder, signature, args):
        result, zero = args[0], ir.Constant(VECTOR, None)
        for v in range(block.size):
            vector = builder.extract_value(args[0], v)
            negative = builder.fcmp_ordered("<", vector, zero)
            result = builder.insert_value(result, builder.select(negative, zero, vector), v)
        return result

    return block(block), emit
