"""The rules for equal bits, checked on the sources: what must not appear in them."""

import ast
import re
from pathlib import Path

import pytest
from kernel_tables import OPS

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cc", ".inl", ".def"))
# What is compiled once per instruction set: the kernels, and the two others.
OTHERS = re.compile(r"kernel_set\.cc|peak.*")
KERNELS = [
    path for path in SOURCES if path.parts[len(ROOT.parts) + 1] in ("kernels", "simd") or OTHERS.match(path.name)
]

FORBIDDEN = {
    "an approximate reciprocal": r"rcp|vrecp[es]",
    "an approximate reciprocal square root": r"rsqrt|vrsqrt[es]",
    "a sum of floats in another order": r"reduce_(add|mul)(?!_tree)|vaddvq?_f|vpadd[qsd]?_f|hadd_p[sd]",
    "a max that differs from that of x86": r"\bv(max|min|pmax|pmin)(nm)?v?[qs]?_f(16|32|64)",
    "a function of libm": r"\b(__builtin_)?(exp2?|expm1|exp10|log|log2|log1p|log10|pow|tanh|erfc?|sin|cos)f\b",
    "a function of the C++ library": r"\bstd::(exp|log|pow|tanh|erf|max|min|accumulate|reduce|inner_product|fma)\b",
    "a change of the float environment": r"fast.?math|FP_CONTRACT\s+ON|fp-contract=fast|_MM_SET_(FLUSH|DENORMALS)",
}
# Multiply-add with two roundings, which differs from the fused one of other instruction sets.
UNFUSED = r"\bvml[as]q?(_n|_lane|_laneq)?_f(16|32|64)"
# The same as ARM instructions in inline assembly, and conversions that depend on the rounding mode.
FORBIDDEN_INSTRUCTIONS = (
    r"\b(v?f?u?r(ecp|sqrt)[esx]|v?faddp|vpadd|faddv|f(max|min)(nm)?[pv]?|v(max|min)(nm)?\.f\d+"
    r"|vml[as]\.f\d+|fmulx|frinti)\b"
)


def test_polynomials_are_the_same_in_every_backend():
    """csrc/simd/math.h has the coefficients, which docs/polynomials.py fits."""
    source = (ROOT / "csrc/simd/math.h").read_text(encoding="utf-8")
    names = {
        "kExp": "EXP",
        "kTanh": "TANH",
        "kLog2Q": "LOG2_TAIL",
        "kExp2": "EXP2",
        "kExp2Bytes": "EXP2_254",
        "kLog2": "LOG2",
    }
    expected = {
        names[name]: [float(value.strip().rstrip("f")) for value in values.split(",")]
        for name, values in re.findall(r"constexpr float (k\w+)\[\] = \{([^}]*)\}", source)
    }
    assert expected.keys() == set(names.values())
    for path in ("numpy.py", "_numba/elementary.py"):
        tree = ast.parse((ROOT / "squeezeops/backends" / path).read_text(encoding="utf-8"))
        found = {}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id in expected
            ):
                value = node.value
                if isinstance(value, ast.Call):  # tuple(map(F, (...)))
                    value = value.args[0].args[1]
                found[node.targets[0].id] = [float(number) for number in ast.literal_eval(value)]
        assert found == expected, path


def code_of(path):
    """The lines of a file without comments and strings."""
    text = path.read_text(encoding="utf-8")
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL).splitlines()


