"""Train the small SqueezeBERT sentiment model that ships with squeezeops.

    python examples/training/train.py --data sst --tweets wnut17 --work build/sentiment --out out/sentiment

A sentence encoder of six layers, MiniLM, is fine-tuned on the phrases of the Stanford Sentiment Treebank: the teacher.
It then labels a large pool of text: the phrases, distorted copies of the sentences, tweets, and everyday sentences from
a small grammar. The student, a SqueezeBERT with under a million parameters, learns these labels. It is written as a
Hugging Face folder of at most 2,000,000 bytes with float16 weights.

--data is a folder with train.trees and dev.trees: bracketed trees with labels 0 to 4 on each phrase. --tweets is
optional, a folder of CoNLL files whose messages join the pool. `pip install ".[train]"` installs what the program
needs; none of it is needed to use the model.

Each stage leaves its result in --work and is skipped if the result is there. The two that train also resume after their
last finished epoch:

    parse      corpus.py, treebank.py       phrases and labels, validation set
    teacher    teacher.py                   fine-tuned encoder
    labels     pool.py, grammar.py,         the pool and its labels
               distort.py, words.py, data/
    student    distillation.py,             the trained student
               student.py, vocabulary.py
    export     export.py                    Hugging Face folder in --out
    evaluate   evaluation.py                accuracy, printed

All choices are made on a validation set held out of train.trees. Only `evaluate` reads dev.trees.

The shipped model was trained with the defaults, `--epochs 12` and `--minutes 35` on two busy cores. That gave nine
passes; the corrections of the grammar joined the pool after the first. Results differ slightly from run to run:
workers apply their gradients in any order, and the trainer of word pieces breaks ties at random. The folder is
examples/sentiment_checkpoint, from which `squeezeops convert` made the int8 file that ships.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from batching import save_atomically
from corpus import stage_parse
from distillation import stage_student
from evaluation import stage_evaluate
from export import stage_export
from pool import stage_labels
from teacher import Teacher, stage_teacher

STAGES = ["parse", "teacher", "labels", "student", "export", "evaluate"]


def arguments() -> argparse.Namespace:
    """Parse the command line. The shipped model was trained with the defaults, but dropout only in the last passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.trees and dev.trees")
    parser.add_argument("--tweets", type=Path, help="folder with *.conll messages for the unlabelled pool")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--stages", default=",".join(STAGES), help="comma-separated subset of the stages to run")
    parser.add_argument("--name", default="student", help="name of the student's checkpoint inside --work")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)

    def group(name: str, helps: dict[str, str], **defaults: float) -> None:
        options = parser.add_argument_group(name)
        for option, default in defaults.items():
            flag = f"--{option.replace('_', '-')}"
            options.add_argument(flag, type=type(default), default=default, help=helps.get(option))

    helps = {
        "teachers": "number of teachers whose log-odds are averaged",
        "teacher_templates": "sentences of the grammar it is taught",
        "neutral_share": "share of the neutral phrases it is taught",
        "copies": "distorted copies of each training sentence",
        "minutes": "time limit for training the student",
    }
    teaching = {"teachers": 1, "teacher_epochs": 2, "teacher_lr": 1e-4, "teacher_templates": 14000}
    group("teacher", helps, **teaching, neutral_share=0.2)
    copies = {"copies": 16, "phrase_copies": 80000, "tweet_copies": 6, "templates": 60000, "corrections": 25000}
    group("pool", helps, **copies, typed=40000, long=4000, sentence_weight=3.0)
    sizes = {"vocab": 8000, "pieces": 1100, "hidden": 96, "layers": 4, "heads": 4, "intermediate": 384}
    training = {"epochs": 9, "lr": 2e-3, "tokens": 3072, "rows": 192, "squared": 0.1, "gold": 0.5, "dropout": 0.1}
    group("student", helps, **sizes, positions=256, **training, word_dropout=0.05, minutes=math.inf)
    return parser.parse_args()


def main() -> None:
    """Run the chosen stages in order."""
    args = arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    stages = args.stages.split(",")
    if unknown := set(stages) - set(STAGES):
        raise SystemExit(f"unknown stages: {', '.join(sorted(unknown))}")
    parsed = args.work / "parse.json"
    if not parsed.exists():
        parsed.write_text(json.dumps(stage_parse(args)), encoding="utf-8")
    data = json.loads(parsed.read_text(encoding="utf-8"))

    paths = [args.work / f"teacher{i + 1}.pt" for i in range(args.teachers)]
    if "teacher" in stages:
        for i, path in enumerate(paths):
            if not path.exists():
                stage_teacher(args, data, i + 1, path)
    teachers = []
    for path in paths:
        if path.exists():
            teachers.append(Teacher().eval())
            teachers[-1].load_state_dict(torch.load(path))
    labels, student = args.work / "labels.pt", args.work / f"{args.name}.pt"
    if "labels" in stages and not labels.exists():
        save_atomically(stage_labels(args, data, teachers), labels)
    if "student" in stages and not student.exists():
        stage_student(args, data, torch.load(labels, weights_only=False), teachers[0], student)
    if "export" in stages:
        stage_export(args, torch.load(student))
    if "evaluate" in stages:
        stage_evaluate(args, data, teachers)


if __name__ == "__main__":
    main()
