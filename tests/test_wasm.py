"""The WebAssembly modules in node and in wasmtime: the golden bits, or a tolerance, op by op; models; other hosts.

SQUEEZEOPS_WEB names a folder with modules that are built already; else the tests build them (examples/web/build.py), as
docs/web.md does.
"""

import ctypes
import importlib.util
import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import golden_bits
import numpy as np
import pytest
from limits import seconds

import squeezeops
from squeezeops import backends, ops

pytestmark = pytest.mark.runtimes
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "wasm"), str(ROOT / "examples" / "web")]
import binding  # noqa: E402
import hosts  # noqa: E402

import build  # noqa: E402

MODULES = {isa: name for name, isa in build.MODULES.items()}
RELAXED = [0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0]
RELAXED += [32, 0, 32, 1, 32, 2, 253, 133, 2, 11]  # a module with f32x4.relaxed_madd


@pytest.fixture(scope="session")
def modules(tmp_path_factory):
    """The folder of the two modules."""
    if given := os.environ.get("SQUEEZEOPS_WEB"):
        return Path(given)
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip(reason="there is no ziglang (pip install '.[runtimes]')")
    folder = tmp_path_factory.mktemp("web")
    build.build_page(folder / "page", folder / "objects", "-DSQUEEZEOPS_WERROR=ON")
    return folder / "page"


@pytest.fixture(scope="session")
def node():
    """The path of a node that has relaxed SIMD: version 24 or later."""
    found = shutil.which("node")
    check = f"process.exit(WebAssembly.validate(new Uint8Array({RELAXED})) ? 0 : 1)"
    if found is None or subprocess.run([found, "-e", check]).returncode:
        pytest.skip(reason="there is no node with relaxed SIMD (npm install node)")
    return found


@pytest.fixture(scope="session")
def run_module(request, modules):
    """A function that starts a module on a host, and returns it as a backend."""
    running = {}

    def start(isa, host, *options):
        if (isa, host, options) not in running:
            path = modules / MODULES[isa]
            if host == "node":
                running[isa, host, options] = hosts.Node(path, request.getfixturevalue("node"), *options)
            else:
                pytest.importorskip("wasmtime", reason="there is no wasmtime (pip install '.[runtimes]')")
                running[isa, host, options] = hosts.Wasmtime(path)
        return binding.Module(running[isa, host, options])

    yield start
    for host in running.values():
        host.close()


@pytest.fixture(params=["node", "wasmtime"])
def host(request):
    return request.param


@pytest.fixture(params=MODULES)
def isa(request):
    return request.param


@pytest.fixture
def module(run_module, isa, host, monkeypatch):
    """A module on a host, as the backend in force."""
    found = run_module(isa, host)
    monkeypatch.setitem(backends._loaded, "wasm", found)
    with ops.backend("wasm"):
        yield found


def expected(run):
    """What the native kernels give."""
    with ops.backend("native"):
        return run()


def test_the_module_says_what_it_is(module, isa):
    info = module.cpu_info()
    assert info["isa"] == isa and info["isas"] == info["compiled"] == [isa]
    assert info["kernels"] and all(symbol.endswith(isa) for symbol in info["kernels"].values())
    assert module.text(module.call("sqz_version")) == squeezeops.__version__
    assert module.get_num_threads() == 1


def test_the_module_imports_nothing(modules, isa):
    wasmtime = pytest.importorskip("wasmtime", reason="there is no wasmtime (pip install '.[runtimes]')")
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(modules / MODULES[isa]))
    assert [imported.name for imported in module.imports] == []
    assert (modules / MODULES[isa]).stat().st_size <= build.LIMIT


def test_golden_bits(module, isa):
    """All bits with relaxed SIMD, on this processor, which has FMA; without, those of int8."""
    golden = json.loads(golden_bits.FILE.read_text())
    same = isa not in golden_bits.TO_TOLERANCE
    ran = 0
    for name, run in golden_bits.all_cases().items():
        if same or not golden_bits.has_floats(name):
            assert golden_bits.digest(run()) == golden[name], name
            ran += 1
    assert ran == (len(golden) if same else sum(not golden_bits.has_floats(name) for name in golden)) > 30


