"""Rows of JSON lines and CSV in and out, and runs of --output that are interrupted and go on."""

import csv
import errno
import fcntl
import gzip
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from cli_helpers import Terminal, caller, check_error, environment
from limits import seconds
from pipeline_helpers import write_lively_model

from squeezeops import cli
from squeezeops.cli import progress, reading, table_file
from squeezeops.pipelines import default_model, pipeline

TEXTS = ["a good movie", 'an "awful", awful one', "two\nlines", "電影\tgood", "the movies were bad , and long , " * 3]
ROWS = [{"id": index, "text": text, "more": [None, 0.1, {"ä": True}]} for index, text in enumerate(TEXTS)]
LABELS = [{"label": found["label"], "score": found["score"]} for found in pipeline("text-classification").stream(TEXTS)]
TOO_LONG = "good " * 3000
LABELED = ["O", "B-PER", "I-PER"]


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


@pytest.fixture(autouse=True)
def every_window_is_a_chunk(monkeypatch):
    monkeypatch.setattr(table_file, "CHUNK_SECONDS", 0.0)


def write_jsonl(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_csv(path, rows, end="\r\n"):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator=end).writerows(rows)
    return path


def names(folder):
    return sorted(os.listdir(folder))


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_rows_of_json_lines(call, tmp_path):
    file, out = write_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    expected = [{**row, **label} for row, label in zip(ROWS, LABELS, strict=True)]
    assert call("classify", "--input", file, "--output", out) == (0, "", "")
    assert read_jsonl(out) == expected
    assert [list(row) for row in read_jsonl(out)] == [["id", "text", "more", "label", "score"]] * len(ROWS)
    status, printed, err = call("classify", "--input", file, "--json")
    assert (status, printed, err) == (0, out.read_text(), "")
    assert names(tmp_path) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_of_csv(call, tmp_path, end):
    file = write_csv(tmp_path / "in.csv", [["n", "text"], *[[str(n), text] for n, text in enumerate(TEXTS)]], end)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    out = tmp_path / "out.csv"
    assert call("classify", "--input", file, "--output", out) == (0, "", "")
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
    assert [{**row, "score": float(row["score"])} for row in rows] == [
        {"n": str(n), "text": text, **label} for n, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]


def test_rows_of_lines_and_of_other_formats(call, tmp_path):
    (tmp_path / "in.txt").write_text("good\nbad\n")
    out = tmp_path / "out.csv"
    assert call("classify", "--input", tmp_path / "in.txt", "--output", out)[0] == 0
    assert out.read_text().splitlines()[0] == "text,label,score"
    assert call("classify", "--input", out, "--output", tmp_path / "a.jsonl", "--prefix", "again_")[0] == 0
    assert [row["again_score"] for row in read_jsonl(tmp_path / "a.jsonl")] == [
        float(row["score"]) for row in read_jsonl(tmp_path / "a.jsonl")
    ]
    assert call("classify", "good", "bad", "--output", tmp_path / "b.jsonl")[0] == 0
    assert [row["text"] for row in read_jsonl(tmp_path / "b.jsonl")] == ["good", "bad"]
    status, printed, _ = call("classify", "--input-format", "jsonl", "--json", "--input", "-", stdin=b"")
    assert (status, printed) == (0, "")


def test_a_pipe_of_rows(call):
    content = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    for prefix in ("", "my_"):
        status, printed, err = call(
            "classify", "--input-format", "jsonl", "--json", "-", "--prefix", prefix, stdin=content
        )
        assert (status, err) == (0, "")
        expected = [{prefix + name: value for name, value in label.items()} for label in LABELS]
        assert [json.loads(line) for line in printed.splitlines()] == [
            {**r, **e} for r, e in zip(ROWS, expected, strict=True)
        ]


def test_compressed_rows(call, tmp_path):
    plain, packed = write_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    expected = call("classify", "--input", plain, "--json")
    assert call("classify", "--input", packed, "--json") == expected
    packed.write_bytes(packed.read_bytes()[:-20])
    check_error(call("classify", "--input", packed, "--json"), r"in\.jsonl\.gz: expected a complete file of gzip")


