"""Every block of code in the pages runs, or says on the line that opens it why it does not.

The blocks of a page run in order, in one folder, which has links to what a clone has. Those in Python share their
names, and run first. What a page calls its own (a model, a file of texts) lies there. Blocks that do not run must at
least be correct: Bash and Python parse them, and so does the command's own parser.
"""

import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from build_helpers import tool
from limits import seconds
from pages import PAGES, ROOT, WORDS, blocks, name_of
from pipeline_helpers import LONG, MODELS, write_lively_model

import squeezeops
from squeezeops import cli
from squeezeops.cli.tasks import COMMANDS
from squeezeops.pipelines import default_model

LANGUAGES = {"", "text", "bash", "console", "python", "c", "cmake", "js"}
TASKS = {command.name: command.task for command in COMMANDS}
FILES = {  # what a page may call a file of its own
    "article.txt": LONG,
    "articles.csv": "id,body\n1,the good movie\n",
    "articles.csv.gz": "body\nthe good movie\n",
    "big.csv": "text\na good movie\na bad one\n",
    "big.jsonl": '{"id": 7, "text": "good"}\n{"id": 8, "text": "a bad one"}\n',
    "docs.txt": "a good movie\nthe bad one\n",
    "documents.txt": "a good movie\nthe bad one\n",
    "pairs.tsv": "is it good?\tthe good movie\n",
    "reviews.txt": "a good movie\na bad one\n",
    "texts.txt": "a good movie\na bad one\n",
    "notes/health.txt": "the good movie.\nthe bad one.\n",
}
# Runs the sources, each after a line with its name. Where a comment behind an expression begins as a value does, the
# expression must give that value, or print it; "..." stands for anything.
PYTHON = r"""
import ast, contextlib, io, re, sys
names = {"__name__": "page"}
for source in sys.argv[1:]:
    name, _, text = source.partition("\n")
    for node in ast.parse(text, name).body:
        code = ast.get_source_segment(text, node)
        comment = re.search(r"  # ([\[{(\d'].*)", text.splitlines()[node.end_lineno - 1])
        if not isinstance(node, ast.Expr) or not comment:
            exec(compile(ast.Module([node], []), name, "exec"), names)
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            value = eval(compile(ast.Expression(node.value), name, "eval"), names)
        found = out.getvalue().strip() or repr(value)
        pattern = ".*".join(map(re.escape, comment[1].split("...")))
        assert re.fullmatch(pattern, found), f"{name}: {code}: expected {comment[1]}, got {found}"
"""
KEPT_OUT = {".git", ".venv", "build", "dist"}
ALL = [block for page in PAGES for block in blocks(page)]
COMMAND = re.compile(r"(squeezeops ([\w-]+) .*?--model )([\w./-]+)")


def write_model(folder, task):
    if task == "zero-shot-classification":
        write_lively_model(folder, ["contradiction", "neutral", "entailment"], positions=200)
    elif task == "rerank":
        write_lively_model(folder, ["relevance"], positions=200)
    else:
        write_lively_model(folder, positions=200, **MODELS[task][0])


def with_models(folder, text):
    """Write a small random model of its task for each command that names one. Return the text with their paths."""

    def place(match):
        start, command, name = match.groups()
        if command not in TASKS or name == "built-in" or (folder / name).exists():
            return match[0]
        path = Path("models") / command / name
        if not (folder / path).exists():
            write_model(folder / path, TASKS[command])
        return f"{start}{path}"

    return COMMAND.sub(place, text)


