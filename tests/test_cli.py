"""The command line: streams, signals, progress, errors and exit status, with the built-in model."""

import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from cli_helpers import COMMAND, PACKAGE, Terminal, caller, check_error, environment, on_posix, output, run, start
from limits import seconds
from model_helpers import CHECKPOINT

import squeezeops
from squeezeops import cli, ops
from squeezeops.backends import HOW_TO_GET
from squeezeops.cli import running
from squeezeops.cli.tasks import COMMANDS
from squeezeops.packing import TARGETS
from squeezeops.pipelines import default_model, pipeline
from squeezeops.squeezebert.model.heads import HEADS
from squeezeops.squeezebert.model.storage import ATTENTIONS

POSITIVE = "a gorgeous, witty, seductive movie"
NEGATIVE = "a terrible waste of time"
LINES = [POSITIVE, NEGATIVE, "I loved every minute of it", "dull, lifeless and far too long"]
TOO_LONG = "good " * 3000
BENCH = ["bench", "tanh", "--shape", "tokens=5,channels=8", "--backend", "numpy", "--seconds", "0.0001"]
# Unbuffered, argparse would meet a closed pipe and ignore it.
BUFFERED = {"stderr": subprocess.PIPE, "env": environment(PYTHONUNBUFFERED="")}


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


# ---- classify: what it prints ----------------------------------------------------------------------------------------


def test_one_text():
    out = output(run("classify", POSITIVE))
    assert re.fullmatch(rf"POSITIVE\t0\.\d{{4}}\t{POSITIVE}\n", out.replace(os.linesep, "\n"))


def test_texts_in_order(call):
    status, out, err = call("classify", *LINES)
    results = zip(LINES, pipeline("text-classification")(LINES), strict=True)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{result['label']}\t{result['score']:.4f}\t{text}" for text, result in results]
    assert [line.split("\t")[0] for line in out.splitlines()] == ["POSITIVE", "NEGATIVE", "POSITIVE", "NEGATIVE"]


def test_output_of_any_encoding():
    text = "a naïve film 🙂"
    out = output(run("classify", text, PYTHONIOENCODING="ascii"))
    assert out.rstrip().endswith("\ta na\\xefve film \\U0001f642")
    out = output(run("classify", "--json", text, PYTHONIOENCODING="ascii"))
    assert json.loads(out)["text"] == text and "naïve" in out


# ---- classify: what it reads -----------------------------------------------------------------------------------------


def test_lines_longer_than_a_read(call):
    texts = ["good " * 30_000, "bad", "so " * 40_000 + "bad"]
    out = output(call("classify", "--truncation", "--json", "--input", "-", stdin="\n".join(texts).encode()))
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts


def test_other_model(call, tmp_path):
    shutil.copytree(CHECKPOINT, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace("POSITIVE", "THUMBS_UP"))
    out = output(call("classify", "--model", path.parent, "--dtype", "float32", POSITIVE))
    assert out.startswith("THUMBS_UP\t")


# ---- pipes and signals -----------------------------------------------------------------------------------------------