def test_entities_and_embeddings(call, tmp_path):
    model = write_lively_model(tmp_path / "model", LABELED, positions=128, seed=2, task="token-classification")
    file = write_jsonl(tmp_path / "in.jsonl", ROWS)
    assert call("tag", "--model", model, "--input", file, "--output", tmp_path / "tags.jsonl") == (0, "", "")
    found = pipeline("token-classification", model, aggregation_strategy="first")(TEXTS)
    assert read_jsonl(tmp_path / "tags.jsonl") == [{**r, "entities": e} for r, e in zip(ROWS, found, strict=True)]
    assert any(found)
    vectors = pipeline("feature-extraction", default_model())(TEXTS)
    for name in ("e.jsonl", "e.csv", "e.npy"):
        assert call("embed", "--model", "built-in", "--input", file, "--output", tmp_path / name)[0] == 0
    assert np.array_equal(np.load(tmp_path / "e.npy"), vectors)
    assert np.array_equal(np.float32([row["embedding"] for row in read_jsonl(tmp_path / "e.jsonl")]), vectors)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "e.csv").read_text(), newline="")))
    assert np.array_equal(np.float32([json.loads(row["embedding"]) for row in rows]), vectors)
    assert [json.loads(row["more"]) for row in rows] == [row["more"] for row in ROWS]


def test_pairs(call, tmp_path):
    rows = [{"text": "A man eats.", "text_pair": "good\tmovie", "a": "bad", "b": "one"}]
    file = write_jsonl(tmp_path / "in.jsonl", rows)
    pipe = pipeline("text-classification")
    for arguments, pair in (
        (["--pair"], ("A man eats.", "good\tmovie")),
        (["--pair", "--field", "b", "--field", "a"], ("one", "bad")),
        (["--pair=good", "--field", "text_pair"], ("good\tmovie", "good")),
    ):
        status, printed, err = call("classify", "--input", file, "--json", *arguments)
        assert (status, err) == (0, "")
        assert json.loads(printed) == {**rows[0], **pipe([pair])[0]}
    check_error(call("classify", "--input", file, "--pair", "--field", "b"), "--field: expected 2 of them, got 1")


def test_questions(call, tmp_path):
    model = write_lively_model(tmp_path / "model", task="question-answering", positions=80)
    rows = [{"id": 1, "question": "who?", "context": "a good\tmovie"}]
    file, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert call("answer", "--model", model, "--input", file, "--output", out) == (0, "", "")
    expected = pipeline("question-answering", model)({"question": "who?", "context": "a good\tmovie"})
    assert read_jsonl(out) == [{**rows[0], **expected}]


def test_documents(call, tmp_path):
    model = write_lively_model(tmp_path / "model", ["LABEL_0"], seed=4, positions=40)
    file = write_jsonl(tmp_path / "in.jsonl", ROWS[:2])
    status, printed, _ = call("rerank", "--model", model, "--query", "who", "--json", "--input", file)
    found = {row["id"]: row for row in map(json.loads, printed.splitlines())}
    assert status == 0 and [found[n]["index"] for n in (0, 1)] == [0, 1]
    assert {key: found[1][key] for key in ROWS[1]} == ROWS[1]
    check_error(call("rerank", "--model", model, "--query", "who", "--output", "x.jsonl"), "unrecognized arguments")


def test_a_field_of_the_row_is_not_overwritten(call, tmp_path):
    rows = [{"text": "good", "label": 1}, {"text": "bad"}]
    file, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    problem = r"in\.jsonl: line 1: expected no field 'label', which the result has \(--prefix"
    check_error(call("classify", "--input", file, "--output", out), problem)
    check_error(call("classify", "--input", file, "--json"), problem)
    assert names(tmp_path) == ["in.jsonl"]
    assert call("classify", "--input", file, "--output", out, "--prefix", "my_")[0] == 0
    assert [list(row) for row in read_jsonl(out)] == [
        ["text", "label", "my_label", "my_score"],
        ["text", "my_label", "my_score"],
    ]
    check_error(call("classify", "--input", file, "--prefix", "a"), "--prefix: expected --json or --output")


def test_order_does_not_depend_on_length(call, tmp_path):
    lengths = [random.Random(1).randrange(1, 60) for _ in range(300)]
    rows = [{"id": index, "text": "good " * length} for index, length in enumerate(lengths)]
    file, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert call("classify", "--input", file, "--output", out, "--batch-size", 4)[0] == 0
    found = pipeline("text-classification")([row["text"] for row in rows])
    assert read_jsonl(out) == [{**row, **result} for row, result in zip(rows, found, strict=True)]


# ---- bad rows --------------------------------------------------------------------------------------------------------

