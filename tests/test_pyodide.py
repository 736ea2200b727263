"""The package in Pyodide, in node and in Chromium: the tokenizer in Python, and the C library through ctypes.

PYODIDE names the folder of the npm package; else it is looked for beside the node on PATH.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from limits import seconds
from test_wasm import TEXTS, build, classified, modules, node  # noqa: F401, fixtures
from test_web_page import address, chromium  # noqa: F401

import squeezeops

pytestmark = pytest.mark.full
ROOT = Path(__file__).parents[1]

PROGRAM = """
import json, sys, zipfile
zipfile.ZipFile("/tmp/package.zip").extractall("/tmp/package")
sys.path.insert(0, "/tmp/package")
import squeezeops_ctypes
from squeezeops import Tokenizer
assert "numpy" not in sys.modules
folder = "/tmp/package/squeezeops/models/sentiment"
library = squeezeops_ctypes.load("/tmp/squeezeops_relaxed.so", "/tmp/squeezeops.so")
model = squeezeops_ctypes.Model(library, open(folder + "/model.safetensors", "rb").read())
tokenizer = Tokenizer.from_pretrained(folder)
found = {"isa": library.sqz_isa_chosen().decode(), "python": [], "classified": []}
for text in TEXTS:
    ids = tokenizer([text])["input_ids"][0]
    found["python"].append([list(map(int, ids)), model.logits(ids)])
    found["classified"].append(model.classify(text))
try:
    model.classify(" ")
except squeezeops_ctypes.SqueezeopsError as error:
    found["error"] = [error.status, str(error)]
model.close()
json.dumps(found)
"""


@pytest.fixture(scope="module")
def files(modules, tmp_path_factory):  # noqa: F811
    """Paths in Pyodide's file system, and the files that go there."""
    package = tmp_path_factory.mktemp("package") / "package.zip"
    source = Path(squeezeops.__file__).parent
    with zipfile.ZipFile(package, "w") as archive:
        for path in [*source.rglob("*.py"), *source.rglob("*.safetensors")]:
            archive.write(path, Path("squeezeops") / path.relative_to(source))
        archive.write(ROOT / "examples" / "web" / "squeezeops_ctypes.py", "squeezeops_ctypes.py")
    if not (modules / "squeezeops.so").exists():
        build.build_side_modules(modules, modules.parent / "objects")
    sides = {f"/tmp/{name}": modules / name for name in ("squeezeops.so", "squeezeops_relaxed.so")}
    return {"/tmp/package.zip": package, **sides}


@pytest.fixture(scope="module")
def pyodide(node):  # noqa: F811
    """The folder of the npm package."""
    given = os.environ.get("PYODIDE")
    beside = Path(node).resolve().parents[2] / "pyodide"
    folder = Path(given) if given else beside
    if not (folder / "pyodide.mjs").exists():
        pytest.skip(reason="there is no pyodide (npm install pyodide)")
    return folder


def check(text, isa):
    found = json.loads(text)
    assert found["isa"] == isa
    for text, (ids, logits), result, wanted in zip(
        TEXTS, found["python"], found["classified"], classified(TEXTS), strict=True
    ):
        assert len(ids) == result["tokens"], text
        assert logits == result["logits"]
        if isa == "wasm_relaxed":
            assert np.float32(logits).tobytes() == wanted.tobytes()
        else:
            np.testing.assert_allclose(logits, wanted, rtol=2e-5, atol=2e-5)
    assert found["error"] == [1, "text: expected a text that is not blank, got a blank one"]


@pytest.mark.parametrize(("options", "isa"), [((), "wasm_relaxed"), (("--no-enable-fma3",), "wasm_simd128")])
def test_in_node(files, pyodide, node, options, isa):  # noqa: F811
    request = {
        "pyodide": (pyodide / "pyodide.mjs").as_uri(),
        "program": f"TEXTS = {TEXTS!r}\n{PROGRAM}",
        "files": {path: str(source) for path, source in files.items()},
    }
    command = [node, *options, ROOT / "tests" / "wasm" / "pyodide_host.mjs"]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, timeout=seconds(200))
    assert done.returncode == 0, done.stderr
    check(done.stdout, isa)


def test_in_chromium(files, pyodide, chromium, address, modules):  # noqa: F811
    for name in ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"):
        shutil.copy(pyodide / name, modules / name)
    shutil.copy(ROOT / "tests" / "wasm" / "pyodide_host.mjs", modules)
    shutil.copy(files["/tmp/package.zip"], modules)
    page = chromium().new_context().new_page()
    page.goto(address)
    text = page.evaluate(
        """async ([program, names]) => {
          const { loadPyodide } = await import("/pyodide.mjs");
          const { runProgram } = await import("/pyodide_host.mjs");
          const files = {};
          for (const name of names) files["/tmp/" + name] = new Uint8Array(await (await fetch(name)).arrayBuffer());
          return runProgram(loadPyodide, { program, files });
        }""",
        [f"TEXTS = {TEXTS!r}\n{PROGRAM}", [Path(path).name for path in files]],
    )
    check(text, "wasm_relaxed")
    page.context.close()


def test_the_same_module_in_this_python():
    path = ROOT / "examples" / "web" / "squeezeops_ctypes.py"
    spec = importlib.util.spec_from_file_location("squeezeops_ctypes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(module.load(squeezeops.get_library()), build.MODEL.read_bytes())
    for text, wanted in zip(TEXTS, classified(TEXTS), strict=True):
        assert np.float32(model.classify(text)["logits"]).tobytes() == wanted.tobytes()
    with pytest.raises(module.SqueezeopsError, match="header: expected"):
        module.Model(module.load(squeezeops.get_library()), b"no model")
    model.close()
