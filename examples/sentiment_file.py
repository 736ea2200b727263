"""Classify the reviews in a file, one per line: count each label and show the most certain reviews.

    python examples/sentiment_file.py reviews.txt [--show 3] [--model FOLDER]

Reviews longer than the model's maximum length are truncated.
"""

import argparse
from collections import Counter

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a text file with one review per line")
    parser.add_argument("--show", type=int, default=3, help="reviews to print per label (default: %(default)s)")
    parser.add_argument("--model", help="a text-classification model (default: the built-in one, for English)")
    arguments = parser.parse_args()

    with open(arguments.file, encoding="utf-8") as file:
        reviews = [line.strip() for line in file if line.strip()]
    if not reviews:
        parser.error(f"{arguments.file}: expected reviews, got a blank file")
    classify = squeezeops.pipeline("text-classification", arguments.model, truncation=True)
    results = classify(reviews)

    for label, count in Counter(result["label"] for result in results).most_common():
        print(f"{label}: {count} of {len(reviews)}")
        found = [(r["score"], text) for r, text in zip(results, reviews, strict=True) if r["label"] == label]
        for score, text in sorted(found, reverse=True)[: arguments.show]:
            print(f"  {score:.3f}  {text}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