BAD_JSON = [
    ("{'a': 1}\n", "expected an object of JSON, got Expecting property name"),
    ('["good"]\n', r'expected an object of JSON, got \["good"\]'),
    ('{"text": NaN}\n', "expected an object of JSON, got NaN"),
    ('{"txt": "good"}\n', r"expected a field 'text' \(--field names another\), got 'txt'"),
    ('{"text": 1}\n', "text: expected a string, got int"),
    ('{"text": " "}\n', "expected a non-empty text"),
    ('{"text": "good", "x": 1e999}\n', "x: expected a number, got inf"),
    ("[" * 100_000 + "\n", "expected an object of JSON"),
    (json.dumps({"text": TOO_LONG}) + "\n", r"expected at most .* tokens, got 3002 \(--truncation cuts it\)"),
    ("\n", "expected a text, got a blank line"),
]


@pytest.mark.parametrize("on_error", ["skip", "stop"])
def test_bad_json_lines(call, tmp_path, on_error):
    file = write_jsonl(tmp_path / "in.jsonl", [ROWS[0], *[line for line, _ in BAD_JSON], ROWS[1]])
    out = tmp_path / "out.jsonl"
    result = call("classify", "--input", file, "--output", out, "--on-error", on_error, "--batch-size", "1")
    if on_error == "stop":
        check_error(result, r"in\.jsonl: line 2: " + BAD_JSON[0][1])
        return
    status, _, err = result
    errors = err.splitlines()
    assert status == 1 and errors[-1] == "squeezeops: error: 10 of 12 texts have no result"
    for number, ((_, problem), line) in enumerate(zip(BAD_JSON, errors, strict=False), start=2):
        assert re.search(rf"in\.jsonl: line {number}: {problem}", line), line
    assert [row["id"] for row in read_jsonl(out)] == [0, 1]


def test_bad_csv(call, tmp_path):
    content = b'text,n\ngood,1\nbad\n"two\nlines",2\n\xff,3\nfine,4\n"a"b,5\nlast,6\n"open,7\n'
    (tmp_path / "in.csv").write_bytes(content)
    out = tmp_path / "out.csv"
    status, _, err = call("classify", "--input", tmp_path / "in.csv", "--output", out, "--on-error", "skip")
    assert status == 1
    found = [line.partition("in.csv: ")[2] for line in err.splitlines()[:-1]]
    assert found == [
        "line 3: expected 2 columns as in the header, got 1",
        "line 6: expected UTF-8, got the byte 0xff at position 1",
        "line 8: expected a row of CSV, got ',' expected after '\"'",
        "line 10: expected a row of CSV, got unexpected end of data",
    ]
    rows = list(csv.DictReader(io.StringIO(out.read_text(), newline="")))
    assert [(row["text"], row["n"]) for row in rows] == [
        ("good", "1"),
        ("two\nlines", "2"),
        ("fine", "4"),
        ("last", "6"),
    ]


@pytest.mark.parametrize("header", ["a,a", "", '"a'])
def test_bad_header(call, tmp_path, header):
    (tmp_path / "in.csv").write_text(header + "\ngood,1\n")
    check_error(call("classify", "--input", tmp_path / "in.csv"), "line 1: expected a header with different names, got")


def test_csv_has_the_fields_of_its_first_row(call, tmp_path):
    file, out = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}, {"text": "b", "c": 1}]), tmp_path / "out.csv"
    problem = r"line 2: expected the fields of the first row, 'text', 'label', 'score', got 'text', 'c'"
    check_error(call("classify", "--input", file, "--output", out), problem)


def test_a_line_without_an_end(call, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 1 << 18)
    file = write_jsonl(tmp_path / "in.jsonl", [ROWS[0], "[" + "1," * (1 << 20)])
    check_error(call("classify", "--input", file, "--json"), "line 2: expected at most 262144 bytes")


def test_wrong_options(call, tmp_path):
    file = write_jsonl(tmp_path / "in.jsonl", ROWS)
    check_error(call("classify", "--input", file, "--resume"), r"--resume: expected --output FILE\.jsonl or FILE\.csv")
    check_error(call("classify", "a", "--field", "b"), "--field: expected --input FILE with it")
    check_error(call("classify", "--input", __file__, "--field", "b"), r"--field: expected files \.jsonl or \.csv")
    check_error(call("classify", "--input", file, "--output", "x.npy"), r"ends in \.jsonl or \.csv, got 'x\.npy'")
    missing = tmp_path / "missing" / "x.csv"
    check_error(call("classify", "--input", file, "--output", missing), f"error: {missing}: No such file")


