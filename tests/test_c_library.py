"""The C library: what it exports and needs, its header, its installation, programs in C that use it."""

import os
import platform
import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest
from build_helpers import ROOT, cmake_build, ninja, run, tool
from kernel_tables import OPS, without_simd
from pages import blocks

import squeezeops
from squeezeops import backends

if "native" not in backends.available():
    pytest.skip(reason="built without the native extension", allow_module_level=True)

HEADER = Path(squeezeops.get_include()) / "squeezeops" / "squeezeops.h"
TEXT = HEADER.read_text(encoding="utf-8")
PAGE = "docs/c-library.md"
VERSION = squeezeops.__version__
SONAME = f"libsqueezeops.so.{VERSION.split('.')[0]}"


def functions(header):
    """The declarations of a header: name and parameters."""
    found = re.findall(r"^SQZ_API [^;]*?\b(sqz_\w+)\(([^;]*?)\);", header, re.MULTILINE | re.DOTALL)
    return {
        name: [] if parameters == "void" else [re.search(r"(\w+)(?:\[3\])?$", p)[1] for p in parameters.split(",")]
        for name, parameters in found
    }


FUNCTIONS = functions(TEXT)
# What is exported for our own bindings, and in no installed header.
PRIVATE = functions((ROOT / "csrc" / "measure" / "measure.h").read_text(encoding="utf-8"))


def compiler():
    return tool(*os.environ.get("CC", "cc gcc clang").split())


