"""The machine's vectors of float32 numbers, and what all operations on them are made of.

The width of a vector and the number of registers follow the machine that is compiled for.
"""

import platform
import sys
from collections.abc import Callable

from llvmlite import ir
from numba import config
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _features() -> set[str]:
    """Names of the instruction sets that Numba compiles for: its own rules, NUMBA_CPU_FEATURES included."""
    named = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return {name[1:] for name in named.split(",") if name.startswith("+")}


FEATURES = _features()
X86 = platform.machine() in ("x86_64", "AMD64")
LINE = 16  # float32 numbers in a cache line
WIDEST = 16 if "avx512f" in FEATURES else 8 if "avx2" in FEATURES else 4  # numbers in a register
REGISTERS = 32 if "avx512vl" in FEATURES or not X86 else 16
# Numbers in a vector of a tile: half a line finds its operand at any shift within a line, a whole one does more at once
WIDTHS = (8, 16) if WIDEST == 16 else (WIDEST,)
LANES = WIDTHS[0]  # of the narrowest: in such pieces numbers are transposed and edges written
VECTOR = ir.VectorType(F32, LANES)
LINE_VECTOR = ir.VectorType(F32, LINE)  # in as many registers as it takes
LITTLE_ENDIAN = sys.byteorder == "little"


def compiled(python: Callable) -> Callable:
    """Decorate the typing function of an intrinsic that does in compiled code what `python` does.

    NUMBA_DISABLE_JIT=1 keeps `python`.
    """
    return lambda typed: python if config.DISABLE_JIT else intrinsic(typed)


def compiled_as(instructions: Callable) -> Callable:
    """Decorate a function of NumPy in whose place compiled code has the `instructions`, an intrinsic."""
    return lambda python: python if config.DISABLE_JIT else instructions


def further(builder, index, distance):
    """Index + distance, a number known when compiling."""
    return builder.add(index, ir.Constant(I64, distance))


def data_of(context, builder, array_type, array, *indices):
    """Pointer to array[sum of indices]."""
    pointer = context.make_array(array_type)(context, builder, array).data
    for index in indices:
        pointer = builder.gep(pointer, [index])
    return pointer


def address(context, builder, array_type, array, *indices, vector=VECTOR):
    """The same as a pointer to a vector."""
    return builder.bitcast(data_of(context, builder, array_type, array, *indices), vector.as_pointer())


def check(context, builder, array_type, array, start, size):
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


def load_at(builder, pointer):
    """What `pointer` points at, which may lie anywhere."""
    value = builder.load(pointer)
    value.align = 4
    return value


def store_at(builder, vector, pointer):
    """Write a vector anywhere."""
    builder.store(vector, pointer).align = 4


def masked_load(builder, pointer, mask):
    """The lanes of the mask, which alone are read, and 0 in the others."""
    vector = pointer.type.pointee
    kind = ir.FunctionType(vector, [pointer.type, I32, mask.type, vector])
    masked = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{vector.count}f32.p0")
    return builder.call(masked, [pointer, ir.Constant(I32, 4), mask, ir.Constant(vector, None)])


def masked_store(builder, vector, pointer, mask):
    """Write the lanes of the mask."""
    kind = ir.FunctionType(ir.VoidType(), [vector.type, pointer.type, I32, mask.type])
    masked = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{vector.type.count}f32.p0")
    builder.call(masked, [vector, pointer, ir.Constant(I32, 4), mask])


def range_of(count, first=0):
    """Vector of the int32 numbers first ... first + count - 1."""
    return ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))


def lanes_between(builder, first_lane, first, last, count=LANES):
    """Mask of `count` lanes from `first_lane` on: those that are at least `first` and below `last`."""
    lanes = range_of(count, first_lane)
    low, high = (broadcast(builder, builder.trunc(bound, I32), count) for bound in (first, last))
    return builder.and_(builder.icmp_signed(">=", lanes, low), builder.icmp_signed("<", lanes, high))


def broadcast(builder, scalar, count=LANES):
    """Vector with a number in all of its lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, count), [0] * count))


def multiply_add(builder, a, b, c):
    """a b + c. A CPU without the fused instruction multiplies and adds: llvm.fma would call a library then."""
    name = f"v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "f32"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.{name}"), [a, b, c])


def shuffle(builder, low, high, order):
    """Vector of the lanes `order` of two vectors, those of the second counted on."""
    return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, len(order)), order))


def transposed(builder, vectors):
    """A square of numbers: swap off-diagonal blocks of half, a quarter, ... of the lanes, in rounds of shuffles."""
    count = len(vectors)
    step = count // 2
    while step:
        low = [lane if not lane & step else count + lane - step for lane in range(count)]
        high = [lane + step if not lane & step else count + lane for lane in range(count)]
        swapped = list(vectors)
        for i in range(count):
            if not i & step:
                pair = vectors[i], vectors[i + step]
                swapped[i] = shuffle(builder, *pair, low)
                swapped[i + step] = shuffle(builder, *pair, high)
        vectors, step = swapped, step // 2
    return vectors


def forbid_unrolling(builder):
    """An empty assembler statement: LLVM leaves a loop with one as it is, where unrolled it runs out of registers."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)


def in_order(builder, value, register):
    """The value, through an empty assembler statement. Such ones stay in their order, and with them what is in between.

    Otherwise the compiler might load all operands at once, and run out of registers.
    """
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", f"={register},0", [value], True)