@pytest.fixture(scope="module", params=PAGES, ids=name_of)
def page(request, tmp_path_factory):
    """A page, and the folder that its blocks run in."""
    folder = tmp_path_factory.mktemp("page")
    if request.param.name == "embedding.md":  # which begins with the sources in an empty folder
        (folder / "squeezeops").symlink_to(ROOT)
    else:
        for entry in ROOT.iterdir():
            if entry.name not in KEPT_OUT:
                (folder / entry.name).symlink_to(entry)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (folder / "path/to").mkdir(parents=True)
    (folder / "path/to/folder").symlink_to(ROOT / "examples" / "sentiment_checkpoint")
    for name, task in (("nli-model", "zero-shot-classification"), ("cross-encoder", "rerank")):
        write_model(folder / "path/to" / name, task)
    (folder / "path/to/model.safetensors").symlink_to(default_model() / "model.safetensors")
    (folder / "bin").mkdir()
    # Programs by path, and not -m or -c, which would put the folder, and so the sources in it, first on Python's path.
    (folder / "bin/blocks.py").write_text(PYTHON)
    (folder / "bin/command.py").write_text("import sys\nfrom squeezeops.cli import main\nsys.exit(main())\n")
    for name, file in (("squeezeops", folder / "bin/command.py"), ("python", ""), ("python3", "")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {file} "$@"\n')
        program.chmod(0o755)
    yield request.param, folder
    shutil.rmtree(folder)


def environment(folder):
    paths = [str(Path(squeezeops.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    tools = [str(folder / "bin"), os.environ["PATH"], os.path.dirname(sys.executable)]
    changes = {"HOME": str(folder), "PATH": os.pathsep.join(tools), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {**os.environ, **changes}


def run(folder, *command, limit=120):
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=seconds(limit)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_console(folder, text):
    """Run what follows "$ ", and compare what it prints with the lines below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        found = run(folder, "bash", "-euo", "pipefail", "-c", with_models(folder, command))
        pattern = re.escape(expected).replace(re.escape("..."), ".*")
        assert not expected or re.fullmatch(pattern, found), f"{command}\n{found}"


def run_blocks(page, folder, when):
    # Python first: its blocks share a process.
    python = [f"{block}\n{block.text}" for block in blocks(page, "python") if block.runs == when]
    if python:
        run(folder, sys.executable, "bin/blocks.py", *python)
    for block in blocks(page, "bash", "console"):
        if block.runs != when:
            continue
        try:
            if block.language == "console":
                run_console(folder, block.text)
            else:
                text = with_models(folder, block.text)
                run(folder, "bash", "-euo", "pipefail", "-c", text, limit=120 if when == "always" else 3600)
        except AssertionError as failure:
            raise AssertionError(f"{block}: {failure}") from None


def test_every_block_runs(page):
    run_blocks(*page, "always")


@pytest.mark.parametrize(
    ("line", "message"),
    [("1 + 1  # 3", "expected 3, got 2"), ('print("a", 1)  # (b...', r"expected \(b"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_wrong_result_is_found(line, message, tmp_path):
    (tmp_path / "blocks.py").write_text(PYTHON)
    run(tmp_path, sys.executable, "blocks.py", "page\n1 + 1  # 2\n{'a': [1, 2]}  # {'a': [...]}\nprint(7)  # 7\n")
    with pytest.raises(AssertionError, match=message):
        run(tmp_path, sys.executable, "blocks.py", f"page\n{line}\n")
    with pytest.raises(AssertionError, match="echo a"):
        run_console(tmp_path, "$ echo a\nb\n")
    run_console(tmp_path, "$ echo a b c\na ... c\n")


@pytest.mark.full
def test_every_block_that_takes_long_runs(page):
    run_blocks(*page, "full")


def compile_c(text, program=None):
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused", f"-I{squeezeops.get_include()}", "-xc", "-"]
    library = squeezeops.get_library()
    target = ["-o", str(program), library, f"-Wl,-rpath,{os.path.dirname(library)}"] if program else ["-fsyntax-only"]
    compiler = shlex.split(os.environ.get("CC", "")) or [tool("cc", "gcc", "clang")]
    done = subprocess.run([*compiler, *flags, "-xnone", *target], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "c"], ids=str)
def test_programs_in_c(block, tmp_path):
    """A program prints what the next block says. A part of one compiles."""
    if "int main(" in block.text:
        compile_c(block.text, tmp_path / "program")
        after = [other for other in blocks(block.page, "text") if other.line > block.line]
        assert run_program(tmp_path / "program") == after[0].text
        return
    inside = block.text if re.search(r"^static ", block.text, re.MULTILINE) else f"void part(void) {{\n{block.text}}}\n"
    compile_c(f"#include <squeezeops/squeezeops.h>\n#include <stdio.h>\n#include <stdlib.h>\n{inside}")


def run_program(path):
    return subprocess.run([path], capture_output=True, text=True, check=True, timeout=seconds(60)).stdout


def commands(text):
    """The squeezeops commands of a script, as lists of arguments."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if not re.search(r"(^|\s)squeezeops ", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command = []
        for word in [*lexer, ";"]:
            if word[0] in "<>":
                command.append(None)  # the name of a file follows
            elif word not in (";", "|", "||", "&&"):
                command.append(word)
            else:
                kept = command[: command.index(None)] if None in command else command
                kept = kept[next((i for i, word in enumerate(kept) if "=" not in word), 0) :]
                if kept[:1] == ["squeezeops"]:
                    found.append(kept[1:])
                command = []
    return found


@pytest.mark.parametrize("block", [block for block in ALL if block.runs != "always"], ids=str)
def test_blocks_that_do_not_run_say_why_and_are_correct(block):
    (word,) = block.words
    kind, _, file = word.partition(":")
    if file:
        assert Path(block.page).name in (ROOT / "tests" / file).read_text(encoding="utf-8")
        kind += ":FILE"
    assert kind in WORDS
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language in ("bash", "console"):
        lines = block.text.splitlines()
        script = block.text if block.language == "bash" else "\n".join(line[2:] for line in lines if line[:2] == "$ ")
        subprocess.run(["bash", "-n", "-c", script], check=True)
        for arguments in commands(script):
            _, unknown = cli._parser().parse_known_args(arguments)
            assert not unknown


def test_every_block_has_a_known_language():
    assert {block.language for block in ALL} <= LANGUAGES
    assert [str(block) for block in ALL if block.language == "c" and block.words] == []
    # No rule here runs these two.
    others = [block for block in ALL if block.language in ("cmake", "js")]
    assert [str(block) for block in others if block.runs == "always"] == []


def test_the_page_for_contributors_lists_the_words():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w:]+)` \| (.*) \|$", page.split("\n## Documentation\n")[1], re.MULTILINE) == [
        *WORDS.items()
    ]
