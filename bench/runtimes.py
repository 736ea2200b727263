"""What it takes to classify a sentence in each runtime: start-up, time per sentence, memory.

    python -m bench.runtimes [--onnxruntime PYTHON] [--web FOLDER] [--node-modules FOLDER]

Runs the examples of examples/runtimes/ over the built-in model, each in a process of its own, on one thread. PyPy and
MicroPython come from tests/fetch_runtimes.py. PYTHON is an interpreter with onnx, onnxruntime and tokenizers, which
runs the same model, exported in float32. The folders are that of examples/web/build.py, and one into which npm
installed onnxruntime-web, which takes the sentence's ids: it has no tokenizer. Both run in node. The table goes to
docs/embedding.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from fetch_runtimes import command, root_of  # type: ignore[import-not-found]  # noqa: E402

import squeezeops  # noqa: E402

EXAMPLES = ROOT / "examples" / "runtimes"
MODEL = str(Path(squeezeops.__file__).parent / "models" / "sentiment" / "model.safetensors")
SENTENCE = "a gorgeous, witty, seductive movie"
MANY = 1001
# The package with NumPy, in the common way.
PACKAGE = """
import sys, squeezeops
classify = squeezeops.pipeline("text-classification", sys.argv[1])
for text in sys.argv[2:]:
    print(classify(text), text)
"""
# The model as bench.graph writes it.
ONNXRUNTIME = """
import sys
import numpy, onnxruntime, tokenizers
tokenizer = tokenizers.BertWordPieceTokenizer(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for text in sys.argv[3:]:
    logits = session.run(None, {"input_ids": numpy.array([tokenizer.encode(text).ids])})[0][0]
    print(*logits, text)
"""
NODE = """
import { readFileSync } from "node:fs";
const [, web, file, ...texts] = process.argv;
const { load } = await import(`${web}/squeezeops.js`);
const model = (await load()).openModel(readFileSync(file));
for (const text of texts) console.log(model.classify(text).label, text);
"""
ONNXRUNTIME_WEB = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const [, modules, file, given, ...texts] = process.argv;
const ort = createRequire(`${modules}/`)("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(file), { executionProviders: ["wasm"] });
const ids = BigInt64Array.from(given.split(","), BigInt);
for (const text of texts) {
  const results = await session.run({ input_ids: new ort.Tensor("int64", ids, [1, ids.length]) });
  console.log(...results[session.outputNames[0]].data, text);
}
"""
EXPORT = """
import json, sys
from pathlib import Path
import onnx
from bench import graph
from squeezeops.squeezebert.model.weights import load_folder
folder = Path(sys.argv[1])
graph.CONFIG.update(json.loads((folder / "config.json").read_text()))
weights = {name.removeprefix("transformer."): a.astype("float32") for name, a in load_folder(folder)[1].items()}
onnx.save(graph.build(weights, "conv1d", False, "text-classification"), sys.argv[2])
"""


# Linux counts the memory of the process that starts another as the other's, so a small one has to start it.
LAUNCHER = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct timespec begin, end;
  struct rusage usage;
  int status;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  if (argc > 1 && fork() == 0) {
    dup2(open("/dev/null", O_WRONLY), 1);
    execvp(argv[1], argv + 1);
    _exit(127);
  }
  wait4(-1, &status, 0, &usage);
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%.9f %ld\\n", end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) * 1e-9, usage.ru_maxrss * 1024);
  return status != 0;
}
"""


def timed(launcher: str, words: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a process."""
    done = subprocess.run([launcher, *words], env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{words[:3]} failed")
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak)


