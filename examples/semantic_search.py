"""Search the .txt files of a folder by meaning: the paragraphs closest to each query.

    python examples/semantic_search.py --model path/to/all-MiniLM-L6-v2 folder "a query" ["another query"] [--show 3]

A paragraph ends at a blank line. The model is any that was trained for sentence embeddings by mean pooling.
"""

import argparse
import re
from pathlib import Path

import numpy as np

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("queries", nargs="+", metavar="query")
    parser.add_argument("--model", required=True, help="an embedding model's folder or cached name")
    parser.add_argument("--show", type=int, default=3, help="paragraphs to print a query (default: %(default)s)")
    arguments = parser.parse_args()

    paragraphs = []  # (file, text)
    for path in sorted(arguments.folder.rglob("*.txt")):
        parts = re.split(r"\n\s*\n", path.read_text(encoding="utf-8"))
        paragraphs += [(path.name, " ".join(part.split())) for part in parts if part.strip()]
    embed = squeezeops.pipeline("feature-extraction", arguments.model, pooling="mean", normalize=True, truncation=True)
    table = np.array(embed([text for _, text in paragraphs]))  # [paragraphs, channels], each row of length 1
    for query, vector in zip(arguments.queries, embed(arguments.queries), strict=True):
        scores = table @ vector  # cosines: -1 to 1
        print(query)
        for index in np.argsort(-scores)[: arguments.show]:
            print(f"  {scores[index]:.3f}  {paragraphs[index][0]}: {paragraphs[index][1]}")


if __name__ == "__main__":
    main()