@pytest.mark.parametrize("isa", golden_bits.TO_TOLERANCE & MODULES.keys(), indirect=True)
def test_close_where_bits_differ(module):
    """The tolerance that docs/web.md states."""
    for name, run in golden_bits.all_cases().items():
        if "every_kind" in name or "wide" in name:
            continue  # near overflow and underflow a small difference becomes a large one
        np.testing.assert_allclose(run(), expected(run), rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("isa", golden_bits.TO_TOLERANCE & MODULES.keys())
def test_hosts_agree(run_module, isa, monkeypatch):
    """Multiplication and addition are IEEE, so the hosts have the same bits, whatever their processors."""
    found = []
    for host in ("node", "wasmtime"):
        monkeypatch.setitem(backends._loaded, "wasm", run_module(isa, host))
        with ops.backend("wasm"):
            found.append({name: golden_bits.digest(run()) for name, run in golden_bits.all_cases().items()})
    assert found[0] == found[1]


def test_errors_have_the_texts_of_the_front(module):
    x = np.zeros((2, 3), np.float32)
    for call in (
        lambda: ops.softmax(x.astype(np.float64)),
        lambda: ops.layer_norm(x, np.zeros(4, np.float32)),
        lambda: ops.pointwise_conv(x, np.zeros((4, 2), np.float32), groups=2),
        lambda: ops.embedding(np.array([7]), x),
        lambda: ops.attention(x[None], x[None], x[None], num_heads=2),
    ):
        with pytest.raises((TypeError, ValueError)) as of_wasm:
            call()
        with ops.backend("native"), pytest.raises(of_wasm.type) as of_native:
            call()
        assert str(of_wasm.value) == str(of_native.value)


def test_without_fused_multiply_add(run_module):
    """Where relaxed_madd rounds twice, the relaxed module says so and computes nothing; a page takes the other."""
    module = run_module("wasm_relaxed", "node", "--no-enable-fma3")
    if module.call("sqz_isa_chosen"):
        pytest.skip(reason="this processor fuses without the flags of x86")
    message = "isa: expected a processor for one of this build (wasm_relaxed), got another"
    assert module.text(module.call("sqz_error_message")) == message
    with pytest.raises(ValueError, match=re.escape(message)):
        module.gelu(np.zeros(16, np.float32), "none", None)


# The ES module.

TEXTS = ["a gorgeous, witty, seductive movie", "no", "The battery dies in an hour; I want my money back!", "Café 🎉"]


def classified(texts):
    """Logits of the built-in model, natively."""
    from squeezeops import SqueezeBert, Tokenizer
    from squeezeops.pipelines import default_model

    with ops.backend("native"):
        model, tokenizer = SqueezeBert.from_pretrained(default_model()), Tokenizer.from_pretrained(default_model())
        batches = [tokenizer([text]) for text in texts]
        return [model(b["input_ids"], b["attention_mask"], b["token_type_ids"]).logits[0] for b in batches]


def javascript(node, folder, body, *options):
    """Run lines of JavaScript beside the ES module; return what they give to `print`, as JSON."""
    script = f"""
        import {{ load, Status }} from {json.dumps((folder / "squeezeops.js").as_uri())};
        import {{ readFileSync }} from "node:fs";
        const file = readFileSync({json.dumps(str(folder / "sentiment.safetensors"))});
        const print = (value) => console.log(JSON.stringify(value));
        const caught = async (run) => {{
          try {{ await run(); return null; }} catch (error) {{ return [error.name, error.status, error.message]; }}
        }};
        {body}"""
    command = [node, *options, "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds(120))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_in_node(modules, node, isa):
    body = f"""
        const library = await load({{ isa: "{isa}" }});
        const model = library.openModel(file);
        print([library.isa, model.labels, {json.dumps(TEXTS)}.map((text) => model.classify(text))]);
        model.close();"""
    found, labels, results = javascript(node, modules, body)
    assert found == isa and labels == ["NEGATIVE", "POSITIVE"]
    for result, wanted in zip(results, classified(TEXTS), strict=True):
        if isa in golden_bits.TO_TOLERANCE:
            np.testing.assert_allclose(result["logits"], wanted, rtol=2e-5, atol=2e-5)
        else:
            assert np.float32(result["logits"]).tobytes() == wanted.tobytes()
        assert result["label"] == labels[int(np.argmax(wanted))] and result["score"] == max(result["scores"])


def test_a_model_in_wasmtime(run_module, modules, isa):
    """The fields of sqz_model_classify_args as in squeezeops.js."""
    module = run_module(isa, "wasmtime")
    data = (modules / "sentiment.safetensors").read_bytes()
    room = module.allocate(len(data) + 64 + 256)
    file = room + -room % 64
    args = file + len(data) + -len(data) % 64
    module.host.exchange([(file, data), (args, bytes(128))])
    assert module.call("sqz_model_open_memory", file, len(data), 0, args) == 0
    (handle,) = struct.unpack("<Q", module.read(args, 8))
    for text, wanted in zip(TEXTS, classified(TEXTS), strict=True):
        encoded, at = text.encode(), module.put_text(text)
        fields = struct.pack("<IxxxxQIxxxxqIiII24x", 72, handle, at, len(encoded), 0, 1, args + 72, args + 96)
        module.host.exchange([(args, fields)])
        assert module.call("sqz_model_classify", args) == 0
        logits = np.frombuffer(module.read(args + 72, 8), np.float32)
        if isa in golden_bits.TO_TOLERANCE:
            np.testing.assert_allclose(logits, wanted, rtol=2e-5, atol=2e-5)
        else:
            assert logits.tobytes() == wanted.tobytes()
    assert module.call("sqz_model_close", str(handle)) == 0


def test_bad_input_to_the_es_module(modules, node):
    body = """
        const library = await load();
        const model = library.openModel(file);
        print([
          await caught(() => library.openModel(new Uint8Array(100))),
          await caught(() => library.openModel(file.subarray(0, 50000))),
          await caught(() => library.openModel(new Uint8Array(0))),
          await caught(() => model.classify(" ")),
          await caught(() => load({ isa: "avx2" })),
          await caught(() => { model.close(); model.classify("no"); }),
        ]);"""
    for error in javascript(node, modules, body):
        assert error is not None
        name, status, message = error
        assert (name, status) == ("SqueezeopsError", 1) and re.match(r"\w+: expected .*, got ", message), message


def test_hosts_without_simd(modules, node):
    """A status and a message, never a trap."""
    body = "print(await caught(load));"
    for option, lacks in (("--no-enable-sse4-1", "WebAssembly SIMD"), ("--jitless", "WebAssembly")):
        error = javascript(node, modules, body, option)
        if error is None:
            pytest.skip(reason="this processor has SIMD without the flags of x86")
        assert error == ["SqueezeopsError", 3, f"host: expected one with {lacks}, got one without"]


def test_the_page_takes_the_other_build(modules, node):
    body = "print([(await load()).isa, await caught(() => load({ isa: 'wasm_relaxed' }))]);"
    assert javascript(node, modules, body) == ["wasm_relaxed", None]
    isa, error = javascript(node, modules, body, "--no-enable-fma3")
    if isa == "wasm_relaxed":
        pytest.skip(reason="this processor fuses without the flags of x86")
    assert isa == "wasm_simd128" and error[:2] == ["SqueezeopsError", 3] and error[2].startswith("isa: expected")


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """What the module has in place of functions of the C library, compiled for this machine."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip(reason="there is no cc")
    source, library = ROOT / "csrc" / "package" / "wasm.c", tmp_path_factory.mktemp("functions") / "wasm.so"
    subprocess.run(
        [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True
    )
    return ctypes.CDLL(str(library))


def test_numbers_of_the_module(functions):
    """The module's own strtod rounds as Python does: any digits, halfway cases, subnormal numbers, the ends."""
    strtod = functions.sqz_strtod
    strtod.restype, strtod.argtypes = ctypes.c_double, [ctypes.c_char_p, ctypes.c_void_p]
    rng = random.Random(0)
    texts = [
        "0e0",
        "-0e0",
        "17976931348623158e292",
        "17976931348623159e292",
        "24703282292062328e-340",
        "9" * 40 + "e270",
    ]
    texts += ["24703282292062327e-340", "22250738585072011e-324", "1e310", "1e400", "1e-401", "7" * 40 + "e-9999"]
    texts += [f"{2 * rng.randint(2**52, 2**53 - 1) + 1}e0" for _ in range(500)]  # halfway between two doubles
    for _ in range(3000):
        digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((1, 5, 16, 17, 18, 40))))
        texts.append(f"{rng.choice(('', '-'))}{digits}e{rng.choice((rng.randint(-30, 30), rng.randint(-365, 320)))}")
    for text in texts:
        assert struct.pack("<d", strtod(text.encode(), None)) == struct.pack("<d", float(text)), text