# ---- runs that are interrupted ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """(arguments without --output, the complete output): several formats, bad rows, rows over several lines."""
    folder = tmp_path_factory.mktemp("job")
    chance = random.Random(7)
    texts = [
        " ".join(chance.choices(["good", "bad", "long\nand", "a", ","], k=chance.randrange(1, 12))) for _ in range(50)
    ]
    first = write_jsonl(folder / "a.jsonl", [{"n": n, "text": text} for n, text in enumerate(texts)] + ["{bad\n"])
    second = write_csv(folder / "b.csv", [["n", "text"], *enumerate(texts), ["bad"]])
    third = folder / "c.jsonl.gz"
    third.write_bytes(gzip.compress(first.read_bytes()))
    arguments = ["classify", "--on-error", "skip", "--batch-size", "1"]
    for file in (first, second, folder / "empty", third):
        arguments += ["--input", str(file)]
    (folder / "empty").touch()
    out = folder / "out.jsonl"
    assert cli.main([*arguments, "--output", str(out)]) == 1
    rows = read_jsonl(out)
    assert [(int(row["n"]), row["text"]) for row in rows] == 3 * list(enumerate(texts))
    return arguments, out.read_bytes()


OPERATIONS = ("fsync", "replace", "unlink")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_error_of_the_disk_at_any_time(call, job, tmp_path, monkeypatch, operation):
    arguments, complete = job
    out = tmp_path / "out.jsonl"
    original, left = getattr(os, operation), 0

    def failing(*given, **options):
        nonlocal left
        ours = operation == "fsync" or str(given[0]).startswith(str(out))
        left -= ours
        if left == 0 and ours:
            raise OSError(errno.ENOSPC, "No space left on device")
        return None if operation == "fsync" else original(*given, **options)

    monkeypatch.setattr(os, operation, failing)
    failures = 0
    for step in range(1, 100):
        left = step
        status, _, err = call(*arguments, "--output", out)
        if left > 0:
            break
        failures += 1
        assert status == 2 and "No space left on device" in err
        left = 0
        assert call(*arguments, "--output", out, "--resume")[0] in (0, 1)
        assert out.read_bytes() == complete and names(tmp_path) == ["out.jsonl"]
        out.unlink()
    assert failures >= {"fsync": 15, "replace": 8, "unlink": 1}[operation]


KILLED = """
import os, signal, sys
from squeezeops.cli import main, table_file
table_file.CHUNK_SECONDS = 0
left = int(sys.argv[1])
def dies(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
os.fsync = dies(lambda file: None)  # a kill loses no bytes that were written
os.replace, os.unlink = dies(os.replace), dies(os.unlink)
raise SystemExit(main(sys.argv[2:]))
"""


def killed(step, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(step), *arguments],
        env=environment(),
        capture_output=True,
        timeout=seconds(60),
    )
    return done.returncode


def test_kill_between_two_operations_on_files(job, tmp_path):
    """Each run goes on with what the one before has left when it was killed."""
    arguments, complete = job
    out = tmp_path / "out.jsonl"
    for step in range(1, 100):
        status = killed(step, *arguments, "--output", str(out), "--resume")
        if status in (0, 1):
            break
        assert status == -signal.SIGKILL
    assert step > 4 and out.read_bytes() == complete
    assert names(tmp_path) == ["out.jsonl"]


def test_kill_at_random_times(tmp_path):
    rows = [{"id": index, "text": TEXTS[index % 5] * (1 + index % 3)} for index in range(4000)]
    file = write_jsonl(tmp_path / "in.jsonl", rows)
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    arguments = ["classify", "--input", str(file), "--batch-size", "2"]
    assert killed(0, *arguments, "--output", str(whole)) == 0
    chance, kills = random.Random(1), 0
    part = tmp_path / "out.jsonl.part"

    def written():
        with suppress(FileNotFoundError):
            return part.stat().st_mtime_ns

    for _ in range(8):
        before = written()
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, "0", *arguments, "--output", str(out), "--resume"], env=environment()
        )
        while written() == before and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.random() / 3)
        process.kill()
        if process.wait() == 0:  # it was quicker
            assert out.read_bytes() == whole.read_bytes()
            out.unlink()
        else:
            assert process.returncode == -signal.SIGKILL
            kills += 1
    assert kills
    assert killed(0, *arguments, "--output", str(out), "--resume") == 0
    assert out.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == ["in.jsonl", "out.jsonl", "whole.jsonl"]


