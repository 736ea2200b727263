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
    group = parser.add_argument_group("teacher")
    group.add_argument("--teachers", type=int, default=1, help="number of teachers whose log-odds are averaged")
    group.add_argument("--teacher-epochs", type=int, default=2)
    group.add_argument("--teacher-lr", type=float, default=1e-4)
    group.add_argument("--teacher-templates", type=int, default=14000, help="sentences of the grammar it is taught")
    group.add_argument("--neutral-share", type=float, default=0.2, help="share of the neutral phrases it is taught")
    group = parser.add_argument_group("pool")
    group.add_argument("--copies", type=int, default=16, help="distorted copies of each training sentence")
    group.add_argument("--phrase-copies", type=int, default=80000)
    group.add_argument("--tweet-copies", type=int, default=6)
    group.add_argument("--templates", type=int, default=60000)
    group.add_argument("--corrections", type=int, default=25000)
    group.add_argument("--typed", type=int, default=40000)
    group.add_argument("--long", type=int, default=4000)
    group.add_argument("--sentence-weight", type=float, default=3.0)
    group = parser.add_argument_group("student")
    group.add_argument("--vocab", type=int, default=8000)
    group.add_argument("--pieces", type=int, default=1100)
    group.add_argument("--hidden", type=int, default=96)
    group.add_argument("--layers", type=int, default=4)
    group.add_argument("--heads", type=int, default=4)
    group.add_argument("--intermediate", type=int, default=384)
    group.add_argument("--positions", type=int, default=256)
    group.add_argument("--epochs", type=int, default=9)
    group.add_argument("--lr", type=float, default=2e-3)
    group.add_argument("--tokens", type=int, default=3072)
    group.add_argument("--rows", type=int, default=192)
    group.add_argument("--squared", type=float, default=0.1)
    group.add_argument("--gold", type=float, default=0.5)
    group.add_argument("--dropout", type=float, default=0.1)
    group.add_argument("--word-dropout", type=float, default=0.05)
    group.add_argument("--minutes", type=float, default=math.inf, help="time limit for training the student")
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
