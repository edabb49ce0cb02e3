"""A block of sums as a value: registers under Numba, a NumPy array in plain Python.

The kernels keep a tile of the output in registers while they walk over the weights. There are two kinds of tiles:

- a wide one has M output channels by R rows of the image by A vectors beside each other in a row: a number, one of M
  weights, meets R A vectors of the image. The lanes are positions.
- a tall one has LINE output channels for A positions beside each other: vectors, LINE weights, meet A numbers of the
  image. The lanes are outputs; it is for layers in which so many outputs share what they keep, dense ones above all.

A tile's kind and size are carried by the *type* of a nested tuple, so that one kernel source serves every tile, each
compiled once and cached by its signature.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, overload, register_model

from .vectors import (
    F32,
    I32,
    I64,
    LANES,
    LINE,
    LINE_VECTOR,
    LITTLE_ENDIAN,
    REGISTERS,
    VECTOR,
    WIDEST,
    address,
    broadcast,
    check,
    compiled,
    data_of,
    forbid_unrolling,
    further,
    in_order,
    load_at,
    multiply_add,
    shuffle,
    store_at,
    transposed,
)


def wide_tile(outputs: int, rows: int, across: int = 1) -> tuple:
    """Nested tuple of zeros whose type says: M = `outputs` channels by R = `rows` rows by A = `across` vectors."""
    return (((0,) * across,) * rows,) * outputs


def tall_tile(positions: int) -> tuple:
    """Nested tuple whose type says: LINE output channels for A = `positions` positions."""
    return (((0.0,) * positions,),)


def registers_of(outputs: int, rows: int, across: int, tall: bool) -> int:
    """Registers that the sums of a tile take."""
    return outputs * rows * across * (LINE // WIDEST if tall else 1)


def fits_registers(outputs: int, rows: int, across: int, tall: bool) -> bool:
    """Whether a tile, what is held beside it and an operand in passing fit the registers."""
    held = LINE // WIDEST if tall else min(outputs, rows * across)
    return registers_of(outputs, rows, across, tall) + held < REGISTERS


def has_room(outputs: int, rows: int, across: int, tall: bool) -> bool:
    """Whether the registers hold four sums for each of the tile's."""
    return 4 * registers_of(outputs, rows, across, tall) <= REGISTERS - 4


def is_small(tile):
    """Whether a tile has room for four sums: decided when a kernel is compiled for it."""
    return has_room(*_shape(tile)[:3], _is_tall(tile))


@overload(is_small, inline="always")
def _(tile):
    block = _block_of(tile)
    answer = has_room(block.outputs, block.rows, block.across, isinstance(block, Tall))
    return lambda tile: answer


def _is_tall(tile):
    return isinstance(tile[0][0][0], float)


def _shape(tile):
    return len(tile), len(tile[0]), len(tile[0][0]), LINE if _is_tall(tile) else LANES


class BlockType(types.Type):
    """Numba type of a block; it has no Python form inside jitted code."""

    def __init__(self, outputs, rows, across):
        self.outputs, self.rows, self.across = outputs, rows, across
        super().__init__(f"{type(self).__name__}({outputs}, {rows}, {across}, {LANES})")

    @property
    def size(self) -> int:
        """Number of vectors."""
        return self.outputs * self.rows * self.across


class Wide(BlockType):
    """M x R x A vectors of LANES positions."""

    vector = VECTOR

    @property
    def weights(self) -> int:
        """Weights in one entry of the stream."""
        return self.outputs


class Tall(BlockType):
    """A vectors of LINE outputs."""

    vector = LINE_VECTOR
    weights = LINE


@register_model(Wide)
@register_model(Tall)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager, block):
        super().__init__(manager, block, ir.ArrayType(block.vector, block.size))


def _block_of(tile_type):
    row = tile_type[0][0]
    kind = Tall if isinstance(row[0], types.Float) else Wide
    return kind(len(tile_type), len(tile_type[0]), len(row))


def _fill(builder, block, vectors):
    """The block of these vectors."""
    result = ir.Constant(ir.ArrayType(block.vector, block.size), ir.Undefined)
    for v, vector in enumerate(vectors):
        result = builder.insert_value(result, vector, v)
    return result


def vectors_of(builder, block, value):
    """The vectors of a block, in code that is being compiled."""
    return [builder.extract_value(value, v) for v in range(block.size)]


def _weight(builder, block, numbers, m):
    """Weight m, of those that begin at a pointer, in all lanes; for a tall block the vector of all weights."""
    if isinstance(block, Tall):
        return load_at(builder, builder.bitcast(numbers, block.vector.as_pointer()))
    return broadcast(builder, load_at(builder, builder.gep(numbers, [ir.Constant(I64, m)])))


# --- splat: the number of each output in all of its lanes ----------------------------------------------------------