def block(language):
    """The first block of that language in the document."""
    return blocks(PAGE, language)[0].text


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    path = tmp_path_factory.mktemp("example") / "example.c"
    path.write_text(block("c"))
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build without Python of the portable kernels, not optimised, which is quick."""
    return cmake_build(tmp_path_factory.mktemp("build"), "-DCMAKE_BUILD_TYPE=Debug", *without_simd())


@pytest.fixture(scope="module")
def prefix(build, tmp_path_factory):
    """The library installed to one place and then moved to another."""
    folder = tmp_path_factory.mktemp("installed")
    run(tool("cmake"), "--install", build, "--prefix", folder / "first")
    return (folder / "first").rename(folder / "second with a space")


@pytest.fixture(scope="module")
def without_threads(tmp_path_factory):
    """The library installed from such a build."""
    folder = tmp_path_factory.mktemp("without_threads")
    options = ["-DCMAKE_BUILD_TYPE=Debug", "-DSQUEEZEOPS_THREADS=OFF", *without_simd()]
    run(tool("cmake"), "--install", cmake_build(folder / "build", *options), "--prefix", folder / "prefix")
    return folder / "prefix"


def library_folder(prefix):
    (pc,) = prefix.rglob("squeezeops.pc")
    return pc.parents[1]


# What is in the libraries.


@pytest.fixture(scope="module", params=["of the package", "prefix", "without_threads"])
def shared(request):
    if request.param == "of the package":
        return Path(squeezeops.get_library())
    return library_folder(request.getfixturevalue(request.param)) / "libsqueezeops.so"


def test_exports_are_the_functions_of_the_header(shared):
    exported = {line.split()[-1] for line in run(tool("nm"), "-D", "--defined-only", shared).splitlines()}
    assert exported == FUNCTIONS.keys() | PRIVATE.keys() and len(exported) > 20
    assert PRIVATE and all(name.startswith("sqz_measure_") for name in PRIVATE)
    assert not any(name.startswith("sqz_measure_") for name in FUNCTIONS)


def test_needs_only_the_c_library(shared):
    entries = re.findall(r"\((\w+)\).*\[(.*)\]", run(tool("readelf"), "-d", "-W", shared))
    needed = {name for what, name in entries if what == "NEEDED"}
    # The loader is a part of the C library; with musl there is only one file.
    allowed = r"libc\.so\.6|libm\.so\.6|libpthread\.so\.0|ld-linux[\w-]*\.so\.\d|libc\.(musl-\w+\.)?so(\.1)?"
    assert needed and all(re.fullmatch(allowed, name) for name in needed)
    assert [name for what, name in entries if what == "SONAME"] == [SONAME]


def thread_functions(symbols):
    return [name for name in symbols if re.match(r"pthread|sched_|thrd_|sem_|mtx_|cnd_", name)]


@pytest.mark.parametrize("built", ["prefix", "without_threads"])
def test_static_library_has_its_own_names_only(built, request):
    archive = library_folder(request.getfixturevalue(built)) / "libsqueezeops.a"
    symbols = run(tool("nm"), "-g", archive).splitlines()
    defined = [line.split()[2] for line in symbols if re.fullmatch(r"\w+ [A-TX-Z] \S+", line)]
    assert set(FUNCTIONS) <= set(defined)
    assert all(re.match(r"sqz_|_ZN?K?3sqz", name) for name in defined)
    undefined = [line.split()[1] for line in symbols if re.fullmatch(r" +U \S+", line)]
    cxx = re.compile(r"_Z(?!N?K?3sqz)|__cxa_|__gxx_|_Unwind_")
    assert not [name for name in undefined if cxx.match(name)]
    assert bool(thread_functions(undefined)) == (built == "prefix")


def test_the_package_has_the_header_of_the_source():
    assert TEXT == (ROOT / "csrc" / "include" / "squeezeops" / "squeezeops.h").read_text(encoding="utf-8")


def test_installed_files(prefix):
    files = {path.name for path in prefix.rglob("*") if not path.is_dir()}
    configs = {"squeezeopsConfig.cmake", "squeezeopsConfigVersion.cmake"}
    assert files == {"squeezeops.h", "libsqueezeops.so", SONAME, "libsqueezeops.a", "squeezeops.pc"} | configs


# The header.


@pytest.mark.parametrize("language", ["c99", "c11", "c++11", "c++17"])
def test_header_compiles(tmp_path, language):
    cxx = "++" in language
    source = tmp_path / ("header.cc" if cxx else "header.c")
    source.write_text("#include <squeezeops/squeezeops.h>\nint main(void) { return sqz_version() == 0; }\n")
    command = [tool("c++", "g++", "clang++") if cxx else compiler(), f"-std={language}", "-fsyntax-only"]
    run(*command, "-Wall", "-Wextra", "-pedantic", "-Werror", "-I", squeezeops.get_include(), source)


def test_header_documents_every_function_and_parameter():
    pattern = r"/\*\*((?:(?!\*/).)*)\*/\s*SQZ_API [^;(]*?(sqz_\w+)\("
    comments = {name: comment for comment, name in re.findall(pattern, TEXT, re.DOTALL)}
    assert comments.keys() == FUNCTIONS.keys()
    for name, parameters in FUNCTIONS.items():
        for parameter in parameters:
            assert re.search(rf"\b{parameter}\b", comments[name]), f"{name}: {parameter}"


def test_declarations_keep_all_but_the_preprocessor():
    from squeezeops._library import declarations

    kept = declarations(TEXT)
    assert not re.search(r"^#|SQZ_API|extern", kept, re.MULTILINE)
    assert set(re.findall(r"\bsqz_\w+(?=\()", kept)) >= FUNCTIONS.keys()
    assert kept.count(";") == TEXT.count(";")


# Programs.


EXPECTED = block("text")


@pytest.mark.parametrize("built", ["prefix", "without_threads"])
def test_example_with_pkg_config(built, example, tmp_path, request):
    folder = library_folder(request.getfixturevalue(built))
    environment = {"PKG_CONFIG_PATH": str(folder / "pkgconfig")}
    config = tool("pkg-config")
    assert run(config, "--modversion", "squeezeops", **environment).strip() == re.match(r"[\d.]+", VERSION)[0]
    flags = shlex.split(run(config, "--cflags", "--libs", "squeezeops", **environment))
    run(compiler(), example, "-o", tmp_path / "shared", *flags)
    assert run(tmp_path / "shared", LD_LIBRARY_PATH=str(folder)) == EXPECTED
    assert SONAME in run(tool("readelf"), "-d", tmp_path / "shared")

    flags = shlex.split(run(config, "--cflags", "--libs", "--static", "squeezeops", **environment))
    assert ("-pthread" in flags) == (built == "prefix")
    flags = [flag if flag != "-lsqueezeops" else "-l:libsqueezeops.a" for flag in flags]
    run(compiler(), example, "-o", tmp_path / "static", *flags)
    assert run(tmp_path / "static") == EXPECTED
    assert "squeezeops" not in run(tool("readelf"), "-d", tmp_path / "static")


def test_the_page_works_as_written(build, tmp_path):
    """Its commands, one after the other, with a home folder outside the system's prefixes."""
    tool("pkg-config")
    commands = [block.text for block in blocks(PAGE, "bash")]
    words = ("--install", "PKG_CONFIG_PATH", "CMAKE_PREFIX_PATH")
    install, with_pkg_config, with_cmake = (next(text for text in commands if word in text) for word in words)
    paths = [os.path.dirname(tool(name)) for name in ("cmake", "ninja")]
    environment = {"HOME": str(tmp_path), "PATH": os.pathsep.join([*paths, os.environ["PATH"]])}
    environment |= {"CMAKE_GENERATOR": "Ninja", "CC": compiler()}
    install = install.replace("-B build", f"-B {build}").replace("--build build", f"--build {build}")
    install = install.replace("--install build", f"--install {build}")  # which is built already
    run("bash", "-euc", install, cwd=ROOT, **environment)
    libraries = library_folder(tmp_path / ".local").name
    for name, content in (("example.c", block("c")), ("CMakeLists.txt", block("cmake"))):
        (tmp_path / name).write_text(content)
    for commands in (with_pkg_config.replace("/lib/", f"/{libraries}/"), with_cmake):
        assert run("bash", "-euc", commands, cwd=tmp_path, **environment).endswith(EXPECTED)


