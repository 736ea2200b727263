"""The commands that run a model, on tiny random models: classify, tag, answer, fill-mask, embed."""

import json
import os
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest
from cli_helpers import Terminal, caller, check_error, on_posix, output, run, start
from limits import seconds
from model_helpers import WORDS, edit_weights, write_model
from op_helpers import run_python

from squeezeops import cli, ops
from squeezeops.cli import progress, reading, running
from squeezeops.pipelines import pipeline

VOCABULARY = [*WORDS, "na", "##ive", "who", "?", "ада", "電"]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
CONTEXT = "The good movies, the bad movie.\nA great movie!"
TEXTS = {
    "classify": ["a good movie", "The awful movies!", "naive Ада 電", "good"],
    "tag": ["A good movie.", "The  awful,awful movies!", "naive Ада 電", "good"],
    "answer": ["who?", "The movie?", "who ада 電?", "good"],
    "fill-mask": ["a [MASK] movie", "[MASK]!", "Ада [MASK] 電", "the [MASK] [MASK]."],
    "embed": ["a good movie", "The awful movies!", "naive Ада 電", "good"],
}
NOUNS = {name: "question" if name == "answer" else "text" for name in TEXTS}
TASKS = {
    "classify": "text-classification",
    "tag": "token-classification",
    "answer": "question-answering",
    "fill-mask": "fill-mask",
    "embed": "feature-extraction",
}
MODELS = {**TASKS, "fill-mask": "masked-lm", "embed": "base"}  # the tasks of the models
MORE = {"answer": ["--context", CONTEXT]}  # required arguments

every_command = pytest.mark.parametrize("name", TEXTS)
cutting = pytest.mark.parametrize("name", ["classify", "tag", "fill-mask", "embed"])  # the commands with --truncation


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


def without_biases(folder):
    """Set the biases of a model to zero. Otherwise they dominate, and all tokens get one label."""

    def clear(name, values):
        values *= not name.endswith("bias")

    return edit_weights(folder, clear)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One model per command."""
    labels = {"classify": ["bad", "good"], "tag": LABELS}
    options = {"seed": 20, "words": VOCABULARY, "positions": 32}
    return {
        name: without_biases(write_model(tmp_path_factory.mktemp("model"), labels.get(name), task=task, **options))
        for name, task in MODELS.items()
    }


@pytest.fixture
def command(folders):
    """A function that returns the arguments of a command without its texts."""
    return lambda name, *more: [name, "--model", str(folders[name]), *MORE.get(name, []), *more]


@pytest.fixture
def results(folders):
    """A function that returns the pipeline's results, with the default options of the command."""
    defaults = {"tag": {"aggregation_strategy": "first"}}

    def results(name, texts, **options):
        pipe = pipeline(TASKS[name], folders[name], **{**defaults.get(name, {}), **options})
        if name == "answer":
            texts = [{"question": text, "context": CONTEXT} for text in texts]
        return list(pipe.stream(texts))

    return results


def columns(*values):
    values = [value.replace("\n", " ") if isinstance(value, str) else value for value in values]
    return "\t".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values) + "\n"


def plain(name, text, result):
    """The lines that a command prints for one text."""
    ranked = result if isinstance(result, list) else [result]
    if name == "classify":
        return columns(*(value for entry in ranked for value in entry.values()), text)
    if name == "tag":
        keys = ("score", "start", "end")
        label = "entity_group" if result and "entity_group" in result[0] else "entity"
        rows = [(e[label], *(e[key] for key in keys), text[e["start"] : e["end"]]) for e in result]
        return "".join(columns(*row) for row in rows) + "\n"
    if name == "answer":
        return "".join(columns(*(a[key] for key in ("answer", "score", "start", "end")), text) for a in ranked)
    if name == "fill-mask":
        masks = result if isinstance(result[0], list) else [result]
        return "".join(columns(*(v for e in m for v in (e["token_str"], e["score"])), text) for m in masks)
    return " ".join(str(number) for number in result) + f"\t{text}\n"