def splat(tile, values, start):
    """Block with values[start + m] wherever output m is."""
    outputs, rows, across, lanes = _shape(tile)
    if _is_tall(tile):
        return np.broadcast_to(values[start : start + LINE], (outputs, rows, across, lanes))
    return np.broadcast_to(values[start : start + outputs, None, None, None], (outputs, rows, across, lanes))


@compiled(splat)
def splat(typing_context, tile, values, start):
    block = _block_of(tile)

    def emit(context, builder, signature, args):
        check(context, builder, signature.args[1], args[1], args[2], block.weights)
        numbers = data_of(context, builder, signature.args[1], args[1], args[2])
        each = [_weight(builder, block, numbers, m) for m in range(block.outputs)]
        return _fill(builder, block, [vector for vector in each for _ in range(block.rows * block.across)])

    return block(tile, values, types.intp), emit


def zero(tile):
    """Block of zeros."""
    return np.zeros(_shape(tile), np.float32)


@compiled(zero)
def zero(typing_context, tile):
    block = _block_of(tile)

    def emit(context, builder, signature, args):
        return _fill(builder, block, [ir.Constant(block.vector, None)] * block.size)

    return block(tile), emit


# --- load, keep and store ------------------------------------------------------------------------------------------


def load(tile, array, start):
    """Block from the numbers that begin at array[start], where `keep` has left them."""
    shape = _shape(tile)
    return array[start : start + np.prod(shape)].reshape(shape)


@compiled(load)
def load(typing_context, tile, array, start):
    block = _block_of(tile)

    def emit(context, builder, signature, args):
        check(context, builder, signature.args[1], args[1], args[2], block.size * block.vector.count)
        first = data_of(context, builder, signature.args[1], args[1], args[2])
        first = builder.bitcast(first, block.vector.as_pointer())
        places = [builder.gep(first, [ir.Constant(I64, v)]) for v in range(block.size)]
        return _fill(builder, block, [load_at(builder, place) for place in places])

    return block(tile, array, types.intp), emit


def keep(tile, block, array, start):
    """Write a block to where `load` finds it again."""
    array[start : start + block.size] = block.reshape(-1)


@compiled(keep)
def keep(typing_context, tile, block, array, start):
    def emit(context, builder, signature, args):
        check(context, builder, signature.args[2], args[2], args[3], block.size * block.vector.count)
        first = data_of(context, builder, signature.args[2], args[2], args[3])
        first = builder.bitcast(first, block.vector.as_pointer())
        for v, vector in enumerate(vectors_of(builder, block, args[1])):
            store_at(builder, vector, builder.gep(first, [ir.Constant(I64, v)]))
        return context.get_dummy_value()

    return types.void(tile, block, array, types.intp), emit


def store(tile, block, array, start, plane, pitch, step):
    """array[start + m plane + r pitch + a step + lane] = block[m, r, a, lane]; tall: array[start + lane plane + a]."""
    for m, r, a, lane in np.ndindex(block.shape):
        place = lane * plane + a if _is_tall(tile) else m * plane + r * pitch + a * step + lane
        array[start + place] = block[m, r, a, lane]


@compiled(store)
def store(typing_context, tile, block, array, start, plane, pitch, step):
    store_vectors = _store_tall if isinstance(block, Tall) else _store_wide

    def emit(context, builder, signature, args):
        def pointer_to(place, count):
            check(context, builder, signature.args[2], args[2], place, count)
            return data_of(context, builder, signature.args[2], args[2], place)

        store_vectors(builder, block, vectors_of(builder, block, args[1]), pointer_to, *args[3:])
        return context.get_dummy_value()

    index = types.intp
    return types.void(tile, block, array, index, index, index, index), emit


def _store_wide(builder, block, vectors, pointer_to, start, plane, pitch, step):
    remaining = iter(vectors)
    for m in range(block.outputs):
        row = builder.add(start, builder.mul(plane, ir.Constant(I64, m)))
        for _ in range(block.rows):
            place = row
            for _ in range(block.across):
                store_at(builder, next(remaining), builder.bitcast(pointer_to(place, LANES), VECTOR.as_pointer()))
                place = builder.add(place, step)
            row = builder.add(row, pitch)


def _store_tall(builder, block, vectors, pointer_to, start, plane, _pitch, _step):
    """Squares of outputs by positions are transposed; the last square overlaps the one before it."""
    count = min(WIDEST, block.across)
    nothing = [ir.Constant(ir.VectorType(F32, WIDEST), ir.Undefined)] * (WIDEST - count)
    for part in range(0, LINE, WIDEST):
        outputs = [shuffle(builder, v, v, list(range(part, part + WIDEST))) for v in vectors]
        for first in range(0, block.across, WIDEST):
            first = min(first, block.across - count)
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


# --- arithmetic ----------------------------------------------------------------------------------------------------