@pytest.mark.parametrize("built", ["prefix", "without_threads"])
def test_example_with_cmake(built, example, tmp_path, request):
    prefix = request.getfixturevalue(built)
    project = """
        cmake_minimum_required(VERSION 3.18)
        project(consumer LANGUAGES C)
        find_package(squeezeops {version} REQUIRED)
        add_executable(example {source})
        target_link_libraries(example PRIVATE squeezeops::squeezeops)
        add_executable(example_static {source})
        target_link_libraries(example_static PRIVATE squeezeops::squeezeops_static)
    """
    version = ".".join(VERSION.split(".")[:2])
    text = textwrap.dedent(project.format(version=version, source=example.as_posix()))
    (tmp_path / "CMakeLists.txt").write_text(text)
    configure = [tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-Dsqueezeops_ROOT={prefix}", *ninja()]
    run(*configure)
    run(tool("cmake"), "--build", tmp_path / "build")
    for name in ("example", "example_static"):
        assert run(tmp_path / "build" / name) == EXPECTED
    found = "Threads" in (tmp_path / "build" / "CMakeCache.txt").read_text()
    assert found == (built == "prefix")
    (tmp_path / "CMakeLists.txt").write_text(text.replace(f"squeezeops {version}", "squeezeops 7.5"))
    refused = subprocess.run(list(map(str, configure)), capture_output=True, text=True)
    assert refused.returncode != 0 and VERSION in refused.stderr


CXX = """
#include <squeezeops/squeezeops.h>

#include <cstdio>
#include <vector>

int main() {
  std::vector<float> x{1, 2, 3, 4}, out(4);
  const std::vector<intptr_t> shape{2, 2};
  sqz_softmax_args args{};
  args.size = sizeof args;
  args.scale = 1;
  args.x.data = x.data();
  args.x.dtype = SQZ_F32;
  args.x.rank = 2;
  args.x.shape = shape.data();
  args.out = args.x;
  args.out.data = out.data();
  const sqz_status status = sqz_softmax(&args);
  std::printf("%d %.3f %.3f %ld\\n", status, out[0], out[1], __cplusplus);
}
"""


@pytest.mark.parametrize(("standard", "version"), [("11", "201103"), ("20", "202002")])
def test_from_cxx(standard, version, prefix, tmp_path):
    """With pkg-config and with CMake, from a prefix that is not the system's; shared and static."""
    expected = f"0 0.269 0.731 {version}\n"
    source = tmp_path / "program.cc"
    source.write_text(CXX)
    folder = library_folder(prefix)
    config = [tool("pkg-config"), "--cflags", "--libs", "squeezeops"]
    flags = shlex.split(run(*config, PKG_CONFIG_PATH=str(folder / "pkgconfig")))
    cxx = [*shlex.split(os.environ.get("CXX", "c++")), f"-std=c++{standard}", "-pedantic"]
    run(*cxx, "-Wall", "-Wextra", "-Werror", source, "-o", tmp_path / "program", *flags)
    assert run(tmp_path / "program", LD_LIBRARY_PATH=str(folder)) == expected

    project = f"""
        cmake_minimum_required(VERSION 3.18)
        project(consumer LANGUAGES CXX)
        set(CMAKE_CXX_STANDARD {standard})
        find_package(squeezeops REQUIRED)
        add_executable(shared program.cc)
        target_link_libraries(shared PRIVATE squeezeops::squeezeops)
        add_executable(static program.cc)
        target_link_libraries(static PRIVATE squeezeops::squeezeops_static)
    """
    (tmp_path / "CMakeLists.txt").write_text(textwrap.dedent(project))
    run(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", *ninja())
    run(tool("cmake"), "--build", tmp_path / "build")
    for name in ("shared", "static"):
        assert run(tmp_path / "build" / name) == expected


THREADS = """
#include <squeezeops/squeezeops.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  static float x[512 * 512], alone[512 * 512], out[512 * 512];
  const intptr_t shape[] = {512, 512};
  sqz_softmax_args args = {sizeof args};
  args.scale = 1;
  for (int i = 0; i < 512 * 512; ++i) x[i] = (float)(i % 1000) / 100;
  args.x = args.out = (sqz_array){.data = x, .dtype = SQZ_F32, .rank = 2, .shape = shape};
  for (int threads = 1; threads <= 4; threads += 3) {
    args.out.data = threads == 1 ? alone : out;
    if (sqz_set_num_threads(threads) || sqz_softmax(&args)) return puts(sqz_error_message()), 1;
    printf("%d ", sqz_get_num_threads());
  }
  puts(memcmp(out, alone, sizeof out) ? "different" : "the same");
  return 0;
}
"""


@pytest.mark.parametrize(("built", "expected"), [("prefix", "1 4 the same\n"), ("without_threads", "1 1 the same\n")])
def test_number_of_threads(built, expected, tmp_path, request):
    prefix = request.getfixturevalue(built)
    source, program = tmp_path / "threads.c", tmp_path / "threads"
    source.write_text(THREADS)
    archive = library_folder(prefix) / "libsqueezeops.a"
    run(compiler(), source, "-I", prefix / "include", archive, "-lm", "-pthread", "-o", program)
    assert run(program) == run(program, SQUEEZEOPS_NUM_THREADS="3") == expected


# A part of the library.

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags' names are those of x86")

SOME_OPS = """
#include <squeezeops/squeezeops.h>
#include <stdio.h>

int main(void) {
  float x[] = {1, 2, 3, 4};
  const intptr_t shape[] = {2, 2};
  const sqz_array array = {.data = x, .dtype = SQZ_F32, .rank = 2, .shape = shape};
  sqz_softmax_args softmax = {sizeof softmax};
  sqz_gelu_args gelu = {sizeof gelu};
  softmax.scale = 1;
  softmax.x = softmax.out = gelu.x = gelu.out = array;
  for (int i = 0; i < sqz_kernel_count(); ++i) {
    sqz_kernel_info info;
    if (sqz_kernel_get_info(i, &info) == SQZ_OK) printf("%s ", info.symbol);
  }
  printf("%d\\n", sqz_softmax(&softmax));
  printf("%s\\n", sqz_error_message());
  printf("%d\\n", sqz_gelu(&gelu));
  printf("%s\\n", sqz_error_message());
  return 0;
}
"""


def part_of_library(folder, *options):
    """A program over a build of some ops or instruction sets."""
    build = cmake_build(folder / "build", "-DCMAKE_BUILD_TYPE=Debug", *options, targets=["squeezeops_static"])
    (folder / "part.c").write_text(SOME_OPS)
    paths = ["-I", ROOT / "csrc" / "include", build / "libsqueezeops.a"]
    run(compiler(), folder / "part.c", *paths, "-lm", "-pthread", "-o", folder / "part")
    return folder / "part"


def test_kernels_that_call_those_of_another_op_bring_them():
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.findall(r"^set\(calls_(\w+) (\w+)\)", cmake, re.MULTILINE)
    found = set()
    for name in OPS:
        for path in ROOT.glob(f"csrc/kernels/*/{name}*.cc"):
            text = path.read_text(encoding="utf-8")
            found |= {(name, called) for called in re.findall(r"^extern const Kernel<(\w+)_fn>", text, re.MULTILINE)}
    assert set(listed) == {(name, called) for name, called in found if called != name} != set()


def test_an_op_left_out(tmp_path):
    chosen = ["-DSQUEEZEOPS_OPS=softmax attention_s8,quantize_rows", "-DSQUEEZEOPS_ISAS=scalar"]
    program = part_of_library(tmp_path, *chosen)
    missing = "library: expected one built with activation_f32, got one without"
    kernels = "softmax_f32_scalar quantize_rows_s8_scalar attention_s8_scalar"
    assert run(program).splitlines() == [f"{kernels} 0", "", "3", missing]


@x86
def test_a_processor_without_the_instruction_sets_of_the_build(tmp_path):
    program = part_of_library(tmp_path, "-DSQUEEZEOPS_OPS=softmax", "-DSQUEEZEOPS_ISAS=avx2")
    needed = "isa: expected a processor for one of this build (avx2), got another"
    lines = run(tool("qemu-x86_64"), "-cpu", "Nehalem", program).splitlines()
    assert lines == ["softmax_f32_avx2 3", needed, "3", needed]


@x86
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("OPS=softmax,gelu", r"SQUEEZEOPS_OPS: expected names among layer_norm, layer_norm_f32, .*, got gelu"),
        ("ISAS=avx3", r"SQUEEZEOPS_ISAS: expected names among scalar, sse2, .*, got avx3"),
        ("ISAS=avx512vnni", r"SQUEEZEOPS_ISAS: expected, for avx512vnni, one that it implies and that has layer_norm"),
        ("ISAS=neon", r"SQUEEZEOPS_ISAS: expected an instruction set of this architecture, got neon"),
    ],
)
def test_a_part_that_cannot_be_built(tmp_path, option, message):
    command = [tool("cmake"), "-S", ROOT, "-B", tmp_path, *ninja(), f"-DSQUEEZEOPS_{option}"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode != 0 and re.search(message, " ".join(done.stderr.split()))


def test_example_with_the_package(example, tmp_path):
    library = Path(squeezeops.get_library())
    flags = ["-I", squeezeops.get_include(), library, f"-Wl,-rpath,{library.parent}"]
    run(compiler(), "-std=c99", "-Wall", "-Wextra", "-Werror", example, "-o", tmp_path / "example", *flags)
    assert run(tmp_path / "example") == EXPECTED


def test_get_library_and_get_include_of_a_pure_package(monkeypatch, tmp_path):
    from squeezeops import _library

    monkeypatch.setattr(_library, "_PACKAGE", str(tmp_path))
    for function in (_library.get_include, _library.get_library):
        message = f"{function.__name__}: expected a package built with its compiled kernels, got one without .*get it:"
        with pytest.raises(FileNotFoundError, match=message):
            function()


# Wrong arguments.

# By parameter: the functions that have no others need no row of their own.
ROWS = {
    "rows": 3, "n": 4, "x": "x", "ldx": 4, "residual": "y", "ldr": 4, "weight": "w", "bias": "w", "eps": 1e-5,
    "out": "out", "ldo": 4,
}  # fmt: skip
OF_ROWS = {name: parameters for name, parameters in FUNCTIONS.items() if parameters and ROWS.keys() >= {*parameters}}
GOOD = {
    **{name: ", ".join(str(ROWS[parameter]) for parameter in parameters) for name, parameters in OF_ROWS.items()},
    "sqz_softmax_f32": "3, 4, x, 4, y, lib.SQZ_MASK_ADD, 4, 1.0, 0, out, 4",
    "sqz_activation_f32": "lib.SQZ_ACT_TANH, 12, x, out",
    "sqz_mean_pool_f32": "3, 2, 2, x, 2, keep, 2, out, 2",
    "sqz_embedding_f32": "3, 4, ids, x, lib.SQZ_F32, 3, out, 4",
    "sqz_embedding_layer_norm_f32": "3, 4, three_ids, three_tables, three_dtypes, three_rows, w, w, 1e-5, out, 4",
    "sqz_pwconv_packed_size_f32": "2, 4, 6",
    "sqz_pwconv_pack_f32": "2, 4, 6, x, lib.SQZ_F32, packed",
    "sqz_pwconv_f32": "3, 2, 4, 6, x, 4, packed, y, lib.SQZ_ACT_NONE, y, 6, out, 6",
    "sqz_pwconv_packed_size_f16": "2, 4, 6",
    "sqz_pwconv_pack_f16": "2, 4, 6, x, lib.SQZ_F32, halves",
    "sqz_quantized_width_s8": "4, 2",
    "sqz_quantize_rows_s8": "3, 4, 2, x, 4, bytes, 8, out",
    "sqz_pwconv_packed_size_s8": "2, 4, 6",
    "sqz_pwconv_pack_s8": "2, 4, 6, x, lib.SQZ_F16, packed",
    "sqz_pwconv": "input, 2, parts",
    "sqz_kernel_get_info": "0, info",
    "sqz_set_num_threads": "0",
    "sqz_set_allocator": "ffi.NULL, ffi.NULL, ffi.NULL",
    "sqz_measure_fma": "5e-5, rate",
    "sqz_measure_s8": "5e-5, rate",
    "sqz_measure_read": f"{2**20}, many, rate",
}
ATTENTION = {
    "batch": 2, "q_offsets": "offsets", "k_offsets": "offsets", "heads": 2, "head_size": 2, "q": "x", "ldq": 4,
    "k": "x", "ldk": 4, "v": "x", "ldv": 4, "mask": "y", "mask_kind": "lib.SQZ_MASK_ADD", "mask_strides": [0, 0, 3],
    "mask_ragged": 0, "scale": 0.5, "fully_masked": 0, "out": "out", "ldo": 4, "scores": "ffi.NULL",
}  # fmt: skip
ATTENTION_S8 = {
    "batch": 2, "q_offsets": "offsets", "k_offsets": "offsets", "heads": 2, "head_size": 3, "q": "bytes", "ldq": 8,
    "q_scales": "y", "k": "bytes", "ldk": 8, "k_scales": "y", "v": "bytes", "ldv": 8, "v_scales": "y", "mask": "keep",
    "mask_strides": [3, 3], "mask_ragged": 0, "scale": 0.5, "fully_masked": 0, "value_scale": "w", "value_bias": "w",
    "out": "out", "ldo": 6,
}  # fmt: skip
STRUCTS = {
    "sqz_attention_f32": ATTENTION,
    "sqz_attention_s8": ATTENTION_S8,
}  # functions of one struct, by the fields of good calls
# Those of sqz_pwconv: an input with a part for it.
INPUT = {"rows": 3, "c_in": 4, "x": "x", "ldx": 4}
BYTES = {"rows": 3, "c_in": 4, "q": "bytes", "ldq": 8, "scales": "y", "groups": 2}
PART = {
    "dtype": "lib.SQZ_F32", "groups": 2, "c_out": 6, "packed": "packed", "bias": "y", "activation": 0, "residual": "y",
    "ldr": 6, "out": "out", "ldo": 6,
}  # fmt: skip
TO_BYTES = {k: v for k, v in PART.items() if k not in ("out", "ldo")} | {
    "dtype": "lib.SQZ_S8", "q_out": "more_bytes", "ldq_out": 24, "scales_out": "out", "groups_out": 6,
}  # fmt: skip
CONVOLUTIONS = {
    "float32": (INPUT, PART),
    "float16": (INPUT, PART | {"dtype": "lib.SQZ_F16"}),
    "int8": (INPUT, PART | {"dtype": "lib.SQZ_S8"}),
    "int8, of bytes": (BYTES, PART | {"dtype": "lib.SQZ_S8"}),
    "int8, to bytes": (INPUT, TO_BYTES),
    "float32, to bytes": (INPUT, TO_BYTES | {"dtype": "lib.SQZ_F32"}),
    "float16, to bytes": (INPUT, TO_BYTES | {"dtype": "lib.SQZ_F16"}),
    "int8, of bytes to bytes": (BYTES, TO_BYTES),
}
# What is returned in place of a status.
SIZES = {"sqz_pwconv_packed_size_f32": 64, "sqz_pwconv_packed_size_f16": 64, "sqz_quantized_width_s8": 8}
SIZES["sqz_pwconv_packed_size_s8"] = 2 * (64 + 64 + 64)
MAY_BE_NULL = {
    "sqz_set_allocator": {"allocate", "release", "context"},  # one function alone: test_embedder.py
    **{name: {"residual", "weight", "bias"} & {*parameters} for name, parameters in OF_ROWS.items()},
    "sqz_mean_pool_f32": {"mask"},
    "sqz_embedding_layer_norm_f32": {"weight", "bias"},
    "sqz_pwconv_f32": {"bias", "residual"},
    "sqz_attention_s8": {"mask", "value_scale", "value_bias"},
}


@pytest.fixture(scope="module")
def c():
    """The library as cffi has it, and arguments that work."""
    pytest.importorskip("cffi", reason="cffi is not installed")
    from squeezeops.backends._buffers import ffi, lib

    arrays = {
        "x": ffi.new("float[64]", [0.5] * 64),
        "y": ffi.new("float[64]", [0.25] * 64),
        "w": ffi.new("float[16]", [1.0] * 16),
        "out": ffi.new("float[64]", [7.0] * 64),
        "packed": ffi.new("float[256]"),
        "halves": ffi.new("uint16_t[256]"),
        "bytes": ffi.new("uint8_t[64]", [130] * 64),
        "more_bytes": ffi.new("uint8_t[128]"),
        "keep": ffi.new("uint8_t[64]", [1] * 64),
        "ids": ffi.new("int64_t[3]", [0, 2, 1]),
        "offsets": ffi.new("int32_t[3]", [0, 1, 3]),
        "three_dtypes": ffi.new("sqz_dtype[3]", [lib.SQZ_F32] * 3),
        "three_rows": ffi.new("int64_t[3]", [3, 3, 3]),
        "info": ffi.new("sqz_kernel_info *"),
        "rate": ffi.new("double *"),
        "many": ffi.new("float[]", 2**20),
        "ffi": ffi,
        "lib": lib,
    }
    arrays["three_ids"] = ffi.new("int64_t *[3]", [arrays["ids"]] * 3)
    arrays["three_tables"] = ffi.new("void *[3]", [arrays["x"]] * 3)

    def value(text):
        return eval(text, {}, arrays) if isinstance(text, str) else text

    def struct(kind, fields):
        return ffi.new(kind, {field: value(v) for field, v in fields.items()})

    arrays["input"] = struct("sqz_pwconv_input *", INPUT)
    parts = [PART, {**PART, "groups": 1, "c_out": 2, "out": "out + 32"}]
    arrays["parts"] = ffi.new("sqz_pwconv_part[]", [struct("sqz_pwconv_part *", part)[0] for part in parts])

    def call(name, arguments):
        """Status, message, and whether `out` was left as it was."""
        before = bytes(ffi.buffer(arrays["out"]))
        if name in STRUCTS:
            status = getattr(lib, name)(struct(name + "_args *", arguments))
        else:
            status = getattr(lib, name)(*map(value, arguments.values()))
        message = ffi.string(lib.sqz_error_message()).decode()
        unchanged = bytes(ffi.buffer(arrays["out"])) == before
        ffi.buffer(arrays["out"])[:] = ffi.buffer(ffi.new("float[64]", [7.0] * 64))[:]
        return status, message, unchanged

    call.arrays, call.struct = arrays, struct
    return call


def good(name):
    if name in STRUCTS:
        return dict(STRUCTS[name])
    values = [part.strip() for part in GOOD[name].split(",")]
    return dict(zip((FUNCTIONS | PRIVATE)[name], (int(v) if v.isdigit() else v for v in values), strict=True))


def wrong(name, arguments):
    """(parameter, wrong value): NULL pointers, negative and overflowing sizes, short strides, unknown words."""
    for parameter, value in arguments.items():
        if parameter in ("mask_ragged", "scores", "scale"):
            continue
        if parameter in ("eps", "seconds"):
            yield from ((parameter, bad) for bad in (-1.0, float("nan"), float("inf"), 1e300))
        elif parameter in ("activation", "mask_kind", "fully_masked", "dtype", "table_dtype", "weight_dtype"):
            yield from ((parameter, bad) for bad in (99, 2**31 - 1))
        elif parameter == "mask_strides":
            for i in range(len(value)):
                for bad in (-1, 2**62):
                    yield parameter, [bad if i == j else stride for j, stride in enumerate(value)]
        elif isinstance(value, int) and parameter != "index":
            yield parameter, -1
            if (name, parameter) != ("sqz_pwconv", "count"):  # how many parts there are, no function can check
                yield parameter, 2**62
                yield parameter, 2**63 - 1
            if parameter.startswith("ld"):
                yield parameter, value - 1
            if parameter in ("groups", "c_in", "c_out", "groups_out"):
                yield parameter, 5
        elif isinstance(value, int):
            yield from ((parameter, bad) for bad in (-1, 2**31 - 1))
        else:
            yield parameter, "ffi.NULL"


@pytest.mark.parametrize("name", [*GOOD, *STRUCTS])
def test_wrong_arguments(c, name):
    assert c(name, good(name))[0] == SIZES.get(name, 0)
    ways = list(wrong(name, good(name)))
    assert {parameter for parameter, _ in ways} >= set(good(name)) - {"mask_ragged", "scores", "scale"}
    for parameter, value in ways:
        status, message, unchanged = c(name, good(name) | {parameter: value})
        where = f"{name}: {parameter} = {value}: {status}, {message!r}"
        if value == "ffi.NULL" and parameter in MAY_BE_NULL.get(name, ()):
            assert status == 0, where
            continue
        assert status == (-1 if name in SIZES else 1) and unchanged, where
        assert re.match(r"\w+: expected .+, got .+", message), where


def test_messages_name_the_argument(c):
    for name, parameter, value, start in [
        ("sqz_layer_norm_f32", "x", "ffi.NULL", "x: expected a pointer, got NULL"),
        ("sqz_layer_norm_f32", "ldr", 3, "residual: expected a row stride >= 4, got 3"),
        ("sqz_softmax_f32", "mask", "ffi.NULL", "mask: expected a pointer, got NULL"),
        ("sqz_softmax_f32", "mask_stride", 2**60, "mask: expected fewer than 2^58 elements"),
        ("sqz_mean_pool_f32", "mask_stride", 1, "mask: expected a row stride >= 2, got 1"),
        ("sqz_embedding_layer_norm_f32", "tables", "ffi.NULL", "tables: expected an array of 3, got NULL"),
        ("sqz_pwconv_f32", "groups", 5, "groups: expected a divisor of c_in = 4 and c_out = 6, got 5"),
        ("sqz_attention_f32", "k_offsets", "ffi.NULL", "k_offsets: expected a pointer, got NULL"),
        ("sqz_attention_f32", "k_offsets", "ffi.new('int32_t[3]', [0, 2, 1])", "k_offsets: expected values that do"),
        ("sqz_attention_f32", "mask_strides", [0, -1, 3], "mask_strides: expected strides >= 0"),
        ("sqz_attention_s8", "k_scales", "ffi.NULL", "k_scales: expected a pointer, got NULL"),
        ("sqz_attention_s8", "ldv", 7, "v: expected a row stride >= 8, got 7"),
        ("sqz_attention_s8", "head_size", 2**17 + 1, "heads: expected at most 2^24 heads of 2^17 channels, got 2 of"),
        (
            "sqz_attention_s8",
            "k_offsets",
            "ffi.new('int32_t[3]', [0, 0, 65537])",
            "k_offsets: expected at most 2^16 keys",
        ),
        ("sqz_activation_f32", "activation", 99, "activation: expected a value from 0 to 4, got 99"),
    ]:
        status, message, _ = c(name, good(name) | {parameter: value})
        assert status == 1 and message.startswith(start), message


def test_ids_are_copied_before_they_are_checked(c):
    """Another thread may change them between the check and the use. More of them than memory holds show the copy."""
    for name in ("sqz_embedding_f32", "sqz_embedding_layer_norm_f32"):
        status, message, _ = c(name, good(name) | {"count": 2**57, "n": 0, "ldo": 0})
        assert (status, message) == (c.arrays["lib"].SQZ_NO_MEMORY, "ids: expected memory for a copy, got none")


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_wrong_convolutions(c, name):
    """Fields of the input, and those of a part, alone or after a good one."""
    fields, part = CONVOLUTIONS[name]

    def call(fields, *parts):
        pieces = c.arrays["ffi"].new("sqz_pwconv_part[]", [c.struct("sqz_pwconv_part *", p)[0] for p in parts])
        arguments = {"input": c.struct("sqz_pwconv_input *", fields), "count": len(parts), "parts": pieces}
        return c("sqz_pwconv", arguments)

    assert call(fields, part)[0] == 0 and call(fields, part, part)[0] == 0 and call(fields)[0] == 0
    for field, value in wrong("sqz_pwconv", fields):
        if (field, value) == ("q", "ffi.NULL"):
            continue  # is what makes it one of floats
        status, message, unchanged = call(fields | {field: value}, part)
        where = f"{field} = {value}: {status}, {message!r}"
        assert status == 1 and unchanged, where
        assert re.match(r"(parts\[0\]\.)?\w+: expected .+, got .+", message), where
    for field, value in wrong("sqz_pwconv", part):
        for before in ([], [part]):
            status, message, unchanged = call(fields, *before, part | {field: value})
            where = f"{field} = {value}: {status}, {message!r}"
            if value == "ffi.NULL" and field in ("bias", "residual"):
                assert status == 0, where
                continue
            assert status == 1 and unchanged, where
            named = {"ldr": "residual", "ldo": "out", "ldq_out": "q_out", "q_out": "q_out|out"}.get(field, field)
            anywhere = "groups|q_out|out" if field in ("groups", "c_out") else named
            start = rf"parts\[{len(before)}\]\.({named}|{anywhere}): expected .+, got .+"
            assert re.match(start, message), where


def test_bytes_for_other_weights(c):
    """A quantised input goes with int8 weights of its groups alone."""
    for other, start in [
        ({"dtype": "lib.SQZ_F32"}, "parts[0].dtype: expected int8 weights for a quantised input"),
        ({"groups": 1}, "parts[0].groups: expected those of the quantised input, 2, got 1"),
    ]:
        part = c.struct("sqz_pwconv_part *", CONVOLUTIONS["int8"][1] | other)
        arguments = {"input": c.struct("sqz_pwconv_input *", BYTES), "count": 1, "parts": part}
        status, message, unchanged = c("sqz_pwconv", arguments)
        assert status == 1 and unchanged and message.startswith(start), message


def test_too_many_scores(c):
    """Of sequences that fit, more scores than any memory holds."""
    offsets = "ffi.new('int32_t[3]', [0, 0, 2**31 - 1])"
    sizes = {"q_offsets": offsets, "k_offsets": offsets, "scores": "out", "heads": 2**20, "head_size": 0}
    status, message, _ = c("sqz_attention_f32", ATTENTION | sizes | {"mask_kind": 0})
    assert status == 1 and message.startswith("scores: expected fewer than 2^58 elements")


def test_an_unknown_isa(c):
    status, message, _ = c("sqz_force_isa", {"name": "ffi.new('char[]', b'avx1024')"})
    assert status == 3 and re.match("isa: expected an ISA that runs here .*, got 'avx1024'", message)


def test_a_peak_in_no_time():
    """However short, the loop runs: a rate, and not zero by zero."""
    from squeezeops.backends._buffers import ffi, lib

    rate = ffi.new("double *")
    for seconds in (5e-324, 1e-10):
        for peak in (lib.sqz_measure_fma, lib.sqz_measure_s8):
            assert peak(seconds, rate) == lib.SQZ_OK and 0 < rate[0] < float("inf")


def test_every_function_with_a_status_is_here():
    """Those of an argument struct are in test_c_front.py, of tokenizers in test_c_tokenizer.py, of models in
    test_c_model.py.
    """
    found = re.findall(r"^SQZ_API sqz_status (\w+)\(([^)]*)\)", TEXT, re.MULTILINE)
    statuses = {name for name, parameters in found if "_args *args" not in parameters or name in STRUCTS}
    statuses = {name for name in statuses if not name.startswith(("sqz_model_", "sqz_tokenizer_"))}
    assert statuses - {"sqz_force_isa"} == {*GOOD, *STRUCTS} - SIZES.keys() - PRIVATE.keys()