def test_a_full_disk(job, tmp_path):
    arguments, complete = job
    out = tmp_path / "out.jsonl"
    process = subprocess.run(
        [sys.executable, "-c", KILLED, "0", *arguments, "--output", str(out)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (len(complete) // 2, len(complete) // 2)),
        env=environment(),
        capture_output=True,
    )
    assert process.returncode == 2 and b"out.jsonl: File too large" in process.stderr, process.stderr
    assert b"--resume goes on after" in process.stderr
    assert names(tmp_path) == ["out.jsonl.journal", "out.jsonl.part"]
    size = json.loads((tmp_path / "out.jsonl.journal").read_text())["bytes"]
    assert 0 < size <= len(complete) // 2 and complete[size - 1 : size] == b"\n"
    assert killed(0, *arguments, "--output", str(out), "--resume") == 1
    assert out.read_bytes() == complete


def interrupted(call, monkeypatch, *arguments, rows=60):
    """Run a command that stops after some rows; return its errors."""
    append, left = table_file.TableFile.append, rows

    def stops(self, row):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        append(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(table_file.TableFile, "append", stops)
        status, _, err = call(*arguments)
    assert status == 130
    return err


def test_what_is_there_is_not_overwritten(call, monkeypatch, job, tmp_path):
    arguments, complete = job
    out = tmp_path / "out.jsonl"
    out.write_bytes(b"precious")
    command = [*arguments, "--output", out]
    check_error(call(*command), r"out\.jsonl: expected a new file, got one that exists \(--force replaces it\)")
    assert call(*command, "--resume") == (0, "", f"squeezeops: note: {out} is complete\n")
    assert out.read_bytes() == b"precious" and names(tmp_path) == ["out.jsonl"]
    assert interrupted(call, monkeypatch, *command, "--force").endswith("--resume goes on after 51 inputs\n")
    assert out.read_bytes() == b"precious"
    check_error(call(*command), r"out\.jsonl: expected --resume, which goes on with an interrupted run, or --force")
    assert call(*command, "--resume")[0] == 1
    assert out.read_bytes() == complete and names(tmp_path) == ["out.jsonl"]
    interrupted(call, monkeypatch, *command, "--force")
    assert call(*command, "--force")[0] == 1
    assert out.read_bytes() == complete and names(tmp_path) == ["out.jsonl"]


def test_an_interruption_before_the_first_chunk_leaves_nothing(call, monkeypatch, job, tmp_path):
    arguments, complete = job
    assert "--resume" not in interrupted(call, monkeypatch, *arguments, "--output", tmp_path / "o.csv", rows=3)
    assert names(tmp_path) == []


def test_other_settings_are_refused(call, monkeypatch, job, tmp_path):
    arguments, _ = job
    command = [*arguments, "--output", tmp_path / "out.jsonl"]
    interrupted(call, monkeypatch, *command)
    before = (tmp_path / "out.jsonl.journal").read_bytes()
    for more, message in (
        (["--top-k", "2"], "--resume: --top-k: expected none, as when it began, got 2"),
        (["--prefix", "a"], '--resume: --prefix: expected "", as when it began, got "a"'),
        (["--dtype", "float32"], '--resume: --dtype: expected none, as when it began, got "float32"'),
        (["--pair", "x"], "--resume: --pair or --context: expected "),
        (["--model", write_lively_model(tmp_path / "model", ["a", "b"])], "--resume: --model: expected "),
    ):
        check_error(call(*command, "--resume", *more), message)
    monkeypatch.setattr("squeezeops.cli.running.__version__", "0.0")
    check_error(call(*command, "--resume"), 'version: expected "[^"]*", as when it began, got "0.0"')
    assert (tmp_path / "out.jsonl.journal").read_bytes() == before


@pytest.mark.parametrize("name", ["a.jsonl", "b.csv"])
def test_changed_input_is_refused(call, monkeypatch, tmp_path, name):
    rows = [["n", "text"], *[[str(n), "a good movie"] for n in range(100)]]
    file = tmp_path / name
    if name == "b.csv":
        write_csv(file, rows)
    else:
        write_jsonl(file, [dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    content = file.read_bytes()
    command = ["classify", "--batch-size", "1", "--input", file, "--output", tmp_path / "out.jsonl"]
    interrupted(call, monkeypatch, *command, rows=70)
    for changed in (content.replace(b"good", b"fine", 1), content[:200], b""):
        file.write_bytes(changed)
        check_error(call(*command, "--resume"), rf"{name}: (line 1: )?expected ")
    more = b"101,bad\r\n" if name == "b.csv" else b'{"n": "101", "text": "bad"}\n'
    file.write_bytes(content + more)  # what was not read yet may change
    assert call(*command, "--resume")[0] == 0
    assert [row["text"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["a good movie"] * 100 + ["bad"]


def test_a_stop_at_a_bad_row_goes_on_past_it(call, tmp_path):
    rows = [*ROWS * 20, "{bad\n", *ROWS]
    file, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = ["classify", "--batch-size", "1", "--input", file, "--output", out]
    status, _, err = call(*command)
    assert status == 2 and "line 101: expected an object" in err and "--resume goes on after 96 inputs" in err
    status, _, err = call(*command, "--resume", "--on-error", "skip")
    assert status == 1 and err.endswith("1 of 106 texts has no result\n")
    assert [row["id"] for row in read_jsonl(out)] == [0, 1, 2, 3, 4] * 21


def test_standard_input_goes_on(call, monkeypatch, tmp_path):
    content, out = b"".join(b"good %d\n" % n for n in range(100)), tmp_path / "out.csv"
    command = ["classify", "--batch-size", "1", "--input", "-", "--output", out]
    call_with = lambda *arguments: call(*arguments, stdin=content)  # noqa: E731
    interrupted(call_with, monkeypatch, *command)
    assert call_with(*command, "--resume") == (0, "", "")
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["text"] for row in rows] == [f"good {n}" for n in range(100)]


def test_two_commands_do_not_write_one_file(call, tmp_path):
    out = tmp_path / "out.jsonl"
    with open(f"{out}.part", "wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        for option in ("--resume", "--force"):
            check_error(call("classify", "good", "--output", out, option), "got one that another one writes")


def test_a_damaged_journal(call, monkeypatch, job, tmp_path):
    arguments, complete = job
    command = [*arguments, "--output", tmp_path / "out.jsonl"]
    interrupted(call, monkeypatch, *command)
    part, journal = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl.journal"
    os.truncate(part, 10)
    check_error(call(*command, "--resume"), r"out\.jsonl\.part: expected \d+ bytes, got fewer \(--force")
    for content in ("{", "[]"):
        journal.write_text(content)
        check_error(call(*command, "--resume"), r"out\.jsonl\.journal: expected .*\(--force starts again\)")
    assert call(*command, "--force")[0] == 1
    assert (tmp_path / "out.jsonl").read_bytes() == complete


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 32 MB is read in windows of 1.3 MB."""
    script = "import re, sys; from squeezeops.cli import main; status = main(sys.argv[1:])\n"
    script += "print(status, re.search('VmHWM: *([0-9]+)', open('/proc/self/status').read().replace('\\t', ' '))[1])"
    peaks = []
    for rows in (200, 3200):
        file = write_jsonl(tmp_path / "in.jsonl", ({"text": "good", "more": "x" * 10_000} for _ in range(rows)))
        arguments = ["classify", "--input", str(file), "--output", str(tmp_path / "out.jsonl"), "--batch-size", "4"]
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments, "--force"], env=environment(), capture_output=True, check=True
        )
        status, peak = done.stdout.split()
        assert status == b"0"
        peaks.append(int(peak) / 1024)
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 3200
    assert peaks[1] - peaks[0] < 8, peaks


# ---- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(monkeypatch, tmp_path, terminal):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    file = write_jsonl(tmp_path / "in.jsonl", ROWS)
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    command = ["classify", "--input", str(file), "--output", str(tmp_path / "out.jsonl"), "--force"]
    assert cli.main(command) == 0
    assert ("5 texts  100 %  " in stderr.getvalue()) == terminal
    assert cli.main([*command, "--progress"]) == 0
    shown = stderr.getvalue().replace("\r", "\n").split("\n")
    assert "5 texts  100 %  " in stderr.getvalue() and " per second" in shown[-2]


def test_no_progress_of_a_short_run(monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "DELAY", seconds(60))
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert cli.main(["classify", "good", "--output", str(tmp_path / "out.jsonl"), "--progress"]) == 0
    assert stderr.getvalue() == ""
