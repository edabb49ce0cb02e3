"""A block of float32 lanes as a value: registers under Numba, a NumPy array in plain Python.

The fast kernels keep a tile of the output in registers while they walk over the weights. Such a tile is here a value of
M x R x A vectors of `LANES` lanes (M output channels, R rows of the image, A vectors beside each other in a row) with a
handful of operations, each a line of NumPy beside the LLVM instructions that it stands for. With `NUMBA_DISABLE_JIT=1`
the NumPy lines run: the same kernel source is then slow, and its own oracle.

A tile's size is carried by the *type* of a nested tuple, `tile(M, R, A)`, so that one kernel source serves every size,
each compiled once and cached by its signature. The width of a vector, the number of registers and with them the sizes
worth compiling follow the machine that is compiled for.
"""

import sys
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
# CPUs that do 512 bits in two halves: two instructions of 256 bits are as fast, and find their operand in half a line
IN_HALVES = config.CPU_NAME in (None, "host") and llvm.get_host_cpu_name() == "znver4"
LANES = 16 if "avx512f" in FEATURES and not IN_HALVES else 8 if "avx2" in FEATURES else 4
REGISTERS = 32 if {"avx512vl", "neon"} & FEATURES else 16
LINE = 16  # float32 numbers in a cache line
LITTLE_ENDIAN = sys.byteorder == "little"
VECTOR = ir.VectorType(F32, LANES)
LANE_MASK = ir.VectorType(ir.IntType(1), LANES)


def tile(outputs: int, rows: int, across: int = 1) -> tuple:
    """Nested tuple of zeros whose type says: M = `outputs` channels by R = `rows` rows by A = `across` vectors."""
    return (((0,) * across,) * rows,) * outputs


class BlockType(types.Type):
    """Numba type of a register block: M x R x A vectors; it has no Python form inside jitted code."""

    def __init__(self, outputs, rows, across):
        self.outputs, self.rows, self.across = outputs, rows, across
        super().__init__(f"Block({outputs}, {rows}, {across}, {LANES})")

    @property
    def pieces(self) -> int:
        """Vectors of one output channel."""
        return self.rows * self.across

    @property
    def size(self) -> int:
        return self.outputs * self.pieces


@register_model(BlockType)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager, block):
        super().__init__(manager, block, ir.ArrayType(VECTOR, block.size))


def _block_of(tile_type: types.BaseTuple) -> BlockType:
    return BlockType(len(tile_type), len(tile_type[0]), len(tile_type[0][0]))


def _shape(tile: tuple) -> tuple[int, int, int, int]:
    return len(tile), len(tile[0]), len(tile[0][0]), LANES


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
    return np.broadcast_to(values[start : start + len(tile), None, None, None], _shape(tile))


@compiled(splat)
def splat(typing_context, tile, values, start):
    block = _block_of(tile)

    def emit(context, builder, signature, args):
        _check(context, builder, signature.args[1], args[1], args[2], block.outputs)
        result = ir.Constant(ir.ArrayType(VECTOR, block.size), ir.Undefined)
        for m in range(block.outputs):
            vector = _broadcast(builder, _scalar(context, builder, signature.args[1], args[1], args[2], m))
            for v in range(block.pieces):
                result = builder.insert_value(result, vector, m * block.pieces + v)
        return result

    return block(tile, values, types.intp), emit


# --- load and store ------------------------------------------------------------------------------------------------


def load(tile, array, start):
    """Block from the M R A LANES numbers that begin at array[start]."""
    shape = _shape(tile)
    return array[start : start + np.prod(shape)].reshape(shape)


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


def store(block, array, start, plane, pitch, step):
    """array[start + m plane + r pitch + a step + lane] = block[m, r, a, lane]."""
    for m, r, a in np.ndindex(block.shape[:3]):
        first = start + m * plane + r * pitch + a * step
        array[first : first + LANES] = block[m, r, a]


