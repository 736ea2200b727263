"""The vector of 16 float32 lanes as LLVM's <16 x float>: a register of AVX-512, two of AVX2, four of NEON or SSE.

So nothing depends on LLVM's loop vectoriser. The operations are those of csrc/simd/f32_scalar.h: one IEEE operation a
lane, sums by one tree. Each is an intrinsic of a few lines of LLVM; `vector_python` does the same with NumPy.
"""

import functools
import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16

_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
_X86 = _TRIPLE.startswith(("x86", "i686"))

# What multiply keeps in registers: TILE_ROWS rows by TILE_PANELS vectors of sums. AVX-512: 16 sums, 2 vectors of
# weights and one of x in 32 registers (24 sums are no faster). AVX2, with registers half as wide: 12, 2 and 1 of 16.
# NEON: 24, 4 and 1 of 32.
TILE_ROWS, TILE_PANELS = (8, 2) if "+avx512f" in _FEATURES.split(",") else (6, 1)
WIDTH = TILE_PANELS * LANES

# x86 before AVX2 has no fused multiply-add, and libm's for every lane is slow: there, round twice.
_FUSED = not _X86 or "+fma" in _FEATURES.split(",")

# Whether there is an instruction that converts from float16.
_HALF = _X86 and "+f16c" in _FEATURES.split(",")

_F32, _I1, _I32 = ir.FloatType(), ir.IntType(1), ir.IntType(32)
_FLOATS, _INTS, _BOOLS, _HALVES, _BYTES = (
    ir.VectorType(lane, LANES) for lane in (_F32, _I32, _I1, ir.IntType(16), ir.IntType(8))
)


class _Register(types.Type):
    """A Numba type that is one LLVM vector."""


vector, mask = _Register("float32x16"), _Register("boolx16")
_tile = types.UniTuple(types.UniTuple(vector, TILE_PANELS), TILE_ROWS)
_row = types.UniTuple(types.UniTuple(vector, TILE_PANELS), 1)


@register_model(_Register)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _FLOATS if numba_type == vector else _BOOLS)


# Pieces of LLVM.


def _index(value):
    return ir.Constant(ir.IntType(64), value)


def _every_lane(value, lanes=_FLOATS):
    return ir.Constant(lanes, [value] * LANES)


def _splat(builder, scalar, lanes=_FLOATS):
    undefined = ir.Constant(lanes, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, _every_lane(0, _INTS))


def _call(builder, name, *args):
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * len(args)), f"llvm.{name}.v{LANES}f32"
    )
    return builder.call(function, args)


def _fma(builder, a, b, c):
    return _call(builder, "fma", a, b, c) if _FUSED else builder.fadd(builder.fmul(a, b), c)


def _memory(pointer):
    """The LLVM type of 16 elements at a pointer."""
    return {_F32: _FLOATS, ir.IntType(16): _HALVES, ir.IntType(8): _BYTES}[pointer.type.pointee]


def _place(builder, pointer, at):
    return builder.bitcast(builder.gep(pointer, [at]), _memory(pointer).as_pointer())


def _widen(builder, halves):
    """Float16 as its bits to float32; exact. In integers where the processor has no instruction for it."""
    if _HALF:
        return builder.fpext(builder.bitcast(halves, ir.VectorType(ir.HalfType(), LANES)), _FLOATS)
    bits = builder.zext(halves, _INTS)
    exponent = builder.and_(bits, _every_lane(0x7C00, _INTS))
    mantissa = builder.and_(bits, _every_lane(0x3FF, _INTS))
    shifted = builder.shl(builder.and_(bits, _every_lane(0x7FFF, _INTS)), _every_lane(13, _INTS))
    normal = builder.add(shifted, _every_lane(112 << 23, _INTS))
    special = builder.add(shifted, _every_lane(224 << 23, _INTS))
    small = builder.fmul(builder.uitofp(mantissa, _FLOATS), _every_lane(2.0**-24))
    magnitude = builder.select(
        builder.icmp_unsigned("==", exponent, _every_lane(0, _INTS)), builder.bitcast(small, _INTS), normal
    )
    magnitude = builder.select(builder.icmp_unsigned("==", exponent, _every_lane(0x7C00, _INTS)), special, magnitude)
    sign = builder.shl(builder.and_(bits, _every_lane(0x8000, _INTS)), _every_lane(16, _INTS))
    return builder.bitcast(builder.or_(magnitude, sign), _FLOATS)


# Intrinsics.


def _integer(given):
    return isinstance(given, types.Integer)


def _elements(given):
    """A pointer to what a vector is loaded from: float32, float16 as its bits, or bytes."""
    return isinstance(given, types.CPointer) and given.dtype in (types.float32, types.uint16, types.int8)


def _coefficients(given):
    return isinstance(given, types.UniTuple) and given.dtype == types.float32


def _tiles(given):
    return given in (_tile, _row)


