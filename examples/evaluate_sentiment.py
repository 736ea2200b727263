"""Print the accuracy of a sentiment model on SST-2, the sentences of the Stanford Sentiment Treebank.

    python examples/evaluate_sentiment.py path/to/dev.trees [--model MODEL] [--dtype DTYPE] [--attention WORD]
        [--errors] [--json FILE]

The label of a sentence is that of its whole tree: 0 and 1 are negative, 3 and 4 positive. Neutral sentences (2) are
left out, so 872 sentences of dev.trees remain. The program needs squeezeops only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.treebank import read_trees

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", type=Path, help="a file of bracketed trees")
    parser.add_argument(
        "--model", help="default: the built-in one, which was converted from examples/sentiment_checkpoint"
    )
    parser.add_argument("--dtype", help="float32, float16 or int8, for a model that is not converted")
    parser.add_argument("--attention", help="float32 or int8, likewise; default: int8 for int8")
    parser.add_argument("--errors", action="store_true", help="print the misclassified sentences")
    parser.add_argument("--json", type=Path, help="a JSON file to add the result to")
    arguments = parser.parse_args()

    sentences = [phrases[-1] for phrases in read_trees(arguments.trees)]
    texts = [text for text, label in sentences if label != 2]
    truth = ["POSITIVE" if label > 2 else "NEGATIVE" for _, label in sentences if label != 2]
    options = {"dtype": arguments.dtype, "attention": arguments.attention}
    classify = squeezeops.pipeline("text-classification", arguments.model, **options)
    if set(classify.model.config.id2label.values()) != {"POSITIVE", "NEGATIVE"}:
        parser.error(f"--model: expected the labels POSITIVE and NEGATIVE, got {classify.model.config.id2label}")
    results = classify(texts, truncation=True)
    wrong = [(t, r, s) for t, r, s in zip(texts, results, truth, strict=True) if r["label"] != s]
    if arguments.errors:
        for text, result, _ in wrong:
            print(f"{result['label']}\t{result['score']:.4f}\t{text}")
    right = len(texts) - len(wrong)
    print(f"{right} of {len(texts)} sentences right: {100 * right / len(texts):.2f} %")
    if arguments.json:
        name = Path(arguments.model).name if arguments.model else "embedded"
        facts = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        dtype = classify.model.dtype + (f" with {arguments.attention} attention" if arguments.attention else "")
        facts[f"sentiment, {name}, {dtype}, {arguments.trees.name}"] = {
            "texts": len(texts),
            "right": right,
        }
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
