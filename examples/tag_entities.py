"""Count the named entities in texts: people, places and whatever else the model labels.

    python examples/tag_entities.py --model FOLDER "Ada Lovelace met Charles Babbage in London."
    python examples/tag_entities.py --model FOLDER --file article.txt

The model must be fine-tuned for token classification, for example on CoNLL-2003.
"""

import argparse
from collections import Counter
from pathlib import Path

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="*", metavar="text")
    parser.add_argument("--file", type=Path, help="a text file with one paragraph per line")
    parser.add_argument("--model", required=True, help="folder or cached name of a token-classification model")
    arguments = parser.parse_args()

    lines = arguments.file.read_text(encoding="utf-8").splitlines() if arguments.file else []
    texts = arguments.texts + [line for line in lines if line.strip()]
    if not texts:
        parser.error("expected a text, or --file with a file that is not blank")
    tag = squeezeops.pipeline("token-classification", arguments.model, aggregation_strategy="first", stride=32)
    counts = Counter()
    for text, entities in zip(texts, tag(texts), strict=True):
        counts.update((entity["entity_group"], text[entity["start"] : entity["end"]]) for entity in entities)
    for (label, name), count in counts.most_common():
        print(f"{count:5}  {label:5}  {name}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