def _operation(result, *arguments):
    """Make an intrinsic on these types of a function that is given the LLVM builder and the arguments.

    An argument may also be a function that says whether a type will do. The result None is the first argument's type.
    """

    def decorate(build):
        def definition(typing, *given):
            pairs = zip(arguments, given, strict=True)
            if not all(wanted == found if isinstance(wanted, types.Type) else wanted(found) for wanted, found in pairs):
                return None

            def generate(context, builder, signature, args):
                value = build(builder, *args)
                return context.get_dummy_value() if result == types.void else value

            signature = [types.intp if _integer(found) else found for found in given]
            return (result or given[0])(*signature), generate

        # Numba looks for names of arguments, of which the first stands for the typing context.
        functools.update_wrapper(definition, build)
        return intrinsic(definition)

    return decorate


# Memory. uint16 stands for the bits of float16, int8 for a whole number; both become float32 on the way.

_floats = types.CPointer(types.float32)


@intrinsic
def pointer(typing, array):
    """Where a flat array's elements are. Unlike an array it has no reference count, bounds or negative indices."""
    if not isinstance(array, types.Array) or array.ndim != 1 or array.layout != "C":
        return None

    def generate(context, builder, signature, args):
        return context.make_array(array)(context, builder, *args).data

    return types.CPointer(array.dtype)(array), generate


def _in_register(builder, loaded):
    if loaded.type == _BYTES:
        return builder.sitofp(builder.sext(loaded, _INTS), _FLOATS)
    return _widen(builder, loaded) if loaded.type == _HALVES else loaded


def _first(builder, count):
    """The first `count` lanes."""
    lanes = ir.Constant(_INTS, list(range(LANES)))
    return builder.icmp_signed("<", lanes, _splat(builder, builder.trunc(count, _I32), _INTS))


def _load_first(builder, source, count, memory):
    name = f"llvm.masked.load.v{LANES}{memory.element.intrinsic_name}.p0"
    types_of = [memory.as_pointer(), _I32, _BOOLS, memory]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(memory, types_of), name)
    return builder.call(function, [source, ir.Constant(_I32, 1), _first(builder, count), ir.Constant(memory, None)])


def _store_first(builder, value, target, count):
    types_of = [_FLOATS, _FLOATS.as_pointer(), _I32, _BOOLS]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), types_of), f"llvm.masked.store.v{LANES}f32.p0"
    )
    builder.call(function, [value, target, ir.Constant(_I32, 1), _first(builder, count)])


@_operation(vector, _elements, _integer)
def load(builder, array, at):
    """array[at : at + 16]."""
    return _in_register(builder, builder.load(_place(builder, array, at), align=1))


@_operation(vector, _elements, _integer, _integer)
def load_n(builder, array, at, count):
    """array[at : at + count] and zeros, for 0 <= count <= 16."""
    source, memory = _place(builder, array, at), _memory(array)
    with builder.if_else(builder.icmp_signed("==", count, _index(LANES)), likely=True) as (then, otherwise):
        with then:
            whole = builder.load(source, align=1)
            after_whole = builder.block
        with otherwise:
            part = _load_first(builder, source, count, memory)
            after_part = builder.block
    loaded = builder.phi(memory)
    loaded.add_incoming(whole, after_whole)
    loaded.add_incoming(part, after_part)
    return _in_register(builder, loaded)


@_operation(types.void, _floats, _integer, vector)
def store(builder, array, at, value):
    """array[at : at + 16] = value."""
    builder.store(value, _place(builder, array, at), align=1)


@_operation(types.void, _floats, _integer, vector, _integer)
def store_n(builder, array, at, value, count):
    """array[at : at + count] = value[:count], for 0 <= count <= 16."""
    target = _place(builder, array, at)
    with builder.if_else(builder.icmp_signed("==", count, _index(LANES)), likely=True) as (then, otherwise):
        with then:
            builder.store(value, target, align=1)
        with otherwise:
            _store_first(builder, value, target, count)


# Lane by lane.


@_operation(vector, types.float32)
def set1(builder, value):
    """A vector of one value."""
    return _splat(builder, value)


def _operator(symbol, result, argument, build):
    """Give a binary operator of Python a meaning."""

    @type_callable(symbol)
    def type_operator(context):
        return lambda a, b: result if a == b == argument else None

    lower_builtin(symbol, argument, argument)(lambda context, builder, signature, args: build(builder, *args))


