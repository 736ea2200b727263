"""What the commands read: several files, standard input, blank lines, bad lines, options that are given twice."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cli_helpers import caller, check_error, environment, on_posix, output, run
from pipeline_helpers import write_lively_model

from squeezeops.cli import running
from squeezeops.pipelines import default_model, pipeline

LINES = ["a good movie", "the awful movies!", "good"]
TOO_LONG = "good " * 3000


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of lines, or of bytes, and returns its path."""

    def write(name, content):
        data = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return write_lively_model(tmp_path_factory.mktemp("cross"), ["LABEL_0"], seed=4, positions=40)


def texts_of(result, status=0):
    """The texts in the output of --json, in order."""
    assert result[0] == status, result
    return [line and json.loads(line)["text"] for line in result[1].splitlines()]


# ---- several files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_several_inputs_are_read_in_order(call, write, batch_size):
    files = [write("a", LINES), write("b", b"\xef\xbb\xbfbad"), write("c", []), write("d", b"ugly\n\n")]
    arguments = [word for file in files for word in ("--input", file)]
    result = call("classify", "--json", "--batch-size", batch_size, *arguments)
    assert texts_of(result) == [*LINES, "bad", "ugly"] and result[2] == ""


def test_standard_input_among_the_files(call, write):
    result = call("classify", "--json", "--input", write("a", ["one"]), "--input", "-", stdin=b"two\n")
    assert texts_of(result) == ["one", "two"]
    check_error(call("classify", "--input", "-", "--input", "-", stdin=b"a\n"), "--input: expected - once, got 2")


def test_errors_name_the_file_and_its_line(call, write):
    files = [write("a", LINES), write("b", ["fine", TOO_LONG])]
    result = call("classify", "--json", "--input", files[0], "--input", files[1])
    assert check_error(result, re.escape(f"{files[1]}: line 2: expected at most ")).count("\n") == 4


def test_a_missing_file_is_reported_before_anything_is_answered(call, write, tmp_path):
    result = call("classify", "--input", write("a", LINES), "--input", tmp_path / "none")
    assert check_error(result, re.escape(f"{tmp_path / 'none'}: No such file")) == ""


def test_documents_of_several_files_are_numbered_through(call, write, cross_encoder):
    files = [write("a", LINES), write("b", ["bad"])]
    result = call(
        "rerank", "--model", cross_encoder, "--query", "who", "--json", "--input", files[0], "--input", files[1]
    )
    found = sorted((row["index"], row["text"]) for row in map(json.loads, output(result).splitlines()))
    assert found == list(enumerate([*LINES, "bad"]))


# ---- standard input --------------------------------------------------------------------------------------------------


@on_posix
@pytest.mark.parametrize("arguments", [[], ["-"], ["--input", "-"]], ids=str)
def test_standard_input(arguments):
    assert texts_of(run("classify", "--json", *arguments, stdin=b"a good movie\nbad\n")) == ["a good movie", "bad"]


@on_posix
def test_a_file_as_standard_input(write):
    with open(write("a", LINES), "rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "squeezeops", "classify", "--json"],
            stdin=file,
            capture_output=True,
            env=environment(),
        )
    assert texts_of((done.returncode, done.stdout.decode(), "")) == LINES


