"""Read the Stanford Sentiment Treebank (Socher et al., EMNLP 2013) and turn its tokens back into ordinary text."""

from __future__ import annotations

import re
from pathlib import Path

# Tokens without a space before them.
GLUED = {*",.;:!?%)]}", "...", "\u201d", "n't", "'s", "'re", "'ve", "'ll", "'d", "'m", "!?", "?!"}


def fix_encoding(text: str) -> str:
    """Repair UTF-8 that was read as Latin-1 ('clichÃ©' -> 'cliché'); return other text as it is."""
    if "Ã" in text or "Â" in text:
        try:
            return text.encode("latin-1").decode("utf-8")
        except UnicodeError:
            return text
    return text


def detokenise(tokens: list[str]) -> str:
    """Turn Penn-Treebank tokens back into ordinary text.

    >>> detokenise("It 's a film you ca n't `` like '' -LRB- really -RRB- .".split())
    'It\\'s a film you can\\'t "like" (really).'
    """
    brackets = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
    words = []
    for token in tokens:
        token = brackets.get(token, token).replace("\\/", "/").replace("\\*", "*").replace("\u00a0", " ")
        words.append({"``": "\u201c", "''": "\u201d", "`": "\u2018"}.get(token, token))
    out = ""
    for i, word in enumerate(words):
        glue = out == "" or out[-1] in "([{$#\u201c\u2018"
        if word in GLUED:
            glue = True
        elif word == "not" and i and words[i - 1].lower() == "can":
            glue = True  # the treebank splits "cannot"
        elif word == "'":
            glue = True  # a closing quotation mark or a plural possessive
        out += word if glue else " " + word
    return fix_encoding(out.replace("\u201c", '"').replace("\u201d", '"').replace("\u2018", "'")).strip()


def read_trees(path: Path) -> list[list[tuple[str, int]]]:
    """Return the phrases of each tree in the file as (text, label), the whole sentence last."""
    trees = []
    for line in path.read_text(encoding="utf-8").splitlines():
        phrases, stack = [], []
        for opened, label, word, closed in re.findall(r"(\()(\d) |([^()\s]+)|(\))", line):
            if opened:
                stack.append((int(label), []))
            elif word:
                stack[-1][1].append(word)
            elif closed:
                level, tokens = stack.pop()
                phrases.append((detokenise(tokens), level))
                if stack:
                    stack[-1][1].extend(tokens)
        if phrases:
            trees.append(phrases)
    return trees
