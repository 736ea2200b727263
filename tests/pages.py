"""The pages of the documentation and their blocks of code. ``python tests/pages.py`` lists those that do not run."""

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("squeezeops/models/*/*.md")])
FENCED = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# Words after the language of a block that does not run where the others run: when it does, or why it cannot.
WORDS = {
    "full": "takes minutes: runs with `pytest -m full`",
    "ci": "a stage of `.ci/run` or `.ci/full` does this",
    "tested:FILE": "this file in `tests/` runs it",
    "network": "downloads",
    "system": "changes the system, or needs packages of it",
    "board": "is for a board",
    "sketch": "needs a file or a model of yours",
}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> str:
        """When the block runs: "always", "full" or "never"."""
        return "always" if not self.words else "full" if self.words == ("full",) else "never"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path | str, *languages: str) -> list[Block]:
    """The blocks of a page, of these languages or of all."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCED.finditer(text):
        indent, (language, *words) = match[1], match[2].split() or [""]
        body = re.sub(rf"^{indent}", "", match[3], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name_of(path), line, language, tuple(words), body))
    return [block for block in found if not languages or block.language in languages]


def without_code(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def main() -> None:
    every = [block for page in PAGES for block in blocks(page) if block.language not in ("", "text")]
    for block in every:
        if block.words:
            print(f"{block!s:<34} {block.language:<8} {' '.join(block.words)}")
    print(*(f"{runs}: {count}" for runs, count in sorted(Counter(block.runs for block in every).items())), sep=", ")


if __name__ == "__main__":
    sys.exit(main())
