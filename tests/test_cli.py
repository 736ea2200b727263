"""The command line: arguments, output, errors and exit status."""

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from cli_helpers import COMMAND, PACKAGE, Terminal, caller, check_error, environment, on_posix, run, start
from model_helpers import CHECKPOINT

import squeezeops
from squeezeops import cli, ops
from squeezeops.cli import reading, running
from squeezeops.pipelines import default_model, pipeline

POSITIVE = "a gorgeous, witty, seductive movie"
NEGATIVE = "a terrible waste of time"
LINES = [POSITIVE, NEGATIVE, "I loved every minute of it", "dull, lifeless and far too long"]
TOO_LONG = "good " * 3000
BENCH = ["bench", "tanh", "--shape", "tokens=5,channels=8", "--backend", "numpy", "--seconds", "0.0001"]


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


@pytest.fixture(scope="module")
def sentiment():
    return pipeline("text-classification")


def expected_lines(sentiment, texts):
    results = zip(texts, sentiment(texts), strict=True)
    return [f"{result['label']}\t{result['score']:.4f}\t{text}" for text, result in results]


# ---- classify: what it prints ----------------------------------------------------------------------------------------


def test_one_text():
    status, out, err = run("classify", POSITIVE)
    assert (status, err) == (0, "")
    assert re.fullmatch(rf"POSITIVE\t0\.\d{{4}}\t{POSITIVE}\n", out.replace(os.linesep, "\n"))


def test_texts_in_order(call, sentiment):
    status, out, err = call("classify", *LINES)
    assert (status, err) == (0, "")
    assert out.splitlines() == expected_lines(sentiment, LINES)
    assert [line.split("\t")[0] for line in out.splitlines()] == ["POSITIVE", "NEGATIVE", "POSITIVE", "NEGATIVE"]


def test_all_labels_on_one_line(call, sentiment):
    ranked = sentiment(POSITIVE, top_k=None)
    columns = [f"{value:.4f}" if isinstance(value, float) else value for entry in ranked for value in entry.values()]
    assert call("classify", "--all", POSITIVE) == (0, "\t".join([*columns, POSITIVE]) + "\n", "")
    assert call("classify", "--top-k", 2, POSITIVE) == call("classify", "--all", POSITIVE)
    assert call("classify", "--top-k", 1, POSITIVE) == call("classify", POSITIVE)


def test_json(call, sentiment):
    status, out, err = call("classify", "--json", *LINES)
    assert (status, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert found == [{"text": text, **result} for text, result in zip(LINES, sentiment(LINES), strict=True)]


def test_json_with_ranks(call, sentiment):
    status, out, _ = call("classify", "--json", "--top-k", 1, *LINES)
    ranked = sentiment(LINES, top_k=1)
    assert status == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {"text": text, "scores": scores} for text, scores in zip(LINES, ranked, strict=True)
    ]


def test_a_text_never_breaks_its_line(call):
    text = "good\nbad\tugly\r\u2028\x85end"
    status, out, _ = call("classify", text)
    assert status == 0
    assert out.count("\n") == 1 and out.endswith("\tgood bad ugly   end\n")
    status, out, _ = call("classify", "--json", text)
    assert out.count("\n") == 1 and json.loads(out)["text"] == text


def test_dashes_introduce_a_text_with_a_dash(call):
    status, out, _ = call("classify", "--json", "--", "-- what a film")
    assert status == 0 and json.loads(out)["text"] == "-- what a film"


def test_output_of_any_encoding():
    status, out, _ = run("classify", "a naïve film 🙂", PYTHONIOENCODING="ascii")
    assert status == 0 and out.rstrip().endswith("\ta na\\xefve film \\U0001f642")
    status, out, _ = run("classify", "--json", "a naïve film 🙂", PYTHONIOENCODING="ascii")
    assert status == 0 and json.loads(out)["text"] == "a naïve film 🙂"
    assert "naïve" in out


