"""The command ``convert``, and the other commands with models that it has written."""

import json
import os
import re
import signal
import sys

import pytest
from cli_helpers import Terminal, caller, check_error, on_posix, output, run, start
from limits import seconds
from model_helpers import write_model

from squeezeops.cli import convert
from squeezeops.squeezebert import SqueezeBert
from squeezeops.squeezebert.files.safetensors import read_header

LABELS = ["bad", "good"]
TEXT = "the good movie"


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "reviews", LABELS, seed=3)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


def test_convert_then_classify(call, folder, out):
    text = output(call("convert", folder, out))
    before, after = (folder / "model.safetensors").stat().st_size, out.stat().st_size
    lines = text.splitlines()
    assert lines[0] == f"{out}: int8 with int8 attention, text-classification"
    assert lines[1].strip().startswith(f"{before:,} bytes of weights before, a file of {after:,} after (")
    assert re.fullmatch(
        r"  [23] tensors were rounded to float16, embeddings\.\S+ most: by up to 0\.\d+ of its .*", lines[-1]
    )
    text = output(call("classify", "--model", out, TEXT))
    assert text.split("\t")[0] in LABELS


def test_the_built_in_model(out):
    text = output(run("convert", "built-in", str(out), "--quiet", "--report"))
    head, *rows = text.splitlines()
    assert head.startswith("layer ") and len(rows) == 27
    assert all(re.fullmatch(r"\S+ +(int8|float16) +-  +-", row) for row in rows), rows
    text = output(run("classify", "--model", str(out), "a gorgeous, witty, seductive movie"))
    assert text.startswith("POSITIVE\t0.")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_dtype_and_task(call, folder, out, dtype):
    assert call("convert", folder, out, "--dtype", dtype, "--task", "base", "--quiet") == (0, "", "")
    model = SqueezeBert.from_pretrained(out)
    assert (model.dtype, model.task) == (dtype, "base")
    text = output(call("embed", "--model", out, "--json", "--dtype", dtype, TEXT))
    assert len(json.loads(text)["embedding"]) == 16
    other = "int8" if dtype == "float32" else "float32"
    expected = f"dtype: expected '{dtype}', which the file was converted to, or none, got '{other}'"
    check_error(call("embed", "--model", out, "--dtype", other, TEXT), expected)
    check_error(call("classify", "--model", out, TEXT), r"task: expected one that the checkpoint has a head for")


@pytest.mark.parametrize("dtype, default, other", [("int8", "int8", "float32"), ("float32", "float32", "int8")])
def test_attention(call, folder, out, dtype, default, other):
    for asked, stored in (([], default), (["--attention", other], other)):
        output(call("convert", folder, out, "--dtype", dtype, "--force", *asked))
        assert SqueezeBert.from_pretrained(out).attention == stored
        facts = json.loads(output(call("info", "--model", out, "--json")))["model"]
        assert (facts["dtype"], facts["attention"]) == (dtype, stored)
        expected = output(call("classify", "--model", out, "--json", TEXT))
        assert output(call("classify", "--model", out, "--attention", stored, "--json", TEXT)) == expected
        asked = ["--dtype", dtype, "--attention", stored]
        assert output(call("classify", "--model", folder, *asked, "--json", TEXT)) == expected
        wrong = {"int8": "float32", "float32": "int8"}[stored]
        message = f"attention: expected '{stored}', which the file was converted to, or none, got '{wrong}'"
        check_error(call("classify", "--model", out, "--attention", wrong, TEXT), message)
    facts = json.loads(output(call("info", "--model", folder, "--json")))["model"]
    assert facts["attention"] is None


def test_check(call, folder, out):
    status, text, err = call("convert", folder, out, "--dtype", "float32", "--check", "--quiet")
    pattern = r"check: logits of 24 texts: off by at most 0, cosine 1\.00000 on average and 1\.00000 at worst, "
    assert (status, err) == (0, "") and re.fullmatch(pattern + "the same label for 24 of 24\n", text)
    texts = ["--text", TEXT, "--text", "bad!"]
    status, text, err = call("convert", folder, out, "--force", "--check", *texts)
    found = re.search(r"check: logits of 2 texts: off by at most (\S+), cosine (\S+) on .* for [012] of 2\n$", text)
    assert (status, err) == (0, "") and 0 < float(found[1]) < 1 and 0.9 < float(found[2]) <= 1


@pytest.mark.parametrize(
    "task, pattern",
    [
        ("base", r"embeddings of 24 texts: [^,]*, cosine [01]\.\d+ on average and [01]\.\d+ at worst\n"),
        ("masked-lm", r"logits of 24 texts: .* for \d+ of \d\d\d\n"),
        ("question-answering", r"start_logits and end_logits of 24 texts: .* for \d+ of 48\n"),
        ("token-classification", r"logits of 24 texts: .* for \d+ of \d\d\d\n"),
    ],
)
def test_check_of_other_tasks(call, tmp_path, out, task, pattern):
    folder = write_model(tmp_path / "model", LABELS if "classification" in task else None, task=task)
    text = output(call("convert", folder, out, "--check", "--quiet"))
    assert re.fullmatch("check: " + pattern, text), text


def test_check_without_a_vocabulary(call, tmp_path, out):
    folder = write_model(tmp_path / "model", LABELS)
    (folder / "vocab.txt").unlink()
    text = output(call("convert", folder, out, "--check"))
    assert "check: logits of 24 rows of random tokens: " in text
    out.unlink()
    check_error(call("convert", folder, out, "--check", "--text", "a"), r"--text: expected a model with a voc")
    assert os.listdir(out.parent) == ["model"]