@on_posix
def test_what_is_no_pipe_and_no_file_is_not_read():
    """Such as a terminal, and what a service starts with."""
    done = subprocess.run(
        [sys.executable, "-m", "squeezeops", "classify"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
    )
    check_error((done.returncode, "", done.stderr.decode()), "expected texts or --input FILE")


@on_posix
def test_texts_come_before_a_pipe():
    assert texts_of(run("classify", "--json", "good", stdin=b"bad\n")) == ["good"]


def test_a_dash_beside_texts(call):
    for texts in (["good", "-"], ["-", "good"]):
        check_error(call("classify", *texts), "expected either texts or -, which is standard input, got both")
    check_error(call("classify", "-", "--input", "a"), "expected either texts or --input FILE, got both")


def test_a_pipe_that_is_a_context_is_no_question(call):
    arguments = ["answer", "--model", str(default_model()), "--context-file", "-"]
    check_error(run(*arguments, stdin=b"a context"), "expected questions or --input FILE")
    check_error(call(*arguments, "-", stdin=b"a"), "--context-file: expected a file, since --input takes standard")


def test_a_comparison_reads_standard_input(call, write):
    status, report, _ = call("bench", "tanh", "--backend", "numpy", "--seconds", "0.001", "--json")
    assert status == 0
    file = write("before", report.encode())
    out = output(call("bench", "--compare", file, "-", "--json", stdin=report.encode()))
    assert out == output(call("bench", "--compare", file, file, "--json"))
    check_error(call("bench", "--compare", "-", "-", stdin=report.encode()), "--compare: expected - once, got 2")


# ---- the name of a file as a text ------------------------------------------------------------------------------------


def test_a_text_that_names_a_file(call, write):
    file = write("reviews.txt", LINES)
    status, out, err = call("classify", "--json", "good", file)
    assert texts_of((status, out, err)) == ["good", str(file)]
    assert err == f"squeezeops: note: text 2 is the name of a file; --input {file} reads its lines\n"
    status, _, err = call("classify", "good", "--pair", file)
    assert status == 0 and err.startswith("squeezeops: note: --pair is the name of a file")
    assert call("classify", "--truncation", "." * 5000, "\0", file.parent)[2] == ""


def test_a_context_that_names_a_file(call, write, tmp_path):
    model = write_lively_model(tmp_path / "answers", task="question-answering", positions=80)
    file = write("article.txt", LINES)
    status, _, err = call("answer", "--model", model, "--context", file, "who?")
    assert status == 0
    assert err == f"squeezeops: note: --context is the name of a file; --context-file {file} reads it\n"


# ---- blank lines -----------------------------------------------------------------------------------------------------

BLANKS = b"\ngood\n \nbad\r\n\r\n\n"


@pytest.mark.parametrize("batch_size", [1, 32])
def test_blank_lines(call, write, batch_size):
    file = write("texts", BLANKS)
    command = ["classify", "--input", file, "--batch-size", batch_size]
    check_error(
        call(*command), re.escape(f"{file}: line 1: expected a text, got a blank line (--blank-lines skip or keep")
    )
    skipped = output(call(*command, "--blank-lines", "skip")).splitlines()
    assert [line.split("\t")[-1] for line in skipped] == ["good", "bad"]
    kept = output(call(*command, "--blank-lines", "keep")).splitlines()
    assert kept == ["", skipped[0], "", skipped[1], "", ""]
    kept = output(call(*command, "--blank-lines", "keep", "--json")).splitlines()
    assert [line if line == "null" else json.loads(line)["text"] for line in kept] == [
        "null", "good", "null", "bad", "null", "null",
    ]  # fmt: skip


def test_blank_lines_and_an_array(call, write, tmp_path):
    file, out = write("texts", BLANKS), tmp_path / "out.npy"
    command = ["embed", "--model", "built-in", "--input", file, "--output", out]
    assert call(*command, "--blank-lines", "skip") == (0, "", "")
    rows = np.load(out)
    assert len(rows) == 2 and np.isfinite(rows).all()
    assert call(*command, "--blank-lines", "keep") == (0, "", "")
    array = np.load(out)
    assert np.isnan(array).all(axis=1).tolist() == [True, False, True, False, True, True]
    assert np.array_equal(array[[1, 3]], rows)


def test_blank_lines_and_ranks(call, write, cross_encoder):
    command = ["rerank", "--model", cross_encoder, "--query", "who", "--json", "--input", write("texts", BLANKS)]
    for mode, numbers in (("skip", {"good": 0, "bad": 1}), ("keep", {"good": 1, "bad": 3})):
        rows = [json.loads(line) for line in output(call(*command, "--blank-lines", mode)).splitlines()]
        assert {row["text"]: row["index"] for row in rows} == numbers


def test_blank_texts_are_no_lines(call):
    check_error(call("classify", "good", " ", "--blank-lines", "skip"), "text 2: expected a non-empty text")


# ---- bad lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_a_long_run_survives_bad_lines(call, write, batch_size):
    """Every other line is answered, and the errors name the bad ones."""
    content = b"\n".join([b"one", b"bad \xff", b"two", TOO_LONG.encode(), TOO_LONG.encode(), b"", b"three", b"\xfe"])
    file = write("texts", content)
    result = call("classify", "--json", "--input", file, "--on-error", "skip", "--batch-size", batch_size)
    assert texts_of(result, status=1) == ["one", "two", "three"]
    expected = [
        (2, "expected UTF-8"),
        (4, "expected at most "),
        (5, "expected at most "),
        (6, "expected a text, got a blank"),
    ]
    errors = result[2].splitlines()
    for line, (number, problem) in zip(errors, [*expected, (8, "expected UTF-8")], strict=False):
        assert line.startswith(f"squeezeops: error: {file}: line {number}: {problem}"), line
    assert errors[5:] == ["squeezeops: error: 5 of 8 texts have no result"]
    stopped = call("classify", "--json", "--input", file, "--on-error", "stop")
    assert stopped == call("classify", "--json", "--input", file)
    check_error(stopped, "line 2: expected UTF-8")


def test_results_do_not_depend_on_the_bad_lines_beside_them(call, write):
    good = output(call("classify", "--json", *LINES))
    mixed = write("texts", [LINES[0], TOO_LONG, *LINES[1:]])
    assert call("classify", "--json", "--input", mixed, "--on-error", "skip")[1] == good


def test_no_bad_line(call, write):
    assert call("classify", "--input", write("texts", LINES), "--on-error", "skip")[::2] == (0, "")


def test_bad_texts_among_the_arguments(call):
    status, out, err = call("classify", "--json", "one", " ", "two", "--on-error", "skip")
    assert texts_of((status, out, err), status=1) == ["one", "two"]
    assert err.startswith("squeezeops: error: text 2: expected a non-empty text, got ' '\n")
    assert err.endswith("squeezeops: error: 1 of 3 texts has no result\n")


def test_bad_lines_and_an_array(call, write, tmp_path):
    """The rows stay those of the lines."""
    file, out = write("texts", ["one", TOO_LONG, "two"]), tmp_path / "out.npy"
    command = ["embed", "--model", "built-in", "--input", file, "--output", out]
    assert call(*command, "--on-error", "skip")[0] == 1
    array = np.load(out)
    assert np.isnan(array).all(axis=1).tolist() == [False, True, False]
    assert np.array_equal(array[[0, 2]], pipeline("feature-extraction", default_model())(["one", "two"]))


def test_bad_lines_and_ranks(call, write, cross_encoder):
    command = ["rerank", "--model", cross_encoder, "--query", "who", "--json", "--on-error", "skip"]
    status, out, err = call(*command, "--input", write("texts", b"one\n\xff\ntwo\n"))
    assert status == 1 and "line 2: expected UTF-8" in err
    assert {row["text"]: row["index"] for row in map(json.loads, out.splitlines())} == {"one": 0, "two": 2}


def test_bad_questions(call, write, tmp_path):
    model = write_lively_model(tmp_path / "answers", task="question-answering", positions=40)
    file = write("pairs", ["who?\tgood movie", "no tab", "who?\tbad movie"])
    status, out, err = call("answer", "--model", model, "--input", file, "--on-error", "skip", "--json")
    assert status == 1 and len(out.splitlines()) == 2
    assert err.splitlines()[0].endswith(
        "pairs: line 2: expected a question, a tab and a context, got no tab (or give --context)"
    )


def test_what_is_wrong_with_an_option_ends_the_run(call, write):
    result = call("classify", "--input", write("texts", LINES), "--on-error", "skip", "--max-length", "1")
    check_error(result, "error: --max-length: expected ")


def test_numbers_that_json_lacks(call, monkeypatch):
    monkeypatch.setattr(running.math, "isfinite", lambda number: False)
    status, out, err = call("classify", "--json", "good", "bad", "--on-error", "skip")
    assert (status, out) == (1, "") and err.count("score: expected a number") == 2


# ---- the built-in model by name --------------------------------------------------------------------------------------


def test_the_built_in_model_by_name(call, tmp_path, monkeypatch):
    assert call("classify", "good", "--model", "built-in") == call("classify", "good")
    assert call("info", "--model", "built-in", "--json") == call("info", "--json")
    assert output(call("embed", "--model", "built-in", "--json", "good"))
    out = output(
        call("bench", "model", "--model", "built-in", "--tokens", "3", "--backend", "numpy", "--seconds", "0.001")
    )
    assert "built-in, int8, 3 tokens" in out
    check_error(call("tag", "--model", "built-in", "good"), "expected one that the checkpoint has a head for")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "built-in").mkdir()
    check_error(call("classify", "good", "--model", "built-in"), "built-in.*config.json")  # a path comes first