def programs(
    work: Path, onnxruntime: str | None, web: str | None, node_modules: str | None
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The command of each row, which takes sentences, and its environment."""
    library = squeezeops.get_library()
    program = str(work / "classify")
    flags = ["-O2", "-I", squeezeops.get_include(), library, f"-Wl,-rpath,{Path(library).parent}"]
    subprocess.run(["cc", str(EXAMPLES / "classify.c"), *flags, "-o", program], check=True)
    python, package = sys.executable, str(Path(squeezeops.__file__).parents[1])
    rows: dict[str, tuple[list[str], dict[str, str]]] = {
        "C": ([program, MODEL], {}),
        "CPython, ctypes": ([python, str(EXAMPLES / "classify_ctypes.py"), library, MODEL], {}),
        "CPython, cffi": ([python, str(EXAMPLES / "classify_cffi.py"), library, MODEL], {}),
        "CPython, NumPy": ([python, "-c", PACKAGE, MODEL], {"PYTHONPATH": package}),
    }
    if root := root_of("x86_64"):
        pypy, micropython = (command(root, "x86_64", name) for name in ("pypy3", "micropython"))
        rows["MicroPython"] = ([*micropython, str(EXAMPLES / "classify_micropython.py"), library, MODEL], {})
        rows["PyPy, cffi"] = ([*pypy, str(EXAMPLES / "classify_cffi.py"), library, MODEL], {})
        paths = {"PYTHONPATH": f"{root / 'site'}:{package}", "SQUEEZEOPS_BACKEND": "cffi"}
        rows["PyPy, NumPy"] = ([*pypy, "-c", PACKAGE, MODEL], paths)
    if onnxruntime:
        checkpoint, graph = ROOT / "examples" / "sentiment_checkpoint", str(work / "model.onnx")
        paths = {"PYTHONPATH": f"{ROOT}:{package}", "SQUEEZEOPS_BACKEND": "numpy"}
        subprocess.run([onnxruntime, "-c", EXPORT, str(checkpoint), graph], env={**os.environ, **paths}, check=True)
        words = [onnxruntime, "-c", ONNXRUNTIME, graph, str(checkpoint / "vocab.txt")]
        rows["CPython, onnxruntime"] = (words, {})
    node = ["node", "--input-type=module", "--eval"]
    if web:
        rows["node, WebAssembly"] = ([*node, NODE, os.path.abspath(web), MODEL], {})
    if onnxruntime and node_modules:
        ids = squeezeops.Tokenizer.from_pretrained(Path(MODEL).parent)(SENTENCE)["input_ids"]
        words = [*node, ONNXRUNTIME_WEB, os.path.abspath(node_modules), graph, ",".join(map(str, ids))]
        rows["node, onnxruntime-web"] = (words, {})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--onnxruntime", metavar="PYTHON", help="an interpreter that has it")
    parser.add_argument("--web", metavar="FOLDER", help="that of examples/web/build.py")
    parser.add_argument("--node-modules", metavar="FOLDER", help="has onnxruntime-web; needs --onnxruntime, too")
    parser.add_argument("--rounds", type=int, default=10, help="the shortest counts (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows, launcher = (
            programs(Path(work), arguments.onnxruntime, arguments.web, arguments.node_modules),
            str(Path(work) / "launcher"),
        )
        compiler = ["cc", "-O2", "-x", "c", "-", "-o", launcher]
        subprocess.run(compiler, input=LAUNCHER, text=True, check=True)
        one, many, memory = ({name: float("inf") for name in rows} for _ in range(3))
        for _ in range(arguments.rounds):
            for name, (words, more) in rows.items():
                environment = {**os.environ, "SQUEEZEOPS_NUM_THREADS": "1", **more}
                one[name] = min(one[name], timed(launcher, [*words, SENTENCE], environment)[0])
                seconds, peak = timed(launcher, [*words, *[SENTENCE] * MANY], environment)
                many[name], memory[name] = min(many[name], seconds), min(memory[name], peak)
        print("| runtime | start and one sentence, ms | a further sentence, us | peak memory, MB |")
        for name in rows:
            each = (many[name] - one[name]) / (MANY - 1)
            print(f"| {name} | {one[name] * 1e3:.0f} | {each * 1e6:.0f} | {memory[name] / 1e6:.1f} |")


if __name__ == "__main__":
    main()