def strings_of(path):
    """The string literals of each line, which hold the inline assembly."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [" ".join(re.findall(r'"((?:\\.|[^"\\])*)"', line)) for line in lines]


def found(pattern, lines):
    return [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if re.search(pattern, line)]


def test_there_are_kernels_to_look_at():
    assert {f"{name}.cc" for name in OPS} <= {path.name for path in KERNELS}
    assert {"kernel_set.cc", "peak_f32.cc", "f32_scalar.h"} <= {path.name for path in KERNELS}


# `min_abs`, `greater` and `reduce_max` of NEON: what they are for NaN is in their contracts.
EXEMPT = r"return \{v(minnmq_f32\(x\.a, limit\.a\)|maxq_f32\(x\.a, y\.a\)),|float reduce_max\(V x\) \{ return vmaxvq"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_forbidden_in_kernels(what):
    hits = {
        str(path.relative_to(ROOT)): [
            hit for hit in found(FORBIDDEN[what], code_of(path)) if not re.search(EXEMPT, hit)
        ]
        for path in KERNELS
    }
    assert {path: lines for path, lines in hits.items() if lines} == {}, what


def test_multiply_add_is_fused():
    """32-bit ARM without VFPv4 has no fused multiply-add and promises no bits; its files have armv7 in their names."""
    fused = [path for path in KERNELS if "armv7" not in path.name]
    hits = {str(path.relative_to(ROOT)): found(UNFUSED, code_of(path)) for path in fused}
    assert {path: lines for path, lines in hits.items() if lines} == {}


def test_forbidden_in_assembly():
    hits = {str(path.relative_to(ROOT)): found(FORBIDDEN_INSTRUCTIONS, strings_of(path)) for path in KERNELS}
    assert {path: lines for path, lines in hits.items() if lines} == {}
    assembly = ROOT / "csrc" / "simd" / "microkernel_neon.h"
    assert found(r"\bfmla\b", strings_of(assembly)), "the assembly is no longer found"


@pytest.mark.parametrize(
    "text", ["frecpe v0.4s, v1.4s", "frsqrts v0.4s", "faddp s0, v0.2s", "fmaxnm v0.4s", "vmla.f32 q0"]
)
def test_the_rule_for_assembly_finds_it(text):
    assert re.search(FORBIDDEN_INSTRUCTIONS, text)


@pytest.mark.parametrize(
    "text", ["fmla v0.4s, v1.4s, v2.s[0]", "frintn v0.4s", "prfm pldl1keep, [x0]", "sdot v0.4s", "sadalp v0.4s"]
)
def test_the_rule_for_assembly_leaves_it(text):
    assert not re.search(FORBIDDEN_INSTRUCTIONS, text)


def test_kernels_include_no_cpp_library():
    """The linker may keep the copy of an inline library function that one file compiled for AVX-512."""
    allowed = r'#\s*include\s+(<\w+\.h>|".*"|SQZ_(FLOATS|BYTES|TILES)_HEADER)'
    hits = {}
    for path in KERNELS:
        lines = path.read_text(encoding="utf-8").splitlines()
        hits[str(path.relative_to(ROOT))] = [
            line for line in lines if re.match(r"\s*#\s*include", line) and not re.match(r"\s*" + allowed, line)
        ]
    assert {path: lines for path, lines in hits.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "x = _mm256_rcp_ps(a);", "x = _mm512_rcp14_ps(a);", "x = _mm_rsqrt_ss(a);", "x = _mm512_rsqrt14_ps(a);",
        "x = vrecpeq_f32(a);", "x = vrsqrteq_f32(a);", "return _mm512_reduce_add_ps(v);", "return vaddvq_f32(v);",
        "return vpadd_f32(a, b);", "return vpaddq_f32(a, b);", "y = expf(x);", "y = std::exp(x);", "y = tanhf(x);",
        "y = __builtin_erff(x);", "y = powf(x, 2);", "y = _mm256_hadd_ps(a, b);", "m = vmaxq_f32(a, b);",
        "m = vminnmq_f32(a, b);", "m = vmaxvq_f32(a);",
    ],
)  # fmt: skip
def test_the_rules_find_it(line):
    assert any(re.search(pattern, line) for pattern in FORBIDDEN.values())


@pytest.mark.parametrize(
    "line",
    [
        "sum = I::reduce_add_tree(acc);", "vpaddd %zmm0, %zmm1, %zmm2", "y = Math<I>::exp(x);", "V tanh(V x) {",
        "acc = vfmaq_f32(acc, a, b);", "q = __builtin_sqrtf(v);", "z = __builtin_fmaf(a, b, c);",
        "s = vpaddq_s32(a, b);",
    ],
)  # fmt: skip
def test_the_rules_leave_it(line):
    assert not any(re.search(pattern, line) for pattern in [*FORBIDDEN.values(), UNFUSED])


# No NumPy arithmetic between ids and results: its sums and its exp differ between processors and versions.

PYTHON = [
    *(
        ROOT / "squeezeops" / "squeezebert" / "model" / f"{name}.py"
        for name in ("squeezebert", "layer", "heads", "batch", "workspace")
    ),
    *sorted((ROOT / "squeezeops" / "pipelines").glob("*.py")),
]
ARITHMETIC = """
exp exp2 expm1 log log2 log10 log1p tanh sinh cosh sin cos sqrt cbrt square power float_power reciprocal dot vdot
inner outer matmul matvec vecmat vecdot tensordot einsum einsum_path kron convolve correlate linalg fft sum nansum
mean nanmean average var std prod trapz add subtract multiply divide true_divide logaddexp hypot interp clip maximum
minimum fmax fmin
"""
METHODS = {"dot", "sum", "mean", "var", "std", "prod", "trace"}


def numpy_arithmetic(source):
    """Uses of np.<arithmetic>, math.<arithmetic>, such methods of arrays, and the @ operator."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.MatMult):
            yield f"{node.lineno}: @"
        if not isinstance(node, ast.Attribute):
            continue
        module = node.value.id if isinstance(node.value, ast.Name) else ""
        if module in ("np", "numpy", "math"):
            if node.attr in ARITHMETIC.split():
                yield f"{node.lineno}: {module}.{node.attr}"
        elif node.attr in METHODS:
            yield f"{node.lineno}: .{node.attr}"


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_no_numpy_arithmetic_in_the_model(path):
    source = path.read_text(encoding="utf-8")
    assert list(numpy_arithmetic(source)) == []
    assert not re.search(r"from (numpy|math)(?!\.typing)\b.* import|import numpy\.", source)


@pytest.mark.parametrize(
    "line",
    [
        "np.exp(x)",
        "math.exp(x)",
        "x @ y",
        "x @= y",
        "np.dot(x, y)",
        "numpy.matmul(x, y)",
        "np.linalg.norm(x)",
        "x.mean(axis=1)",
    ],
)
def test_the_rule_for_python_finds_it(line):
    assert len(list(numpy_arithmetic(line))) == 1