# ---- classify: what it reads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(LINES) + "\n",
        "\n".join(LINES),
        "\r\n".join(LINES) + "\r\n",
        "\ufeff" + "\n".join(LINES) + "\n",
        "\n".join(LINES) + "\n\n  \n\n",
    ],
    ids=["lines", "no newline at the end", "CRLF", "byte order mark", "blank lines at the end"],
)
def test_input(call, sentiment, tmp_path, content):
    path = tmp_path / "texts"
    path.write_bytes(content.encode())
    expected = (0, "\n".join(expected_lines(sentiment, LINES)) + "\n", "")
    assert call("classify", "--input", path) == expected
    assert call("classify", "--input", "-", stdin=content.encode()) == expected


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_output_lines_match_input_lines(call, sentiment, tmp_path, batch_size):
    texts = [f"{LINES[number % 4]} {number}" for number in range(100)]
    path = tmp_path / "texts"
    path.write_text("\n".join(texts) + "\n")
    status, out, _ = call("classify", "--json", "--input", path, "--batch-size", batch_size)
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [entry["text"] for entry in found] == texts
    scores = [result["score"] for result in sentiment(texts)]
    assert [entry["score"] for entry in found] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("content", ["", "\n", "\r\n \n"])
def test_input_without_texts(call, content):
    assert call("classify", "--input", "-", stdin=content.encode()) == (0, "", "")


def test_lines_longer_than_a_read(call):
    texts = ["good " * 30_000, "bad", "so " * 40_000 + "bad"]
    status, out, _ = call("classify", "--truncation", "--json", "--input", "-", stdin="\n".join(texts).encode())
    assert status == 0 and [json.loads(line)["text"] for line in out.splitlines()] == texts


def test_truncation(call):
    status, out, _ = call("classify", "--truncation", POSITIVE, TOO_LONG)
    assert status == 0 and len(out.splitlines()) == 2


def test_other_model(call, tmp_path):
    shutil.copytree(CHECKPOINT, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace("POSITIVE", "THUMBS_UP"))
    status, out, _ = call("classify", "--model", path.parent, "--dtype", "float32", POSITIVE)
    assert status == 0 and out.startswith("THUMBS_UP\t")


def test_threads(call, sentiment):
    before = ops.get_num_threads()
    try:
        assert call("classify", "--threads", 1, POSITIVE) == (0, expected_lines(sentiment, [POSITIVE])[0] + "\n", "")
        assert ops.get_num_threads() == 1
    finally:
        ops.set_num_threads(before)


# ---- pipes and signals -----------------------------------------------------------------------------------------------


@on_posix
def test_lines_are_answered_as_they_arrive():
    process = start("classify", "--input", "-")
    with process:
        for text, label in [(POSITIVE, b"POSITIVE"), (NEGATIVE, b"NEGATIVE")]:
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(label)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"", b"")