def as_json(name, text, result):
    if name == "classify":
        return {"text": text, **({"scores": result} if isinstance(result, list) else result)}
    if name == "tag":
        return {"text": text, "entities": result}
    if name == "answer":
        return {"question": text, **({"answers": result} if isinstance(result, list) else result)}
    if name == "fill-mask":
        return {"text": text, "predictions": result}
    return {"text": text, "embedding": [float(str(number)) for number in result]}


# ---- what they print -------------------------------------------------------------------------------------------------


@every_command
def test_results_in_order(call, command, results, name):
    expected = [plain(name, *pair) for pair in zip(TEXTS[name], results(name, TEXTS[name]), strict=True)]
    assert len(set(expected)) == len(expected)  # otherwise the order would not show
    assert call(*command(name), *TEXTS[name]) == (0, "".join(expected), "")


@every_command
def test_json(call, command, results, name):
    expected = [as_json(name, *pair) for pair in zip(TEXTS[name], results(name, TEXTS[name]), strict=True)]
    out = output(call(*command(name, "--json"), *TEXTS[name]))
    assert [json.loads(line) for line in out.splitlines()] == expected
    assert TEXTS[name][2] in out  # without escapes


def test_the_models_give_varied_results(results):
    """The random models find several entities, with gaps between them, and answers at several positions."""
    entities = [entity for result in results("tag", TEXTS["tag"]) for entity in result]
    assert {"PER", "LOC"} <= {entity["entity_group"] for entity in entities}
    assert any(entity["start"] > 0 for entity in entities)
    answers = results("answer", TEXTS["answer"])
    assert all(answer["answer"] and CONTEXT[answer["start"] : answer["end"]] == answer["answer"] for answer in answers)


@every_command
def test_a_text_never_breaks_its_line(call, command, name):
    if name == "tag":
        text, shown = "good\u2028movie", None
        status, out, _ = call(*command(name, "--ignore-label", ""), text)
        assert all(line.count("\t") == 4 for line in out.split("\n")[:-2]) and out.endswith("\n\n")
    else:
        text, shown = "bad\n[MASK]\tugly\r\u2028\x85end", "bad [MASK] ugly   end"
        status, out, _ = call(*command(name), text)
        assert out.endswith(f"\t{shown}\n") and out.count("\n") == 1
    assert status == 0
    out = output(call(*command(name, "--json"), text))
    assert out.count("\n") == 1 and list(json.loads(out).values())[0] == text


def test_an_entity_over_several_lines_stays_in_its_column(call, command, results):
    options = {"aggregation_strategy": "simple", "ignore_labels": []}
    text = "good\tgood\ngood good"
    (found,) = results("tag", [text], **options)
    assert any("\t" in text[entity["start"] : entity["end"]] for entity in found)  # otherwise the test proves nothing
    out = output(call(*command("tag", "--aggregation", "simple", "--ignore-label", ""), text))
    assert [line.count("\t") for line in out.splitlines()] == [4] * len(found) + [0]


def test_dashes_introduce_a_text_with_a_dash(call, command):
    out = output(call(*command("embed", "--json"), "--", "-- a movie"))
    assert json.loads(out)["text"] == "-- a movie"


# ---- what they read --------------------------------------------------------------------------------------------------


@every_command
@pytest.mark.parametrize(
    "content",
    ["\n".join, lambda lines: "\ufeff" + "".join(f"{line}\r\n" for line in lines) + "\n \n"],
    ids=["lines", "byte order mark, CRLF, blanks at the end"],
)
def test_input(call, command, tmp_path, name, content):
    expected = call(*command(name), *TEXTS[name])
    path = tmp_path / "texts"
    path.write_bytes(content(TEXTS[name]).encode())
    for batch_size in (1, 3, 32):
        assert call(*command(name, "--input", path, "--batch-size", batch_size)) == expected
    assert call(*command(name, "--input", "-"), stdin=path.read_bytes()) == expected


@every_command
@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n"])
def test_input_without_texts(call, command, name, content):
    assert call(*command(name, "--input", "-"), stdin=content) == (0, "", "")


@on_posix
@pytest.mark.parametrize("name", ["classify", "answer"])
def test_lines_are_answered_as_they_arrive(call, command, name):
    process = start(*command(name, "--json", "--input", "-"))
    with process:
        for text in TEXTS[name][:2]:
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert text in json.loads(process.stdout.readline()).values()
        out, err = process.communicate(timeout=seconds(60))
    assert (process.returncode, out, err) == (0, b"", b"")