@on_posix
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_quietly(number, expected):
    with start("classify", "--input", "-") as process:
        process.stdin.write(f"{POSITIVE}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"POSITIVE")  # it now waits for the next line
        process.send_signal(number)
        assert process.wait(timeout=seconds(60)) == expected
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_info_without_an_output(call, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    check_error(call("info"), "error: standard output is closed$")


@on_posix
def test_sigterm_ends_a_command_blocked_on_its_output(tmp_path):
    """Buffered output that cannot be written is discarded."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    (tmp_path / "texts").write_text("\n".join(LINES * 2000))
    with start("classify", "--input", str(tmp_path / "texts")) as process:
        before, unread = 0, 0
        while unread < 32 << 10 or unread > before:  # until the pipe is full
            time.sleep(0.2)
            size = fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4))
            before, unread = unread, int.from_bytes(size, sys.byteorder)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=seconds(60)) == 143
        finally:
            process.kill()
        assert process.stderr.read() == b""


@on_posix
def test_sigterm_is_left_to_a_caller(call):
    """A Python caller of main() keeps its own handler. In another thread, no handler is set."""
    assert call("classify", "good")[0] == 0
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert call("classify", "good")[0] == 0
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(cli.main(["classify", "good"])))
    thread.start()
    thread.join()
    assert statuses == [0]


@on_posix
def test_closed_pipe_ends_quietly(tmp_path):
    (tmp_path / "texts").write_text("\n".join(LINES * 2000))
    with start("classify", "--input", str(tmp_path / "texts")) as process:
        assert process.stdout.readline().startswith(b"POSITIVE")
        process.stdout.close()
        assert process.wait(timeout=seconds(120)) == 141
        assert process.stderr.read() == b""


@on_posix
@pytest.mark.parametrize("arguments", [["--help"], ["classify", POSITIVE], ["info"], BENCH])
def test_pipe_closed_from_the_start(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments], stdout=writer, timeout=seconds(120), **BUFFERED)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "classify", POSITIVE], stdout=full, timeout=seconds(120), **BUFFERED)
    assert (done.returncode, done.stderr) == (2, b"squeezeops: error: No space left on device\n")


@on_posix
@pytest.mark.parametrize(
    ("arguments", "redirection", "message"),
    [
        ("--input -", "<&-", b"squeezeops: error: --input: standard input is closed\n"),
        ("--input -", ">&-", b"squeezeops: error: standard output is closed\n"),
        ("good --dtype int7", "2>&-", b""),  # the message is lost: standard output is for results only
    ],
)
def test_closed_standard_streams(arguments, redirection, message):
    command = " ".join([*COMMAND, "classify", arguments, redirection])
    done = subprocess.run(
        command, shell=True, input=b"good\n", capture_output=True, env=environment(), timeout=seconds(120), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", message)


# ---- progress --------------------------------------------------------------------------------------------------------


@pytest.fixture
def progress(call, monkeypatch, tmp_path):
    """A function that classifies LINES with standard error as a terminal, and returns what is shown there.

    The stream is replaced in the call, not here: pytest's capture replaces it again after the set-up.
    """
    monkeypatch.setattr(cli.progress, "DELAY", 0.0)
    (tmp_path / "texts").write_text("\n".join(LINES))

    def progress(stdout=None):
        monkeypatch.setattr(sys, "stderr", Terminal())
        if stdout is not None:
            monkeypatch.setattr(sys, "stdout", stdout)
        out = output(call("classify", "--input", tmp_path / "texts"))
        assert len((stdout.getvalue() if stdout else out).splitlines()) == len(LINES)
        return sys.stderr.getvalue()

    return progress


def test_progress_on_a_terminal(progress):
    shown = progress()
    assert "4 texts  100 %" in shown and " per second" in shown and shown.endswith("\n")


def test_no_progress_among_the_results(progress):
    assert progress(Terminal()) == ""


# ---- errors ----------------------------------------------------------------------------------------------------------

NUMBER = "expected a whole number of"
ERRORS = {
    "unknown command": (["train"], "invalid choice: 'train'"),
    "unknown option": (["classify", "good", "--colour"], "unrecognized arguments: --colour"),
    "text with a dash": (
        ["classify", "good", "-bad"],
        "unrecognized arguments: -bad (see squeezeops classify --help; -- goes before texts that start with a dash)",
    ),
    "unknown options": (["bench", "--colour"], "unrecognized arguments: --colour (see squeezeops bench --help)"),
    "no texts": (["info", "good"], "unrecognized arguments: good (see squeezeops info --help)"),
    "no abbreviations": (["classify", "good", "--trunc"], "unrecognized arguments: --trunc"),
    "empty text": (["classify", "good", ""], "text 2: expected a non-empty text, got ''"),
    "zero threads": (["classify", "good", "--threads", "0"], f"--threads: {NUMBER} at least 1, got '0'"),
    "many threads": (["classify", "good", "--threads", "257"], f"--threads: {NUMBER} at most 256, got '257'"),
    "no number": (["classify", "good", "--threads", "two"], f"--threads: {NUMBER} at least 1, got 'two'"),
    "bad top-k": (["classify", "good", "--top-k", "-1"], f"--top-k: {NUMBER} at least 1, got '-1'"),
    "bad batch size": (["classify", "good", "--batch-size", "0"], f"--batch-size: {NUMBER} at least 1, got '0'"),
    "huge batch size": (["classify", "good", "--batch-size", "1" + "0" * 20], "--batch-size: expected a whole number"),
    "top-k and all": (["classify", "good", "--top-k", "1", "--all"], "--all: not allowed with argument --top-k"),
    "unknown dtype": (["classify", "good", "--dtype", "float99"], "argument --dtype: invalid choice: 'float99'"),
    "unknown attention": (["classify", "good", "--attention", "int4"], "argument --attention: invalid choice: 'int4'"),
    "too long": (["classify", "good", TOO_LONG], r"text 2: expected at most \d+ tokens, .* \(--truncation cuts it\)"),
    "no length": (["classify", "good", "--max-length", "0"], f"--max-length: {NUMBER} at least 1, got '0'"),
    "length without room": (["classify", "good", "--max-length", "1"], "error: --max-length: expected "),
    "empty model": (["classify", "good", "--model", ""], "error: '': expected a folder"),
    "missing input": (["classify", "--input", "no/such/file"], "no/such/file: No such file or directory"),
}


@pytest.mark.parametrize("arguments, pattern", ERRORS.values(), ids=ERRORS.keys())
def test_error(call, arguments, pattern):
    if "\\" not in pattern:
        pattern = re.escape(pattern)
    check_error(call(*arguments), pattern)


BAD_LINES = {
    "not UTF-8": (b"good\nbad \xff\nugly\n", 1, "line 2: expected UTF-8, got the byte 0xff at position 5"),
    "UTF-16": ("good\nbad\n".encode("utf-16"), 0, "line 1: expected UTF-8, got the byte 0x"),
    "cut off": (b"good\nbad \xc3", 1, "line 2: expected UTF-8, got the byte 0xc3 at position 5"),
    "blank": (b"good\n\n \nbad\n", 1, "line 2: expected a text, got a blank line"),
    "too long": (f"good\nbad\n{TOO_LONG}\n".encode(), 2, "line 3: expected at most "),
    "later batch": (b"good\n" * 100 + TOO_LONG.encode(), 100, "line 101: expected at most "),
}


@pytest.mark.parametrize("content, before, message", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_bad_line(call, tmp_path, content, before, message):
    """The error names the line. The lines before it have been answered."""
    path = tmp_path / "texts"
    path.write_bytes(content)
    for name, source, stdin in ((str(path), path, b""), ("standard input", "-", content)):
        out = check_error(call("classify", "--input", source, stdin=stdin), re.escape(f"{name}: {message}"))
        assert len(out.splitlines()) == before


@on_posix
def test_argument_that_is_not_utf8():
    check_error(run("classify", "good", b"bad \xff", PYTHONUTF8="1"), "text 2: expected valid UTF-8")


def test_broken_model(call, tmp_path):
    check_error(call("classify", "good", "--model", tmp_path), r"config\.json")
    folder = tmp_path / "model"
    shutil.copytree(default_model(), folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    check_error(call("classify", "good", "--model", folder), r"model\.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "README.md").write_text("a model was here")
    check_error(call("classify", "good", "--model", folder), r"config\.json")


def test_input_is_a_folder(call, tmp_path):
    check_error(call("classify", "--input", tmp_path), re.escape(str(tmp_path)))


@pytest.mark.parametrize("arguments", [["classify", "good"], ["info"]])
def test_unknown_backend(arguments):
    check_error(run(*arguments, SQUEEZEOPS_BACKEND="abacus"), "SQUEEZEOPS_BACKEND: expected one of .*'abacus'")


def test_unexpected_errors(call, monkeypatch):
    def fail(command, arguments):
        raise RuntimeError("two\n  lines")

    monkeypatch.setattr(running, "load", fail)
    check_error(call("classify", "good"), "RuntimeError: two lines")


def test_debug_shows_the_traceback(call, monkeypatch):
    monkeypatch.setenv("SQUEEZEOPS_DEBUG", "1")
    status, _, err = call("classify", "")
    assert status == 2
    assert err.startswith("Traceback") and err.splitlines()[-1].startswith("squeezeops: error: text 1: ")
    monkeypatch.setenv("SQUEEZEOPS_DEBUG", "0")
    check_error(call("classify", ""), "text 1: ")


# ---- help, version, info ---------------------------------------------------------------------------------------------


NAMES = [*(command.name for command in COMMANDS), "convert", "check", "info", "doctor", "bench"]


def test_help(call):
    """Also without any argument. Its example runs."""
    out = output(call("--help"))
    words = shlex.split(re.findall(r"^example: (.*)$", out, re.MULTILINE)[0])
    assert words[0] == "squeezeops" and output(call(*words[1:])).startswith("POSITIVE")
    assert out.startswith("usage: squeezeops ") and all(
        re.search(f"^ +{name}$|^ +{name} ", out, re.M) for name in NAMES
    )
    assert output(call()) == out


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command(call, name):
    """It has examples that the parser accepts, and names the words to choose from."""
    out = output(call(name, "--help"))
    assert out.startswith(f"usage: squeezeops {name}") and max(map(len, out.splitlines())) <= 120
    examples = re.findall(rf"^  squeezeops ({name}\b.*?)(?:  .*| > .*)?$", out, re.MULTILINE)
    assert examples
    for example in examples:
        arguments, unknown = cli._parser().parse_known_args(shlex.split(example))
        assert not unknown and arguments.run, example
    choices = {"--dtype": TARGETS, "--attention": ATTENTIONS, "--task": HEADS, "--backend": HOW_TO_GET}
    for option, words in choices.items():
        if option in out:
            assert all(word in re.sub(r"\s+", "", out) for word in words), option  # argparse breaks lines at hyphens
    if "--model" in out:
        assert "built-in" in out


def test_version(call):
    for option in ("-V", "--version"):
        assert call(option) == (0, f"squeezeops {squeezeops.__version__}\n", "")


def test_info(call):
    out = output(call("info"))
    facts = squeezeops.__version__, platform.python_version(), ops.get_backend(), str(default_model())
    assert all(fact in out for fact in (*facts, *ops.cpu_info()["kernels"].values()))


def test_info_as_json(call):
    status, out, err = call("info", "--json")
    facts = json.loads(out)
    assert (status, err) == (0, "")
    assert facts["squeezeops"] == squeezeops.__version__
    assert facts["python"] == platform.python_version()
    assert facts["backend"] == ops.get_backend() and facts["backends"] == ops.available_backends()
    assert facts["threads"] == ops.get_num_threads() >= 1
    assert facts["cpu"] == ops.cpu_info()
    assert facts["model"]["path"] == str(default_model() / "model.safetensors")
    assert facts["model"]["bytes"] == (default_model() / "model.safetensors").stat().st_size
    assert facts["model"]["dtype"] == "int8" and facts["model"]["parameters"] == 945_698


def test_info_names_missing_instruction_sets(call, monkeypatch):
    cpu = {
        "isas": ["avx2", "scalar"],
        "isa": "avx2",
        "compiled": ["avx2", "scalar"],
        "missing": {"avx512": "the compiler lacks -mavx512f"},
        "kernels": {"softmax": "softmax_f32_avx2", "tanh": "tanh_f32_avx2"},
    }
    monkeypatch.setattr(ops, "cpu_info", lambda: cpu)
    out = output(call("info"))
    assert "avx2 (runnable here: avx2, scalar)" in out
    assert "avx512: the compiler lacks -mavx512f" in out
    assert "softmax: softmax_f32_avx2" in out and "tanh: tanh_f32_avx2" in out


def test_without_the_native_extension(tmp_path):
    """A copy of the package as a build without a compiler creates it."""
    built = ("*.so", "*.so.*", "include", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "squeezeops", ignore=shutil.ignore_patterns(*built))
    (tmp_path / "squeezeops" / "_pure").touch()
    environment = {key: value for key, value in os.environ.items() if key != "SQUEEZEOPS_BACKEND"}
    environment["PYTHONPATH"] = str(tmp_path)

    def run(*arguments):
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, env=environment, timeout=seconds(120), cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    out = run("info")
    assert "numpy (available: numpy" in out
    assert "the native extension is not built" in out
    assert {"numpy"} <= set(json.loads(run("info", "--json"))["backends"]) <= {"numpy", "numba"}
    assert run("classify", POSITIVE).startswith("POSITIVE\t")


def test_labels_stay_in_their_column(tmp_path, call):
    folder = tmp_path / "model"
    shutil.copytree(CHECKPOINT, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "A\tB\nC", "1": "A\tB\nC!"}
    config.pop("label2id", None)
    (folder / "config.json").write_text(json.dumps(config))
    status, out, err = call("classify", "--model", folder, "good")
    assert (status, err, out.count("\t"), out.count("\n")) == (0, "", 2, 1)