# ---- options that are given twice ------------------------------------------------------------------------------------

ONCE = {
    "model": ["classify", "good", "--model", "a", "--model", "b"],
    "top-k": ["classify", "good", "--top-k", "1", "--top-k", "2"],
    "pair": ["classify", "good", "--pair", "a", "--pair", "b"],
    "threads": ["classify", "good", "--threads", "1", "--threads", "1"],
    "dtype": ["embed", "good", "--model", "a", "--dtype", "int8", "--dtype", "float32"],
    "query": ["rerank", "good", "--model", "a", "--query", "a", "--query", "b"],
    "context-file": ["answer", "good", "--model", "a", "--context-file", "a", "--context-file", "b"],
    "output": ["embed", "good", "--model", "a", "--output", "a.npy", "--output", "b.npy"],
    "seconds": ["bench", "tanh", "--seconds", "1", "--seconds", "2"],
    "compare": ["bench", "--compare", "a", "b", "--compare", "c", "d"],
    "task": ["convert", "a", "b", "--task", "base", "--task", "masked-lm"],
}


@pytest.mark.parametrize("name", ONCE)
def test_an_option_of_one_value_is_given_once(call, name):
    check_error(call(*ONCE[name]), f"argument --{name}: expected once, got twice")


def test_options_that_gather_values(call, write):
    """These append: each has its own test where its command is tested."""
    file = write("a", LINES)
    assert texts_of(call("classify", "--json", "--json", "--input", file, "--input", file)) == LINES * 2