# ---- options ---------------------------------------------------------------------------------------------------------

OPTIONS = {
    "classify: all": ("classify", ["--all"], {"top_k": None}),
    "classify: one": ("classify", ["--top-k", "1"], {"top_k": 1}),
    "classify: several": ("classify", ["--top-k", "2"], {"top_k": 2}),
    "tag: tokens": ("tag", ["--aggregation", "none"], {"aggregation_strategy": "none"}),
    "tag: token by token": ("tag", ["--aggregation", "simple"], {"aggregation_strategy": "simple"}),
    "tag: average": ("tag", ["--aggregation", "average"], {"aggregation_strategy": "average"}),
    "tag: max": ("tag", ["--aggregation", "max"], {"aggregation_strategy": "max"}),
    "tag: ignored labels": ("tag", ["--ignore-label", "O", "--ignore-label", "LOC"], {"ignore_labels": ["O", "LOC"]}),
    "tag: nothing ignored": ("tag", ["--ignore-label", ""], {"ignore_labels": []}),
    "answer: several": ("answer", ["--top-k", "3"], {"top_k": 3}),
    "answer: short": ("answer", ["--max-answer-len", "1"], {"max_answer_len": 1}),
    "answer: stride": ("answer", ["--top-k", "99", "--doc-stride", "0"], {"top_k": 99, "doc_stride": 0}),
    "answer: none": ("answer", ["--top-k", "99", "--no-answer"], {"top_k": 99, "handle_impossible_answer": True}),
    "fill-mask: one": ("fill-mask", ["--top-k", "1"], {"top_k": 1}),
    "fill-mask: many": ("fill-mask", ["--top-k", "99"], {"top_k": 99}),
    "fill-mask: targets": ("fill-mask", ["--target", "bad", "--target", "good"], {"targets": ["bad", "good"]}),
    "embed: first token": ("embed", ["--pooling", "cls"], {"pooling": "cls"}),
    "embed: any length": ("embed", ["--no-normalize"], {"normalize": False}),
}
# Long enough that each option has an effect.
LONG = "the good movies, a bad movie. naive naives? awful great good naive movies! who"


@pytest.mark.parametrize(("name", "arguments", "options"), OPTIONS.values(), ids=OPTIONS.keys())
def test_option(call, command, results, name, arguments, options):
    text = LONG.replace("who", "[MASK]")
    (result,) = results(name, [text], **options)
    status, out, err = call(*command(name, *arguments), text)
    assert (status, out, err) == (0, plain(name, text, result), "")
    status, out, err = call(*command(name, "--json", *arguments), text)
    assert (status, json.loads(out), err) == (0, as_json(name, text, result), "")
    without = dict(list(options.items())[:-1])
    assert not np.array_equal(result, results(name, [text], **without)[0])  # the last option has an effect


@cutting
def test_truncation(call, command, results, name):
    text = "[MASK] movie " + "good " * 100
    check_error(call(*command(name), text), r"text 1: expected at most 32 tokens, got \d+ \(--truncation cuts it")
    (result,) = results(name, [text], truncation=True)
    assert call(*command(name, "--truncation"), text) == (0, plain(name, text.strip(" ") + " ", result), "")


@cutting
def test_max_length(call, command, results, name):
    """It implies --truncation."""
    text = "a [MASK] movie, good great awful bad. naive"
    (result,) = results(name, [text], truncation=True, max_length=6)
    assert not np.array_equal(result, results(name, [text])[0])
    for more in ([], ["--truncation"]):
        assert call(*command(name, "--max-length", 6, *more), text) == (0, plain(name, text, result), "")
    assert call(*command(name, "--max-length", 999), text) == call(*command(name), text)


def test_long_text_in_parts(call, command, results):
    text = f"{LONG} {LONG} {LONG}"
    check_error(call(*command("tag"), text), r"text 1: .* \(--truncation cuts it, --stride takes it in parts\)")
    (result,) = results("tag", [text], stride=8)
    assert result[-1]["start"] > len(text) // 2
    assert call(*command("tag", "--stride", 8), text) == (0, plain("tag", text, result), "")
    assert call(*command("tag", "--stride", 0), text)[0] == 0


