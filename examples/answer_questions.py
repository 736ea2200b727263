"""Answer questions about a document and show on which line each answer begins.

    python examples/answer_questions.py --model FOLDER document.txt "Who wrote it?" "When?"
    python examples/answer_questions.py --model FOLDER document.txt        # prompts until an empty line

The model must be fine-tuned for question answering, for example on SQuAD.
"""

import argparse
from contextlib import suppress
from pathlib import Path

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("questions", nargs="*", metavar="question")
    parser.add_argument("--model", required=True, help="folder or cached name of a question-answering model")
    arguments = parser.parse_args()

    document = arguments.document.read_text(encoding="utf-8")
    if not document.strip():
        parser.error(f"{arguments.document}: expected a text, got a blank file")
    answer = squeezeops.pipeline("question-answering", arguments.model)
    with suppress(EOFError):  # end of the standard input
        for question in arguments.questions or iter(lambda: input("question: ").strip(), ""):
            found = answer({"question": question, "context": document})
            line = document.count("\n", 0, found["start"]) + 1
            print(f"{found['answer']}  (score {found['score']:.3f}, line {line})")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
