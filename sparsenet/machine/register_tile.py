"""A tile of sums in vector registers: what `kernels/tile.py` says in NumPy, as LLVM instructions.

A tile's size is carried by the *type* of a `Tile`, so that one kernel source serves every tile, each compiled once and
cached by its signature.
"""

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)

from .tile_shape import Tile
from .vectors import (
    F32,
    I32,
    I64,
    LINE,
    LITTLE_ENDIAN,
    WIDEST,
    address,
    broadcast,
    check,
    data_of,
    forbid_unrolling,
    in_order,
    load_at,
    multiply_add,
    store_at,
)


class TileType(types.Type):
    """Numba type of a `Tile`: the shape is the type, there is no value."""

    def __init__(self, tile: Tile):
        self.tile = tile
        super().__init__(f"{tile}")


class SumsType(types.Type):
    """Numba type of the sums of a tile, in registers; they have no Python form inside jitted code."""

    def __init__(self, tile: Tile):
        self.tile = tile
        super().__init__(f"sums of {tile}")

    @property
    def vector(self) -> ir.VectorType:
        """LLVM type of one vector."""
        return ir.VectorType(F32, self.tile.lanes)


register_model(TileType)(models.OpaqueModel)


@register_model(SumsType)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, manager, sums):
        super().__init__(manager, sums, ir.ArrayType(sums.vector, sums.tile.size))


@typeof_impl.register(Tile)
def _(tile, context):
    return TileType(tile)


@unbox(TileType)
def _(tile_type, value, context):
    return NativeValue(context.context.get_dummy_value())


@lower_constant(TileType)
def _(context, builder, tile_type, tile):
    return context.get_dummy_value()


@infer_getattr
class _TileAttributes(AttributeTemplate):
    """`tile.rows` and so on are constants of compiled code."""

    key = TileType

    def generic_resolve(self, tile_type, name):
        return types.boolean if isinstance(getattr(tile_type.tile, name), bool) else types.intp


@lower_getattr_generic(TileType)
def _(context, builder, tile_type, value, name):
    number = getattr(tile_type.tile, name)
    return context.get_constant(types.boolean if isinstance(number, bool) else types.intp, number)


def fill(builder, sums, vectors):
    """The tile of these vectors."""
    result = ir.Constant(ir.ArrayType(sums.vector, sums.tile.size), ir.Undefined)
    for v, vector in enumerate(vectors):
        result = builder.insert_value(result, vector, v)
    return result


def vectors_of(builder, sums, value):
    """The vectors of a tile, in code that is being compiled."""
    return [builder.extract_value(value, v) for v in range(sums.tile.size)]


def _weight(builder, sums, numbers, m):
    """Weight m, of those that begin at a pointer, in all lanes; where lanes are channels the vector of all weights."""
    if sums.tile.channel_lanes:
        return load_at(builder, builder.bitcast(numbers, sums.vector.as_pointer()))
    return broadcast(builder, load_at(builder, builder.gep(numbers, [ir.Constant(I64, m)])), sums.tile.lanes)


# --- splat: the number of each output in all of its lanes ----------------------------------------------------------