@compiled(store)
def store(typing_context, block, array, start, plane, pitch, step):
    def emit(context, builder, signature, args):
        numbers, v = args[0], 0
        for m in range(block.outputs):
            row = builder.add(args[2], builder.mul(args[3], ir.Constant(I64, m)))
            for _ in range(block.rows):
                place = row
                for _ in range(block.across):
                    _check(context, builder, signature.args[1], args[1], place, LANES)
                    pointer = _address(context, builder, signature.args[1], args[1], place)
                    builder.store(builder.extract_value(numbers, v), pointer).align = 4
                    place, v = builder.add(place, args[5]), v + 1
                row = builder.add(row, args[4])
        return context.get_dummy_value()

    return types.void(block, array, types.intp, types.intp, types.intp, types.intp), emit


def keep(block, array, start):
    """Store a block so that `load` finds it again."""
    array[start : start + block.size] = block.reshape(-1)


@compiled(keep)
def keep(typing_context, block, array, start):
    def emit(context, builder, signature, args):
        _check(context, builder, signature.args[1], args[1], args[2], block.size * LANES)
        first = _address(context, builder, signature.args[1], args[1], args[2])
        for v in range(block.size):
            pointer = builder.gep(first, [ir.Constant(I64, v)])
            builder.store(builder.extract_value(args[0], v), pointer).align = 4
        return context.get_dummy_value()

    return types.void(block, array, types.intp), emit


# --- arithmetic ----------------------------------------------------------------------------------------------------


def fma(block, entries, k, window, base, step):
    """block[m, r, a, :] + weights[m] window[base + offset + r LINE + a step : ...]: M weights meet R x A pieces.

    Entry k of the stream holds the offset and the bits of the M weights: int32, (entries, 1 + M), flat.
    """
    outputs, rows, across, _ = block.shape
    entry = entries[k * (1 + outputs) : (k + 1) * (1 + outputs)]
    places = np.arange(rows)[:, None, None] * LINE + np.arange(across)[:, None] * step + np.arange(LANES)
    return block + entry[1:, None, None, None].view(np.float32) * window[base + entry[0] + places]


