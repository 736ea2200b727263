"""Search the .txt files of a folder by meaning: print the paragraphs closest to each query.
Blank lines separate paragraphs.
    python examples/semantic_search.py --model path/to/all-MiniLM-L6-v2 folder "a query" ["another query"] [--show 3]
"""

import argparse
import re
from pathlib import Path

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("queries", nargs="+", metavar="query")
    parser.add_argument("--model", required=True, help="folder or cached name of an embedding model")
    parser.add_argument("--show", type=int, default=3, help="paragraphs per query (default: %(default)s)")
    arguments = parser.parse_args()
    paragraphs = []  # (file, text)
    for path in sorted(arguments.folder.rglob("*.txt")):
        try:
            paragraphs += [(path.name, p) for p in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")) if p.strip()]
        except ValueError as error:
            parser.error(f"{path}: {error}")
    if not paragraphs or not all(map(str.strip, arguments.queries)):
        parser.error("expected a folder with text in .txt files, and queries that are not blank")
    embed = squeezeops.pipeline("feature-extraction", arguments.model, normalize=True, truncation=True)
    table = embed([text for _, text in paragraphs])  # unit vectors: dot products are cosines
    for query, vector in zip(arguments.queries, embed(arguments.queries), strict=True):
        ranked = sorted(zip(table @ vector, paragraphs, strict=True), reverse=True)[: arguments.show]
        print(query, *(f"  {score:.3f}  {file}: {' '.join(text.split())}" for score, (file, text) in ranked), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