@every_command
def test_threads(call, command, name):
    expected = call(*command(name), *TEXTS[name])
    before = ops.get_num_threads()
    try:
        assert call(*command(name, "--threads", before + 1), *TEXTS[name]) == expected
        assert ops.get_num_threads() == before + 1
    finally:
        ops.set_num_threads(before)


def test_model_by_name(call, folders, monkeypatch, tmp_path):
    """The model is in the cache of huggingface_hub."""
    cached = tmp_path / "models--someone--tagger"
    shutil.copytree(folders["tag"], cached / "snapshots" / "0123456789")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123456789")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    expected = call("tag", "--model", folders["tag"], *TEXTS["tag"])
    assert call("tag", "--model", "someone/tagger", *TEXTS["tag"]) == expected
    check_error(call("tag", "--model", "someone/else", "good"), "someone/else: expected a folder")


# ---- contexts of questions -------------------------------------------------------------------------------------------


def test_context_from_a_file(call, command, folders, tmp_path):
    expected = call(*command("answer", "--top-k", 3), "who?", "good")
    path = tmp_path / "context"
    path.write_bytes(b"\xef\xbb\xbf" + CONTEXT.encode())
    command = ["answer", "--model", folders["answer"], "--top-k", 3, "--context-file"]
    assert call(*command, path, "who?", "good") == expected
    assert call(*command, "-", "who?", "good", stdin=CONTEXT.encode()) == expected
    assert call(*command, path, "--input", "-", stdin=b"who?\ngood\n") == expected


def test_context_on_the_line(call, folders):
    command = ["answer", "--model", folders["answer"], "--json"]
    pairs = [("who?", "the good movie"), ("Bad?", "a bad movie\t, the awful movie"), ("電", "Ада")]
    content = "".join(f"{question}\t{context}\r\n" for question, context in pairs)
    out = output(call(*command, "--input", "-", stdin=content.encode()))
    found = [json.loads(line) for line in out.splitlines()]
    pipe = pipeline("question-answering", folders["answer"])
    inputs = [{"question": question, "context": context} for question, context in pairs]
    assert found == [{"question": q, **result} for (q, _), result in zip(pairs, pipe.stream(inputs), strict=True)]


TAB = "standard input: line 2: expected a question"
CONTEXTS = {
    "none": ([], b"", 0, "expected --context TEXT or --context-file FILE (see squeezeops answer --help)"),
    "both": (["--context", "a", "--context-file", "b"], b"", 0, "--context-file: not allowed with argument --context"),
    "blank": (["--context", " "], b"", 0, "--context: expected a text, got ' '"),
    "missing file": (["--context-file", "no/such"], b"", 0, "no/such: No such file or directory"),
    "blank file": (["--context-file", "-"], b" \n", 0, "standard input: expected a text, got a blank file"),
    "not UTF-8": (["--context-file", "-"], b"caf\xe9", 0, "input: expected UTF-8, got the byte 0xe9 at position 4"),
    "no tab": (["--input", "-"], b"who?\ta movie\ngood?\n", 1, f"{TAB}, a tab and a context, got no tab"),
    "a tab all the same": (
        ["--input", "-", "--context", CONTEXT],
        b"who?\nwho?\ta movie\n",
        1,
        f"{TAB} without a tab since --context is given, got 'who?\\ta movie'",
    ),
    "no question": (["--input", "-"], b"who?\ta movie\n\ta movie\n", 1, "standard input: line 2: question: expected"),
    "no context": (["--input", "-"], b"who?\ta movie\ngood?\t\n", 1, "standard input: line 2: context: expected"),
    "one stream twice": (["--input", "-", "--context-file", "-"], b"a", 0, "--context-file: expected a file"),
}


@pytest.mark.parametrize(("arguments", "stdin", "before", "message"), CONTEXTS.values(), ids=CONTEXTS.keys())
def test_bad_context(call, folders, arguments, stdin, before, message):
    questions = [] if "--input" in arguments else ["who?"]
    result = call("answer", "--model", folders["answer"], *arguments, *questions, stdin=stdin)
    assert len(check_error(result, re.escape(message)).splitlines()) == before