@compiled(fma)
def fma(typing_context, block, entries, k, window, base, step):
    def emit(context, builder, signature, args):
        _forbid_unrolling(builder)
        kinds = signature.args
        begin = builder.mul(args[2], ir.Constant(I64, 1 + block.outputs))
        _check(context, builder, kinds[1], args[1], begin, 1 + block.outputs)
        entry = builder.gep(context.make_array(kinds[1])(context, builder, args[1]).data, [begin])
        offset, weight = _read_entry(builder, block, entry)
        starts = [builder.add(args[4], offset)]
        for _ in range(block.across - 1):
            starts.append(builder.add(starts[-1], args[5]))
        for start in starts:
            _check(context, builder, kinds[3], args[3], start, (block.rows - 1) * LINE + LANES)
        columns = [_address(context, builder, kinds[3], args[3], start) for start in starts]

        def piece(v):
            row = ir.Constant(I64, v // block.across * (LINE // LANES))
            return _load(builder, builder.gep(columns[v % block.across], [row]))

        return _add_products(builder, block, args[0], weight, piece)

    return block(block, entries, types.intp, window, types.intp, types.intp), emit


def _read_entry(builder, block, entry):
    """The offset, and the function weight(m) -> vector, of an entry. One weight comes with its offset in one load."""
    if block.outputs == 1:
        both = builder.load(builder.bitcast(entry, I64.as_pointer()))
        both.align = 4
        low, high = (both, builder.lshr(both, ir.Constant(I64, 32)))
        bits = builder.trunc(high if LITTLE_ENDIAN else low, I32)
        offset = builder.and_(low, ir.Constant(I64, 0xFFFFFFFF)) if LITTLE_ENDIAN else high
        weights = [builder.bitcast(bits, F32)]
    else:
        offset = builder.zext(builder.load(entry), I64)
        floats = builder.bitcast(entry, F32.as_pointer())
        weights = [builder.load(builder.gep(floats, [ir.Constant(I64, 1 + m)])) for m in range(block.outputs)]
    return offset, lambda m: _broadcast(builder, weights[m])


def _add_products(builder, block, result, weight, piece):
    """result[m, v] += weight(m) piece(v). The fewer of the two are held in registers, the others pass through one."""
    # fmuladd, not fma: a CPU without the fused instruction then multiplies and adds instead of calling a library
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    hold_weights = block.outputs <= block.pieces
    outer, inner = (block.pieces, block.outputs) if hold_weights else (block.outputs, block.pieces)
    held = [(weight if hold_weights else piece)(i) for i in range(inner)]
    for o in range(outer):
        passing = (piece if hold_weights else weight)(o)
        for i in range(inner):
            place = i * block.pieces + o if hold_weights else o * block.pieces + i
            total = builder.call(multiply_add, [held[i], passing, builder.extract_value(result, place)])
            result = builder.insert_value(result, total, place)
    return result


def _forbid_unrolling(builder):
    """An empty assembler statement: LLVM leaves a loop with one as it is, where unrolled it runs out of registers."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)


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


# --- a line of sums for one sample: the lanes are entries of the stream --------------------------------------------

WIDE = ir.VectorType(F32, LINE)


class LineType(types.Type):
    """Numba type of LINE sums."""

    def __init__(self):
        super().__init__("Line")


LINE_OF_SUMS = LineType()


@register_model(LineType)
class _LineModel(models.PrimitiveModel):
    def __init__(self, manager, line):
        super().__init__(manager, line, WIDE)


def zero_line():
    """LINE zeros."""
    return np.zeros(LINE, np.float32)


@compiled(zero_line)
def zero_line(typing_context):
    return LINE_OF_SUMS(), lambda context, builder, signature, args: ir.Constant(WIDE, None)


def fma_line(line, values, offsets, k, count, x, base):
    """line[l] + values[k + l] x[base + offsets[k + l]] for l < count, line[l] for the others, which may be read too."""
    line, entries = line.copy(), slice(k, k + min(count, LINE))
    line[: min(count, LINE)] += values[entries] * x[base + offsets[entries].astype(np.intp)]
    return line


@compiled(fma_line)
def fma_line(typing_context, line, values, offsets, k, count, x, base):
    def emit(context, builder, signature, args):
        kinds, start = signature.args, args[3]
        _check(context, builder, kinds[1], args[1], start, LINE)
        _check(context, builder, kinds[2], args[2], start, LINE)
        values, indices, numbers = (context.make_array(kinds[i])(context, builder, args[i]).data for i in (1, 2, 5))
        weights = builder.load(builder.bitcast(builder.gep(values, [start]), WIDE.as_pointer()))
        weights.align = 4
        numbers, pieces = builder.gep(numbers, [args[6]]), ir.Constant(WIDE, ir.Undefined)
        for lane, index in enumerate(_four_at_a_time(builder, builder.gep(indices, [start]))):
            _check(context, builder, kinds[5], args[5], builder.add(args[6], index), 1)
            pieces = builder.insert_element(pieces, builder.load(builder.gep(numbers, [index])), ir.Constant(I32, lane))
        kind = ir.FunctionType(WIDE, [WIDE] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LINE}f32")
        total = builder.call(multiply_add, [weights, pieces, args[0]])
        lanes = ir.Constant(ir.VectorType(I32, LINE), list(range(LINE)))
        counts = builder.insert_element(
            ir.Constant(lanes.type, ir.Undefined), builder.trunc(args[4], I32), ir.Constant(I32, 0)
        )
        counts = builder.shuffle_vector(counts, counts, ir.Constant(lanes.type, [0] * LINE))
        return builder.select(builder.icmp_signed("<", lanes, counts), total, args[0])

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


def sum_line(line):
    """The sum of a line: halves are added to each other."""
    while len(line) > 1:
        line = line[: len(line) // 2] + line[len(line) // 2 :]
    return line[0]


@compiled(sum_line)
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