@intrinsic
def splat(typing_context, tile, values, start):
    sums = SumsType(tile.tile)

    def emit(context, builder, signature, args):
        check(context, builder, signature.args[1], args[1], args[2], tile.tile.block)
        numbers = data_of(context, builder, signature.args[1], args[1], args[2])
        each = [_weight(builder, sums, numbers, m) for m in range(tile.tile.outputs)]
        return fill(builder, sums, [vector for vector in each for _ in range(tile.tile.size // tile.tile.outputs)])

    return sums(tile, values, types.intp), emit


@intrinsic
def zero(typing_context, tile):
    sums = SumsType(tile.tile)

    def emit(context, builder, signature, args):
        return fill(builder, sums, [ir.Constant(sums.vector, None)] * tile.tile.size)

    return sums(tile), emit


# --- load and keep ---------------------------------------------------------------------------------------------------


@intrinsic
def load(typing_context, tile, array, start):
    sums = SumsType(tile.tile)

    def emit(context, builder, signature, args):
        check(context, builder, signature.args[1], args[1], args[2], tile.tile.size * tile.tile.lanes)
        first = data_of(context, builder, signature.args[1], args[1], args[2])
        first = builder.bitcast(first, sums.vector.as_pointer())
        places = [builder.gep(first, [ir.Constant(I64, v)]) for v in range(tile.tile.size)]
        return fill(builder, sums, [load_at(builder, place) for place in places])

    return sums(tile, array, types.intp), emit


@intrinsic
def keep(typing_context, tile, sums, array, start):
    def emit(context, builder, signature, args):
        check(context, builder, signature.args[2], args[2], args[3], tile.tile.size * tile.tile.lanes)
        first = data_of(context, builder, signature.args[2], args[2], args[3])
        first = builder.bitcast(first, sums.vector.as_pointer())
        for v, vector in enumerate(vectors_of(builder, sums, args[1])):
            store_at(builder, vector, builder.gep(first, [ir.Constant(I64, v)]))
        return context.get_dummy_value()

    return types.void(tile, sums, array, types.intp), emit


# --- arithmetic ----------------------------------------------------------------------------------------------------


@intrinsic
def fma(typing_context, tile, sums, entries, k, packed, base, step):
    shape = tile.tile
    add_products = _add_channels if shape.channel_lanes else _add_positions

    def emit(context, builder, signature, args):
        forbid_unrolling(builder)
        begin = builder.mul(args[3], ir.Constant(I64, 1 + shape.block))
        check(context, builder, signature.args[2], args[2], begin, 1 + shape.block)
        entry = data_of(context, builder, signature.args[2], args[2], begin)
        offset, weights = _read_entry(builder, sums, entry)
        starts = [builder.add(args[5], offset)]
        for _ in range(0 if shape.channel_lanes else shape.across - 1):
            starts.append(builder.add(starts[-1], args[6]))
        for start in starts:
            size = shape.across if shape.channel_lanes else (shape.rows - 1) * LINE + shape.lanes
            check(context, builder, signature.args[4], args[4], start, size)
        columns = [address(context, builder, signature.args[4], args[4], s, vector=sums.vector) for s in starts]
        return fill(builder, sums, add_products(builder, shape, vectors_of(builder, sums, args[1]), weights, columns))

    index = types.intp
    return sums(tile, sums, entries, index, packed, index, index), emit


def _read_entry(builder, sums, entry):
    """The offset and the functions that give the vectors of weights.

    One weight comes with its offset in one load; in a small tile, which loads little else, it is faster in two.
    """
    if sums.tile.block == 1 and not sums.tile.has_room:
        both = load_at(builder, builder.bitcast(entry, I64.as_pointer()))
        low, high = both, builder.lshr(both, ir.Constant(I64, 32))
        bits = builder.trunc(high if LITTLE_ENDIAN else low, I32)
        offset = builder.and_(low, ir.Constant(I64, 0xFFFFFFFF)) if LITTLE_ENDIAN else high
        vector = broadcast(builder, builder.bitcast(bits, F32), sums.tile.lanes)
        return offset, [lambda: vector]
    numbers = builder.gep(builder.bitcast(entry, F32.as_pointer()), [ir.Constant(I64, 1)])
    weights = [lambda m=m: _weight(builder, sums, numbers, m) for m in range(sums.tile.outputs)]
    return builder.zext(builder.load(entry), I64), weights


def _add_positions(builder, tile, totals, weights, columns):
    """totals[m, v] += weight m piece v. The fewer of the two are held in registers, the others pass through one."""

    def piece(v):
        row = ir.Constant(I64, v // tile.across * (LINE // tile.lanes))
        return load_at(builder, builder.gep(columns[v % tile.across], [row]))

    count = tile.rows * tile.across
    pieces = [lambda v=v: piece(v) for v in range(count)]
    hold_weights = tile.outputs <= count
    held = [get() for get in (weights if hold_weights else pieces)]
    for o, get in enumerate(pieces if hold_weights else weights):
        passing = get()
        for i, vector in enumerate(held):
            place = i * count + o if hold_weights else o * count + i
            totals[place] = multiply_add(builder, vector, passing, totals[place])
    return totals


def _add_channels(builder, tile, totals, weights, columns):
    """totals[a] += weights number a."""
    numbers, held = builder.bitcast(columns[0], F32.as_pointer()), weights[0]()
    for a in range(tile.across):
        numbers = in_order(builder, numbers, "r")
        number = broadcast(builder, load_at(builder, builder.gep(numbers, [ir.Constant(I64, a)])), LINE)
        totals[a] = multiply_add(builder, held, number, totals[a])
        if WIDEST == LINE:
            totals[a] = in_order(builder, totals[a], "v")  # a vector register, in AVX-512's words
    return totals


@intrinsic
def add(typing_context, sums, others):
    def emit(context, builder, signature, args):
        pairs = zip(*(vectors_of(builder, sums, value) for value in args), strict=True)
        return fill(builder, sums, [builder.fadd(*pair) for pair in pairs])

    return sums(sums, sums), emit


@intrinsic
def relu(typing_context, sums):
    def emit(context, builder, signature, args):
        zero, results = ir.Constant(sums.vector, None), []
        for vector in vectors_of(builder, sums, args[0]):
            negative = builder.fcmp_ordered("<", vector, zero)
            results.append(builder.select(negative, zero, vector))
        return fill(builder, sums, results)

    return sums(sums), emit


@intrinsic
def scale_add(typing_context, sums, factor, addend):
    def emit(context, builder, signature, args):
        a, b = (broadcast(builder, number, sums.tile.lanes) for number in args[1:])
        vectors = vectors_of(builder, sums, args[0])
        return fill(builder, sums, [multiply_add(builder, vector, a, b) for vector in vectors])

    return sums(sums, factor, addend), emit