def fma(tile, block, entries, k, window, base, step):
    """block[m, r, a, :] + weight[m] window[base + offset + r LINE + a step : ...]; tall: + weights window[... + a].

    Entry k of the stream holds the offset and the bits of the weights: int32, (entries, 1 + weights), flat.
    """
    outputs, rows, across, lanes = block.shape
    count = 1 + (lanes if _is_tall(tile) else outputs)
    entry = entries[k * count : (k + 1) * count]
    weights, start = entry[1:].view(np.float32), base + entry[0]
    if _is_tall(tile):
        return block + weights * window[start : start + across, None]
    places = np.arange(rows)[:, None, None] * LINE + np.arange(across)[:, None] * step + np.arange(lanes)
    return block + weights[:, None, None, None] * window[start + places]


@compiled(fma)
def fma(typing_context, tile, block, entries, k, window, base, step):
    add_products = _add_tall if isinstance(block, Tall) else _add_wide

    def emit(context, builder, signature, args):
        forbid_unrolling(builder)
        begin = builder.mul(args[3], ir.Constant(I64, 1 + block.weights))
        check(context, builder, signature.args[2], args[2], begin, 1 + block.weights)
        entry = data_of(context, builder, signature.args[2], args[2], begin)
        offset, weights = _read_entry(builder, block, entry)
        starts = [builder.add(args[5], offset)]
        for _ in range(0 if isinstance(block, Tall) else block.across - 1):
            starts.append(builder.add(starts[-1], args[6]))
        for start in starts:
            size = block.across if isinstance(block, Tall) else (block.rows - 1) * LINE + LANES
            check(context, builder, signature.args[4], args[4], start, size)
        columns = [address(context, builder, signature.args[4], args[4], start) for start in starts]
        sums = add_products(builder, block, vectors_of(builder, block, args[1]), weights, columns)
        return _fill(builder, block, sums)

    index = types.intp
    return block(tile, block, entries, index, window, index, index), emit


def _read_entry(builder, block, entry):
    """The offset and the functions that give the vectors of weights. One weight comes with its offset in one load."""
    if block.weights == 1:
        both = load_at(builder, builder.bitcast(entry, I64.as_pointer()))
        low, high = both, builder.lshr(both, ir.Constant(I64, 32))
        bits = builder.trunc(high if LITTLE_ENDIAN else low, I32)
        offset = builder.and_(low, ir.Constant(I64, 0xFFFFFFFF)) if LITTLE_ENDIAN else high
        vector = broadcast(builder, builder.bitcast(bits, F32))
        return offset, [lambda: vector]
    numbers = builder.gep(builder.bitcast(entry, F32.as_pointer()), [ir.Constant(I64, 1)])
    weights = [lambda m=m: _weight(builder, block, numbers, m) for m in range(block.outputs)]
    return builder.zext(builder.load(entry), I64), weights


def _add_wide(builder, block, sums, weights, columns):
    """sums[m, v] += weight m piece v. The fewer of the two are held in registers, the others pass through one."""

    def piece(v):
        row = ir.Constant(I64, v // block.across * (LINE // LANES))
        return load_at(builder, builder.gep(columns[v % block.across], [row]))

    count = block.rows * block.across
    pieces = [lambda v=v: piece(v) for v in range(count)]
    hold_weights = block.outputs <= count
    held = [get() for get in (weights if hold_weights else pieces)]
    for o, get in enumerate(pieces if hold_weights else weights):
        passing = get()
        for i, vector in enumerate(held):
            place = i * count + o if hold_weights else o * count + i
            sums[place] = multiply_add(builder, vector, passing, sums[place])
    return sums


def _add_tall(builder, block, sums, weights, columns):
    """sums[a] += weights number a."""
    numbers, held = builder.bitcast(columns[0], F32.as_pointer()), weights[0]()
    for a in range(block.across):
        numbers = in_order(builder, numbers, "r")
        number = broadcast(builder, load_at(builder, builder.gep(numbers, [ir.Constant(I64, a)])), LINE)
        sums[a] = multiply_add(builder, held, number, sums[a])
        if WIDEST == LINE:
            sums[a] = in_order(builder, sums[a], "v")  # a vector register, in AVX-512's words
    return sums


def add(block, other):
    """The sum of two blocks."""
    return block + other


@compiled(add)
def add(typing_context, block, other):
    def emit(context, builder, signature, args):
        pairs = zip(*(vectors_of(builder, block, value) for value in args), strict=True)
        return _fill(builder, block, [builder.fadd(*pair) for pair in pairs])

    return block(block, block), emit


def relu(block):
    """max(block, 0); NaN stays NaN."""
    return np.where(block < 0, np.float32(0), block)


@compiled(relu)
def relu(typing_context, block):
    def emit(context, builder, signature, args):
        zero, results = ir.Constant(block.vector, None), []
        for vector in vectors_of(builder, block, args[0]):
            negative = builder.fcmp_ordered("<", vector, zero)
            results.append(builder.select(negative, zero, vector))
        return _fill(builder, block, results)

    return block(block), emit