# ---- JSON ------------------------------------------------------------------------------------------------------------


def test_json_has_no_character_that_ends_a_line_or_controls_a_terminal(call):
    text = "".join(map(chr, [*range(1, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029])) + "naïve 🙂"
    out = output(call("classify", "--json", text))
    assert len(out.splitlines()) == 1 and json.loads(out)["text"] == text
    assert all(c == "\n" or c.isprintable() for c in out) and "naïve 🙂" in out


@on_posix
@pytest.mark.parametrize("name", [b"mod\xffel", b"two\nlines", b"esc\x1b[31m\xe2\x80\xa8"], ids=str)
def test_info_about_a_model_of_any_name(tmp_path, name):
    folder = os.path.join(os.fsencode(tmp_path), name)
    shutil.copytree(os.fsencode(default_model()), folder)
    status, out, err = run("info", "--json", "--model", folder, PYTHONUTF8="1")
    assert (status, err) == (0, "")
    assert os.path.dirname(os.fsencode(json.loads(out)["model"]["path"])) == folder
    status, out, err = run("info", "--model", folder, PYTHONUTF8="1")
    assert (status, err) == (0, "") and len(re.findall("^model ", out, re.M)) == 1
    assert out.count("\n") == len(re.findall(r"^\S|^ {13}", out, re.M))  # each line has its column
