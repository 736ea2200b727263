"""Compare a model's embeddings in int8 or float16 with those in float32, on your own texts.

    python examples/evaluate_embeddings.py path/to/all-MiniLM-L6-v2 texts.txt [MORE ...]
        [--dtype int8] [--attention int8] [--json FILE]

The program prints cosine similarities. Texts are the lines of a file, the sentences of a treebank (.trees) or the
messages of a CoNLL file (.conll). From each file, 500 evenly spaced texts are taken. The program needs squeezeops only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from training.treebank import read_trees

import squeezeops


def read_texts(path: Path) -> list[str]:
    """Return the texts of a file."""
    if path.suffix == ".trees":
        return [phrases[-1][0] for phrases in read_trees(path)]
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix != ".conll":
        return [line for line in lines if line.strip()]
    messages, words = [], []
    for line in [*lines, ""]:  # one word and its tag per line, a blank line after each message
        if line.strip():
            words.append(line.split("\t")[0].strip())
        elif words:
            messages.append(" ".join(words))
            words = []
    return messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder or cached name of an embedding model")
    parser.add_argument("texts", type=Path, nargs="+", help="files of texts")
    parser.add_argument("--dtype", default="int8", choices=("int8", "float16"))
    parser.add_argument("--attention", choices=("float32", "int8"), help="default: int8 for int8, else float32")
    parser.add_argument("--limit", type=int, default=500, help="texts per file (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="a JSON file to add the results to")
    arguments = parser.parse_args()

    facts = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    pipes = [
        squeezeops.pipeline("feature-extraction", arguments.model, dtype=dtype, attention=attention)
        for dtype, attention in (("float32", None), (arguments.dtype, arguments.attention))
    ]
    name = arguments.dtype + (f" with {arguments.attention} attention" if arguments.attention else "")
    for path in arguments.texts:
        texts = read_texts(path)
        texts = texts[:: max(1, len(texts) // arguments.limit)][: arguments.limit]
        if not texts:
            parser.error(f"{path}: expected texts, got a file without")
        exact, close = (np.asarray(pipe(texts, truncation=True), float) for pipe in pipes)
        cosines = (exact * close).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(close, axis=1)
        worst = int(cosines.argmin())
        found = {"texts": len(texts), "mean": round(float(cosines.mean()), 6), "worst": round(float(cosines[worst]), 6)}
        print(
            f"{path.name}: {found['texts']} texts, cosine {found['mean']:.6f} on average, {found['worst']:.6f} at worst"
        )
        print(f"  {texts[worst]}")
        facts[f"embeddings, {name}, {path.name}"] = found
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