def test_report(call, folder, out, monkeypatch):
    text = output(call("convert", folder, out, "--report", "--quiet"))
    head, *rows, foot = text.splitlines()
    assert head.split() == ["layer", "dtype", "weights", "off", "output", "off"] and foot.startswith("off: ")
    words, *rows = rows
    assert re.fullmatch(r"embeddings\.word_embeddings +int8     +0\.00\d{3} +-", words)
    assert len(rows) == 14 and all(re.match(r"(encoder\.layers\.[01]\.|pooler\.dense|classifier)", row) for row in rows)
    for row in rows:
        encoder = row.startswith("encoder")
        assert re.search(r"  int8     +0\.\d{5}   +0\.\d{5}$" if encoder else r"  float32 +-  +-$", row), row
    monkeypatch.setattr("squeezeops.squeezebert.conversion.convert.MOST_ERROR", 0.0)
    text = output(call("convert", folder, out, "--report", "--force"))
    assert text.count("in int8 its output would be off by 0.0") == text.count("  float16 ") == 12
    assert "12 of 13 layers are not in int8 (--report says which and why)" in text
    assert {read_header(out)[0][f"encoder.layers.{i}.output.conv1d.packed"].dtype for i in (0, 1)} == {"F16"}
    for dtype, figures in (("float32", 0), ("float16", 12)):
        text = output(call("convert", folder, out, "--report", "--force", "--quiet", "--dtype", dtype))
        assert text.count("  0.0") == 2 * figures


def test_an_existing_file(call, folder, out):
    out.write_bytes(b"precious")
    message = r"expected the name of a new file, got one that exists \(--force replaces it\)$"
    assert check_error(call("convert", folder, out), message) == ""
    assert out.read_bytes() == b"precious"
    assert call("convert", folder, out, "--force", "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], r"the following arguments are required: MODEL, OUT \(see squeezeops convert --help\)"),
        (["{folder}"], r"required: OUT"),
        (["{folder}", "{out}", "--dtype", "int4"], r"argument --dtype: invalid choice: 'int4'"),
        (["{folder}", "{out}", "--attention", "int4"], r"argument --attention: invalid choice: 'int4'"),
        (["{folder}", "{out}", "--text", "a"], r"--text: expected --check with it, got none"),
        (["{folder}", "{out}", "--check", "--text", " "], r"--text 1: expected a text, got ' '"),
        (["{folder}", "{out}", "--task", "question-answering"], r"task: .* checkpoint has: base, text-classification"),
        (["{folder}", "{out}.bin"], r"out\.safetensors\.bin: expected the name of a file, ending in \.safetensors"),
        (["{folder}/nothing", "{out}"], r"nothing: expected a folder with a model, got no such folder"),
        (["{folder}/model.safetensors", "{out}"], r"expected a file that squeezeops convert wrote, or the folder of a"),
        (["{folder}", "{out}", "more"], r"unrecognized arguments: more \(see squeezeops convert --help\)"),
    ],
)
def test_mistakes(call, folder, out, arguments, message):
    arguments = [argument.format(folder=folder, out=out) for argument in arguments]
    assert check_error(call("convert", *arguments), message) == ""
    assert os.listdir(out.parent) == []


def test_help_says_what_can_be_relied_on(call):
    assert "byte for byte" in output(call("convert", "--help"))


def test_progress_on_a_terminal(folder, out, monkeypatch, capsys):
    from squeezeops import cli

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["convert", str(folder), str(out)]) == 0
    shown = terminal.getvalue().split("\r")[1:]
    assert len(shown) > 20 and shown[-1] == "\x1b[K"
    assert re.fullmatch(rf"\x1b\[Kwriting \[#{{{convert.BAR}}}\] (0\.\d) of \1 MB", shown[-2])
    assert [text.rpartition("] ")[2] for text in shown[:12]] == [f"{i} of 12 layers" for i in range(1, 13)]
    assert shown[0].startswith("\x1b[Kmeasuring [###.") and shown[12].startswith("\x1b[Kwriting [")
    terminal.truncate(0)
    assert cli.main(["convert", str(folder), str(out), "--force", "--quiet"]) == 0
    assert terminal.getvalue() == ""


SLOW = """
import sys, time
from squeezeops.squeezebert.files import safetensors
real = safetensors.write_file
def slow(file, tensors, metadata, data):
    def waits():
        for i, item in enumerate(data):
            if i == 3:
                print("half", flush=True)
                time.sleep(60)
            yield item
    real(file, tensors, metadata, waits())
safetensors.write_file = slow
from squeezeops.cli import main
sys.exit(main(sys.argv[1:]))
"""


@on_posix
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(folder, out, number, status, tmp_path, monkeypatch):
    import cli_helpers

    monkeypatch.setattr(cli_helpers, "COMMAND", [sys.executable, "-c", SLOW])
    with start("convert", str(folder), str(out)) as process:
        assert process.stdout.readline() == b"half\n"
        assert any(name.endswith(".tmp") for name in os.listdir(out.parent))
        process.send_signal(number)
        _, errors = process.communicate(timeout=seconds(30))
    assert (process.returncode, errors) == (status, b"")
    assert os.listdir(out.parent) == []
