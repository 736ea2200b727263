"""Answer questions about a document, with the place of the answer in it.

    python examples/answer_questions.py --model FOLDER document.txt "Who wrote it?" "When?"
    python examples/answer_questions.py --model FOLDER document.txt        # asks for questions; an empty line ends

The model is one for question answering, fine-tuned on SQuAD or the like.
"""

import argparse
from contextlib import suppress
from pathlib import Path

import squeezeops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("questions", nargs="*", metavar="question")
    parser.add_argument("--model", required=True, help="a question-answering model's folder or cached name")
    arguments = parser.parse_args()

    document = arguments.document.read_text(encoding="utf-8")
    if not document.strip():
        parser.error(f"{arguments.document}: expected a text, got a blank file")
    answer = squeezeops.pipeline("question-answering", arguments.model)
    with suppress(EOFError):  # the end of what is typed in
        for question in arguments.questions or iter(lambda: input("question: ").strip(), ""):
            found = answer({"question": question, "context": document})
            line = document.count("\n", 0, found["start"]) + 1
            print(f"{found['answer']}  (score {found['score']:.3f}, line {line})")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