@on_posix
def test_ctrl_c_ends_quietly():
    process = start("classify", "--input", "-")
    with process:
        process.stdin.write(f"{POSITIVE}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"POSITIVE")  # it now waits for the next line
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_info_without_an_output(call, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    check_error(call("info"), "error: standard output is closed$")


@on_posix
def test_sigterm_ends_quietly():
    process = start("classify", "--input", "-")
    with process:
        process.stdin.write(f"{POSITIVE}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"POSITIVE")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


@on_posix
def test_sigterm_ends_a_command_blocked_on_its_output():
    """Buffered output that cannot be written is discarded."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(512))
    os.set_blocking(writer, True)
    buffered = environment(PYTHONUNBUFFERED="")
    with subprocess.Popen(
        [*COMMAND, "classify", "good"], stdout=writer, stderr=subprocess.PIPE, env=buffered
    ) as process:
        time.sleep(1)  # let it start and block on the full pipe
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=10) == 143
        finally:
            process.kill()
        assert process.stderr.read() == b""
    os.close(reader)
    os.close(writer)


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
    path = tmp_path / "texts"
    path.write_text("\n".join(LINES * 2000))
    process = start("classify", "--input", str(path))
    with process:
        assert process.stdout.readline().startswith(b"POSITIVE")
        process.stdout.close()
        assert process.wait(timeout=120) == 141
        assert process.stderr.read() == b""


@on_posix
@pytest.mark.parametrize("arguments", [["--help"], ["classify", POSITIVE], ["info"], BENCH])
def test_pipe_closed_from_the_start(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    buffered = environment(PYTHONUNBUFFERED="")  # unbuffered, argparse would meet the closed pipe and ignore it
    done = subprocess.run([*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, env=buffered, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "classify", POSITIVE], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=120
        )
    assert (done.returncode, done.stderr) == (2, b"squeezeops: error: No space left on device\n")


@on_posix
def test_closed_standard_streams():
    def shell(redirections):
        line = " ".join(["exec", '"$@"', redirections])
        command = ["sh", "-c", line, "sh", *COMMAND, "classify", "--input", "-"]
        done = subprocess.run(command, input=b"good\n", capture_output=True, env=environment(), timeout=120)
        return done.returncode, done.stdout, done.stderr

    assert shell("<&-") == (2, b"", b"squeezeops: error: --input: standard input is closed\n")
    assert shell(">&-") == (2, b"", b"squeezeops: error: standard output is closed\n")


# ---- progress --------------------------------------------------------------------------------------------------------


def pretend_terminal(monkeypatch):
    """Make standard error a terminal. Not a fixture: pytest's capture replaces the stream again after the set-up."""
    monkeypatch.setattr(reading, "PROGRESS_DELAY", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_progress_bar_on_a_terminal(call, monkeypatch, tmp_path):
    pytest.importorskip("tqdm", reason="the progress bar needs tqdm, of the progress extra")
    terminal = pretend_terminal(monkeypatch)
    path = tmp_path / "texts"
    path.write_text("\n".join(LINES * 3))
    status, out, _ = call("classify", "--input", path)
    assert status == 0 and len(out.splitlines()) == 12
    assert "12/12" in terminal.getvalue()


def test_progress_bar_without_a_known_total(call, monkeypatch):
    pytest.importorskip("tqdm", reason="the progress bar needs tqdm, of the progress extra")
    terminal = pretend_terminal(monkeypatch)
    monkeypatch.setattr(reading, "count_lines", lambda file: None)  # as with a pipe
    status, out, _ = call("classify", "--input", "-", stdin="\n".join(LINES).encode())
    assert status == 0 and len(out.splitlines()) == 4
    assert "4 texts" in terminal.getvalue()


def test_no_progress_bar_without_tqdm(call, monkeypatch, tmp_path):
    terminal = pretend_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    (tmp_path / "texts").write_text("\n".join(LINES))
    status, out, _ = call("classify", "--input", tmp_path / "texts")
    assert (status, len(out.splitlines()), terminal.getvalue()) == (0, 4, "")


def test_no_progress_bar_among_the_results(monkeypatch, tmp_path):
    terminal = pretend_terminal(monkeypatch)
    (tmp_path / "texts").write_text("\n".join(LINES))
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert cli.main(["classify", "--input", str(tmp_path / "texts")]) == 0
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"a\n\nb\n", 3)])
def test_count_lines(tmp_path, content, lines):
    (tmp_path / "texts").write_bytes(content)
    with open(tmp_path / "texts", "rb") as file:
        assert reading.count_lines(file) == lines
        assert file.read() == content
    reader, writer = os.pipe()
    os.close(writer)
    with open(reader, "rb") as file:
        assert reading.count_lines(file) is None


# ---- errors ----------------------------------------------------------------------------------------------------------

ERRORS = {
    "no command": ([], "the following arguments are required: COMMAND (see squeezeops --help)"),
    "unknown command": (["train"], "invalid choice: 'train'"),
    "unknown option": (["classify", "good", "--colour"], "unrecognized arguments: --colour"),
    "text with a dash": (
        ["classify", "good", "-bad"],
        "unrecognized arguments: -bad (see squeezeops classify --help; -- goes before texts that start with a dash)",
    ),
    "unknown options": (["bench", "--colour"], "unrecognized arguments: --colour (see squeezeops bench --help)"),
    "no texts": (["info", "good"], "unrecognized arguments: good (see squeezeops info --help)"),
    "no abbreviations": (["classify", "good", "--trunc"], "unrecognized arguments: --trunc"),
    "nothing to do": (["classify"], "expected texts or --input FILE (see squeezeops classify --help)"),
    "texts and input": (["classify", "good", "--input", "-"], "expected either texts or --input FILE, got both"),
    "empty text": (["classify", "good", ""], "text 2: expected a non-empty text, got ''"),
    "text of spaces": (["classify", "  "], "text 1: expected a non-empty text, got ' '"),
    "zero threads": (
        ["classify", "good", "--threads", "0"],
        "--threads: expected a whole number of at least 1, got '0'",
    ),
    "many threads": (
        ["classify", "good", "--threads", "257"],
        "--threads: expected a whole number of at most 256, got '257'",
    ),
    "no number": (
        ["classify", "good", "--threads", "two"],
        "--threads: expected a whole number of at least 1, got 'two'",
    ),
    "bad top-k": (["classify", "good", "--top-k", "-1"], "--top-k: expected a whole number of at least 1, got '-1'"),
    "bad batch size": (["classify", "good", "--batch-size", "0"], "--batch-size: expected a whole number"),
    "top-k and all": (["classify", "good", "--top-k", "1", "--all"], "--all: not allowed with argument --top-k"),
    "unknown dtype": (["classify", "good", "--dtype", "float99"], "dtype: expected "),
    "too long": (
        ["classify", "good", TOO_LONG],
        r"text 2: expected at most \d+ tokens, got \d+ \(--truncation cuts it\)",
    ),
    "no length": (
        ["classify", "good", "--max-length", "0"],
        "--max-length: expected a whole number of at least 1, got '0'",
    ),
    "length without room": (["classify", "good", "--max-length", "1"], "error: --max-length: expected "),
    "empty model": (["classify", "good", "--model", ""], "error: '': expected a folder"),
    "missing model": (["classify", "good", "--model", "no/such"], "no/such: expected a folder"),
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
    out = check_error(call("classify", "--input", path), re.escape(f"{path}: {message}"))
    assert len(out.splitlines()) == before
    out = check_error(call("classify", "--input", "-", stdin=content), f"standard input: {message}")
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


def test_unknown_backend():
    check_error(run("classify", "good", SQUEEZEOPS_BACKEND="abacus"), "SQUEEZEOPS_BACKEND: expected one of .*'abacus'")
    check_error(run("info", SQUEEZEOPS_BACKEND="abacus"), "SQUEEZEOPS_BACKEND: expected one of .*'abacus'")


def test_error_of_a_process():
    check_error(run("classify", "good", ""), "text 2: expected a non-empty text")


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


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"], ["info", "--help"], ["bench", "--help"]])
def test_help(call, arguments):
    status, out, err = call(*arguments)
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {' '.join(['squeezeops', *arguments[:-1]])}")


def test_version(call):
    assert call("--version") == (0, f"squeezeops {squeezeops.__version__}\n", "")
    assert run("--version")[:2] == (0, f"squeezeops {squeezeops.__version__}{os.linesep}")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["classify", "--help"], ["classify"]])