# ---- embeddings in a file --------------------------------------------------------------------------------------------


def test_array(call, command, results, tmp_path):
    path = tmp_path / "out.npy"
    assert call(*command("embed", "--output", path), *TEXTS["embed"]) == (0, "", "")
    array = np.load(path)
    assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.aligned
    assert np.array_equal(array, results("embed", TEXTS["embed"]))
    assert os.listdir(tmp_path) == ["out.npy"]
    assert np.load(path, mmap_mode="r").shape == (4, 16)


def test_printed_numbers_are_those_of_the_array(call, command, tmp_path):
    path = tmp_path / "out.npy"
    texts = [f"{text} {word}" for text in TEXTS["embed"] for word in VOCABULARY[5:]]
    call(*command("embed", "--no-normalize", "--output", path), *texts)
    _, out, _ = call(*command("embed", "--no-normalize"), *texts)
    rows = [line.split("\t")[0].split(" ") for line in out.splitlines()]
    assert np.array_equal(np.load(path), np.array(rows, dtype=np.float32))
    assert [[str(np.float32(number)) for number in row] for row in rows] == rows


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_array_from_input(call, command, tmp_path, count):
    lines = [f"{TEXTS['embed'][index % 4]}{'!' * (index % 7)}" for index in range(count)]
    path = tmp_path / "out.npy"
    arguments = command("embed", "--input", "-", "--output", path)
    assert call(*arguments, stdin="\n".join(lines).encode()) == (0, "", "")
    array = np.load(path)
    assert array.shape == (count, 16) and array.dtype == np.float32
    if count == 1000:
        assert np.array_equal(array[:28], array[28 * 7 : 28 * 8]) and len(np.unique(array, axis=0)) == 28


def test_array_has_the_usual_permissions(call, command, tmp_path):
    (tmp_path / "other").touch()
    assert call(*command("embed", "--output", tmp_path / "out.npy"), "good")[0] == 0
    assert (tmp_path / "out.npy").stat().st_mode == (tmp_path / "other").stat().st_mode


@on_posix
def test_output_to_a_symbolic_link(call, command, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out.npy").symlink_to(tmp_path / "real" / "there.npy")
    assert call(*command("embed", "--output", tmp_path / "out.npy"), "good")[0] == 0
    assert (tmp_path / "out.npy").is_symlink() and np.load(tmp_path / "real" / "there.npy").shape == (1, 16)


@pytest.mark.parametrize("before", [None, b"precious"])
def test_an_error_leaves_the_output_alone(call, command, monkeypatch, tmp_path, before):
    path = tmp_path / "out.npy"
    if before:
        path.write_bytes(before)
    content = b"good\n" * 40 + b"good " * 100
    command = command("embed", "--input", "-", "--output", path)
    check_error(call(*command, stdin=content), "standard input: line 41: expected at most 32 tokens")
    check_error(call(*command[:2], tmp_path / "no-model", "--output", path, "good"), "no-model")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "_decode", interrupt)
    assert call(*command, stdin=content) == (130, "", "")
    assert os.listdir(tmp_path) == (["out.npy"] if before else [])
    if before:
        assert path.read_bytes() == before


@on_posix
def test_sigterm_leaves_the_output_alone(command, tmp_path):
    process = start(*command("embed", "--input", "-", "--output", str(tmp_path / "out.npy")))
    with process:
        while not os.listdir(tmp_path):  # the temporary file shows that it has started
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=seconds(60)) == 143
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    assert os.listdir(tmp_path) == []