def printed(functions, form, *values, size=200):
    """What the module's own snprintf writes."""
    text = ctypes.create_string_buffer(size)
    functions.sqz_snprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p]
    length = functions.sqz_snprintf(text, size, form.encode(), *values)
    return length, text.value.decode()


def test_real_numbers_in_messages_of_the_module(functions):
    """As Python writes them: six digits, ties to even, with and without an exponent, subnormal numbers, no numbers."""
    rng = random.Random(0)
    numbers = [0.0, -0.0, math.inf, -math.inf, math.nan, 999999.5, 999998.5, 9.9999949, 3.4028234663852886e38]
    numbers += [10.0**k for k in range(-323, 309)] + [-(2.0**k) for k in range(-1074, 1024)]
    numbers += [rng.randint(0, 2 * 10**6) / 2 for _ in range(1000)]
    numbers += struct.unpack("<3000d", rng.randbytes(24000))
    for number in numbers:
        assert (
            printed(functions, "%g", ctypes.c_double(number))[1].removeprefix("-" * (number != number)) == f"{number:g}"
        )


def test_messages_of_the_module(functions):
    """Its own snprintf has all conversions that the messages of the library use."""
    files = [file for part in ("api", "isa", "model", "run", "text") for file in (ROOT / "csrc" / part).glob("*.cc")]
    source = "".join(file.read_text(encoding="utf-8") for file in [*files, *(ROOT / "csrc").glob("*.cc")])
    lines = [line for line in source.splitlines() if not line.lstrip().startswith("//")]
    literals = re.findall(r'"((?:[^"\\\n]|\\.)*)"', "\n".join(lines))
    used = {found for text in literals for found in re.findall(r"%(?:\.(?:\d+|\*))?(?:[0-9]+|ll|z)?[a-zA-Z]", text)}
    assert {"%s", "%d", "%lld", "%g", "%.*s"} <= used
    assert {re.sub(r"\d+", "n", one) for one in used} <= {
        *("%s", "%.*s", "%.ns", "%d", "%u", "%lld", "%llu", "%zu", "%nx", "%g"),
    }
    form = "%s|%.*s|%.3s|%02x|%d|%u|%lld|%llu|%zu|%%"
    values = [b"abc", 2, b"abc", b"abcdef", 10, -5, ctypes.c_uint(2**32 - 1), ctypes.c_longlong(-(2**63))]
    values += [ctypes.c_ulonglong(2**64 - 1), ctypes.c_size_t(0)]
    expected = "abc|ab|abc|0a|-5|4294967295|-9223372036854775808|18446744073709551615|0|%"
    assert printed(functions, form, *values) == (len(expected), expected)
    assert printed(functions, "%s", b"abcdef", size=4) == (6, "abc")