def test_quick_answers_do_not_load_numpy(arguments):
    program = f"import sys; from squeezeops.cli import main; main({arguments}); sys.exit('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr


def test_info():
    status, out, err = run("info")
    assert (status, err) == (0, "")
    for fact in (squeezeops.__version__, platform.python_version(), ops.get_backend(), str(default_model())):
        assert fact in out
    for symbol in ops.cpu_info()["kernels"].values():
        assert symbol in out


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
    status, out, _ = call("info")
    assert status == 0
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
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, env=environment, timeout=120, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    out = run("info")
    assert "numpy (available: numpy" in out
    assert "the native extension is not built" in out
    assert {"numpy"} <= set(json.loads(run("info", "--json"))["backends"]) <= {"numpy", "numba"}
    assert run("classify", POSITIVE).startswith("POSITIVE\t")


@on_posix
def test_errors_never_go_to_the_output():
    """With standard error closed the message is lost: standard output is for results only."""
    command = " ".join([*COMMAND, "classify", "good", "--dtype", "int7", "2>&-"])
    done = subprocess.run(command, shell=True, capture_output=True, env=environment(), timeout=120)
    assert (done.returncode, done.stdout) == (2, b"")


def test_labels_stay_in_their_column(tmp_path, call):
    folder = tmp_path / "model"
    shutil.copytree(CHECKPOINT, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "A\tB\nC", "1": "A\tB\nC!"}
    config.pop("label2id", None)
    (folder / "config.json").write_text(json.dumps(config))
    status, out, err = call("classify", "--model", folder, "good")
    assert (status, err, out.count("\t"), out.count("\n")) == (0, "", 2, 1)


def test_huge_numbers(call):
    status, _, err = call("classify", "good", "--batch-size", "1" + "0" * 20)
    assert status == 2 and "--batch-size" in err