def test_bad_output(call, command, tmp_path):
    expected = r"--output: expected a name that ends in \.jsonl or \.csv or \.npy"
    check_error(call(*command("embed", "--output", "x.txt"), "good"), expected)
    check_error(call(*command("embed", "--output", "x.npy", "--json"), "good"), "--json: not allowed with .*--output")
    missing = tmp_path / "missing" / "x.npy"
    check_error(call(*command("embed", "--output", missing), "good"), re.escape(f"error: {missing}: No such file"))
    (tmp_path / "folder.npy").mkdir()
    check_error(call(*command("embed", "--output", tmp_path / "folder.npy"), "good"), "name of a file, got a folder")
    assert os.listdir(tmp_path) == ["folder.npy"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_no_output(call, command, tmp_path):
    (tmp_path / "full.npy").symlink_to("/dev/full")
    check_error(call(*command("embed", "--output", tmp_path / "full.npy"), "good"), "name of a file, got a device")
    assert os.path.exists("/dev/full")


def test_progress_beside_an_array(monkeypatch, command, tmp_path):
    """No results are printed, so progress is shown even if standard output is a terminal."""
    (tmp_path / "texts").write_text("good\nbad\n")
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli.main(command("embed", "--input", str(tmp_path / "texts"), "--output", str(tmp_path / "o.npy"))) == 0
    assert "2 texts  100 %" in sys.stderr.getvalue() and sys.stdout.getvalue() == ""


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "classify"])
def test_no_model(call, name):
    """The error comes before any input is read and before NumPy is loaded."""
    message = rf"required: --model \(see squeezeops {name} --help\)"
    for arguments in ([*MORE.get(name, []), "good"], ["--input", "no/such/file"]):
        check_error(call(name, *arguments), message)


@every_command
def test_missing_model(call, name):
    check_error(call(name, "--model", "no/such", *MORE.get(name, []), "good"), "no/such: expected a folder")


@every_command
def test_no_texts(call, command, name):
    noun = NOUNS[name]
    check_error(call(*command(name)), rf"expected {noun}s or --input FILE \(see squeezeops {name} --help\)")
    check_error(call(*command(name, "--input", "-"), "good"), f"expected either {noun}s or --input FILE, got both")


@pytest.mark.parametrize("name", ["classify", "tag", "answer", "fill-mask"])
def test_model_without_the_head(call, folders, name):
    result = call(name, "--model", folders["embed"], *MORE.get(name, []), "good")
    check_error(result, f"{folders['embed']}: .*task: expected .*{MODELS[name]!r}")


@every_command
def test_bad_texts(call, command, tmp_path, name):
    good = TEXTS[name][0]
    check_error(call(*command(name), good, " "), f"{NOUNS[name]} 2: .*expected a non-empty text, got ' '")
    path = tmp_path / "texts"
    for line, message in {
        b"": f"line 2: expected a {NOUNS[name]}, got a blank line",
        b"bad \xff": "line 2: expected UTF-8, got the byte 0xff at position 5",
    }.items():
        path.write_bytes(b"\n".join([good.encode(), line, good.encode()]))
        out = check_error(call(*command(name, "--json", "--input", path)), re.escape(f"error: {path}: {message}"))
        assert len(out.splitlines()) == 1  # the line before has been answered


@every_command
def test_long_line(call, command, name):
    """A text longer than the model allows, or a question that leaves no room for a context."""
    content = "\n".join([*TEXTS[name][:2], "[MASK] " + "good " * 100]).encode()
    result = call(*command(name, "--json", "--input", "-"), stdin=content)
    assert len(check_error(result, "standard input: line 3: .*expected").splitlines()) == 2


@pytest.mark.parametrize("name", ["tag", "embed"])
@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_nan_and_infinity_in_json(call, command, monkeypatch, name, number):
    kind = type(pipeline(TASKS[name], command(name)[2]))
    decode = kind._decode
    spoilt = [{"entity": "A", "score": number}] if name == "tag" else np.full(16, number, np.float32)
    monkeypatch.setattr(
        kind, "_decode", lambda self, item, *more: spoilt if item == "bad" else decode(self, item, *more)
    )
    message = f"{'score' if name == 'tag' else 'embedding'}: expected a number, got {number}$"
    out = check_error(call(*command(name, "--json"), "good", "bad"), f"error: text 2: {message}")
    assert len(out.splitlines()) == 1
    content = b"good\n" * 40 + b"bad\n"
    result = call(*command(name, "--json", "--input", "-"), stdin=content)
    assert len(check_error(result, f"error: standard input: line 41: {message}").splitlines()) == 40