_operator(operator.add, vector, vector, ir.IRBuilder.fadd)
_operator(operator.sub, vector, vector, ir.IRBuilder.fsub)
_operator(operator.mul, vector, vector, ir.IRBuilder.fmul)
_operator(operator.truediv, vector, vector, ir.IRBuilder.fdiv)
_operator(operator.lt, mask, vector, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
_operator(operator.and_, mask, mask, ir.IRBuilder.and_)


@_operation(vector, vector, vector, vector)
def fma(builder, a, b, c):
    """a * b + c, rounded once."""
    return _fma(builder, a, b, c)


@_operation(vector, vector)
def negative(builder, a):
    """-a, the sign of zero and NaN included."""
    return builder.fneg(a)


@_operation(vector, vector)
def absolute(builder, a):
    """a without its sign."""
    return _call(builder, "fabs", a)


@_operation(vector, vector, vector)
def with_sign(builder, magnitude, sign):
    """A magnitude that is not negative with the sign of another vector."""
    return _call(builder, "copysign", magnitude, sign)


@_operation(vector, vector)
def rint(builder, a):
    """The nearest integer, the even one of two."""
    return _call(builder, "rint", a)


@_operation(vector, vector, vector)
def scale2(builder, a, n):
    """a * 2^n for integral n from -126 to 127; any n where a is NaN."""
    # 1.5 * 2^23 + n has n + 127 in its last bits, once 127 is added; the other bits are shifted out.
    bits = builder.bitcast(builder.fadd(n, _every_lane(12582912.0)), _INTS)
    exponent = builder.shl(builder.add(bits, _every_lane(127, _INTS)), _every_lane(23, _INTS))
    return builder.fmul(a, builder.bitcast(exponent, _FLOATS))


@_operation(vector, vector, _coefficients)
def horner(builder, x, coefficients):
    """c[0] + x * (c[1] + x * (c[2] + ...)), a chain of fma."""
    *others, value = (_splat(builder, c) for c in cgutils.unpack_tuple(builder, coefficients))
    for c in reversed(others):
        value = _fma(builder, value, x, c)
    return value


# Masks.


@_operation(mask, _integer)
def head(builder, count):
    """True in the first `count` lanes."""
    return _first(builder, count)


@_operation(mask, mask)
def none_of(builder, chosen):
    """The other lanes."""
    return builder.not_(chosen)


@_operation(vector, mask, vector, vector)
def select(builder, chosen, a, b):
    """a where chosen, else b."""
    return builder.select(chosen, a, b)


@_operation(types.boolean, mask)
def any_lane(builder, chosen):
    """Whether a lane is True."""
    bits = builder.bitcast(chosen, ir.IntType(LANES))
    return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))


# Across lanes: i with i + 8, then i + 4, i + 2, i + 1.


def _tree(builder, a, combine):
    for half in (8, 4, 2, 1):
        lanes = [ir.Constant(ir.VectorType(_I32, half), list(range(start, start + half))) for start in (0, half)]
        a = combine(*(builder.shuffle_vector(a, a, numbers) for numbers in lanes))
    return builder.extract_element(a, ir.Constant(_I32, 0))


@_operation(types.float32, vector)
def sum_of(builder, a):
    """The sum of the lanes."""
    return _tree(builder, a, builder.fadd)


@_operation(types.float32, vector)
def max_of(builder, a):
    """The greatest of the lanes, by comparisons alone: a NaN in lane 0 stays, another may not."""
    return _tree(builder, a, lambda x, y: builder.select(builder.fcmp_ordered("<", x, y), y, x))


# The tile of the inner loop: rows of vectors of sums.


def _zeros(rows):
    return ir.Constant(ir.ArrayType(ir.ArrayType(_FLOATS, TILE_PANELS), rows), None)


@_operation(_tile)
def zero_tile(builder):
    """TILE_ROWS by TILE_PANELS vectors of +0."""
    return _zeros(TILE_ROWS)


@_operation(_row)
def zero_row(builder):
    """A tile of one row."""
    return _zeros(1)


@_operation(None, _tiles, _floats, _integer, _integer, _elements, _integer)
def accumulate(builder, tile, a, at, stride, b, start):
    """tile[i, j] = fma(a[at + i * stride], b[start + 16 * j : start + 16 * j + 16], tile[i, j])."""
    weights = []
    for j in range(TILE_PANELS):
        place = _place(builder, b, builder.add(start, _index(j * LANES)))
        weights.append(_in_register(builder, builder.load(place, align=1)))
    for i in range(tile.type.count):
        x = _splat(builder, builder.load(builder.gep(a, [at]), align=1))
        at = builder.add(at, stride)
        for j, weight in enumerate(weights):
            total = _fma(builder, x, weight, builder.extract_value(tile, [i, j]))
            tile = builder.insert_value(tile, total, [i, j])
    return tile


@_operation(types.void, _floats, _integer, _integer, _tiles)
def store_tile(builder, array, at, stride, tile):
    """array[at + i * stride + 16 * j : ...] = tile[i, j]."""
    for i in range(tile.type.count):
        for j in range(TILE_PANELS):
            panel = _place(builder, array, builder.add(at, _index(j * LANES)))
            builder.store(builder.extract_value(tile, [i, j]), panel, align=1)
        at = builder.add(at, stride)