def test_text_without_a_mask(call, command):
    check_error(call(*command("fill-mask"), "a [MASK]", "a movie"), r"text 2: expected a text with \[MASK\]")


def test_unknown_target(call, command):
    status, out, err = call(*command("fill-mask", "--target", "goods", "--target", "bad"), "a [MASK]", "[MASK]")
    assert status == 0 and len(out.splitlines()) == 2
    assert re.fullmatch("squeezeops: warning: .*'goods'.*\n", err), err


WRONG = {
    "aggregation": (["tag", "--aggregation", "best"], "--aggregation: invalid choice: 'best'"),
    "stride": (["tag", "--stride", "-1"], "--stride: expected a whole number of at least 0, got '-1'"),
    "wide stride": (["tag", "--stride", "30"], "error: --stride: expected less than the 30 tokens"),
    "stride of tokens": (
        ["tag", "--stride", "1", "--aggregation", "none"],
        "error: --stride: expected None without an --aggregation, got 1",
    ),
    "wide document stride": (["answer", "--doc-stride", "99"], "error: --doc-stride: expected at most "),
    "document stride": (
        ["answer", "--doc-stride", "28", "--context", "good " * 40],
        "error: question 1: --doc-stride: expected less than ",
    ),
    "length without room": (["embed", "--max-length", "1"], "error: --max-length: expected "),
    "text with a dash": (
        ["answer", "-a"],
        "unrecognized arguments: -a (see squeezeops answer --help; -- goes before questions that start with a dash)",
    ),
    "tag has no ranks": (["tag", "--top-k", "2"], "unrecognized arguments: --top-k"),
    "answers": (["answer", "--top-k", "0"], "--top-k: expected a whole number of at least 1, got '0'"),
    "answer length": (["answer", "--max-answer-len", "0"], "--max-answer-len: expected a whole number of at least 1"),
    "pooling": (
        ["embed", "--pooling", "min"],
        "--pooling: expected one or several of ('cls', 'max', 'mean'), each once, got 'min'",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_option(call, command, folders, arguments, message):
    name, *options = arguments
    if "--context" in options:
        command = lambda name, *more: [name, "--model", str(folders[name]), *more]  # noqa: E731 - without another one
    check_error(call(*command(name, *options), TEXTS[name][0]), re.escape(message))


@on_posix
@pytest.mark.parametrize(
    ("name", "option"), [("answer", "--context"), ("fill-mask", "--target"), ("tag", "--ignore-label")]
)
def test_arguments_that_are_not_utf8(folders, name, option):
    command = [name, "--model", str(folders[name]), option, b"bad \xff", "--json", TEXTS[name][0]]
    status, out, err = run(*command, PYTHONUTF8="1")
    check_error((status, out, err), f"{option}: expected valid UTF-8")


# ---- messages and quick answers --------------------------------------------------------------------------------------


NAMES = {"stride": "--stride", "max_length": "--max-length", "batch_size": "--batch-size"}


@pytest.mark.parametrize(
    "message",
    [
        "line 3: expected a text with [MASK], got 'stride: expected 'max_length''",
        "/data/stride/batch_size/x.txt: expected UTF-8, got the byte 0xff",
        "stride: line 3: expected UTF-8, got the byte 0xff",
        "a-stride: expected a folder",
    ],
)
def test_messages_without_an_option(message):
    assert running.in_terms_of_options(message, ValueError(message), NAMES) == message


def test_messages_about_an_option():
    error = ValueError()
    error.argument = "stride"
    message = "stride: expected a stride below max_length, got 'max_length'"
    expected = "--stride: expected a stride below --max-length, got 'max_length'"
    assert running.in_terms_of_options(message, error, NAMES) == expected


def test_quick_answers_do_not_load_numpy():
    calls = [[], ["--help"], ["--version"]]
    calls += [[name, *more] for name in TEXTS for more in (["--help"], [], ["--model", "no/such"])]
    program = f"import sys; from squeezeops.cli import main; [main(call) for call in {calls}]"
    done = run_python("-c", f"{program}; sys.exit('numpy' in sys.modules)")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("squeezeops: error: ") == 2 * len(TEXTS)
    assert done.stdout.count("usage: ") == 2 + len(TEXTS)
