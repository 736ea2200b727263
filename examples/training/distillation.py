"""Distillation: the student learns what the teacher says of the pool."""

from __future__ import annotations

import argparse
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from batching import length_batches, pad, save_atomically
from corpus import accuracy
from student import forward_student, new_student, score_student
from teacher import Teacher
from tokenizers import BertWordPieceTokenizer
from torch import nn
from tqdm import tqdm
from vocabulary import build_vocabulary, first_embeddings


def stage_student(args: argparse.Namespace, data: dict, pool: dict, teacher: Teacher, path: Path) -> None:
    """Train on squared error of the teacher's log-odds, and cross-entropy of its probability and of the gold label.

    ``--threads`` workers take batches in turn. Each computes its gradient alone and applies it under a lock, so no
    worker waits for another on a busy machine. A gradient may thus be one step old, and only ``--threads 1`` is
    reproducible. With ``--minutes`` the learning rate decays to its minimum within that limit.
    """
    torch.manual_seed(args.seed)
    chosen = path.with_suffix(".vocab.txt")  # keep it: the piece trainer breaks ties at random
    if not chosen.exists():
        chosen.write_text("\n".join(build_vocabulary(args, data, pool)) + "\n", encoding="utf-8")
    vocab = chosen.read_text(encoding="utf-8").splitlines()
    tokenizer = BertWordPieceTokenizer(str(chosen), lowercase=True)
    tokenizer.enable_truncation(args.positions)
    model = new_student(args, len(vocab)).train()
    embeddings = model.transformer.embeddings
    with torch.no_grad():
        table = first_embeddings(vocab, teacher, args.hidden)
        table[0] = 0
        embeddings.word_embeddings.weight.copy_(table)
        embeddings.position_embeddings.weight.mul_(0.5)
        embeddings.token_type_embeddings.weight.zero_()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(vocab)} pieces", flush=True)
    packed = [np.array(e.ids, dtype=np.int32) for e in tokenizer.encode_batch(pool["text"])]
    lengths = np.array([len(t) for t in packed])
    log_odds = torch.from_numpy(np.clip(pool["log_odds"], -5, 5).astype(np.float32))
    gold, weight = torch.from_numpy(pool["gold"]), torch.from_numpy(pool["weight"])

    words = [embeddings.word_embeddings.weight]
    optimizer = torch.optim.AdamW(
        [
            {"params": words, "weight_decay": 0.0},
            {"params": [p for p in model.parameters() if p.ndim > 1 and p is not words[0]], "weight_decay": 0.01},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=args.lr,
        betas=(0.9, 0.99),
        fused=True,
    )
    average = new_student(args, len(vocab)).eval()
    average.load_state_dict(model.state_dict())
    params, smooth = list(model.parameters()), list(average.parameters())
    resume = path.with_suffix(".resume")
    state = {"epoch": 0, "steps": 0, "seconds": 0.0, "best": 0.0}
    if resume.exists():
        state = torch.load(resume, weights_only=False)
        model.load_state_dict(state.pop("model"))
        average.load_state_dict(state.pop("average"))
        optimizer.load_state_dict(state.pop("optimizer"))
    began = time.time() - state["seconds"]

    def progress(done: float) -> float:
        return max(done / args.epochs, (time.time() - began) / (60 * args.minutes))

    def loss_of(replica, batch: np.ndarray) -> torch.Tensor:
        ids = pad([packed[i] for i in batch])
        # Mask words, but no special tokens. The teacher saw them, so the student learns to use the other words.
        ids[(ids > 4) & (torch.rand(ids.shape) < args.word_dropout)] = 4  # [MASK]
        logits = forward_student(replica, ids, half=True, drop=args.dropout)
        z, want, label, share = logits[:, 1] - logits[:, 0], log_odds[batch], gold[batch], weight[batch]
        loss = args.squared * (z - want).square()
        loss = loss + F.binary_cross_entropy_with_logits(z, torch.sigmoid(want), reduction="none")
        told = F.binary_cross_entropy_with_logits(z, label.clamp(min=0), reduction="none")
        loss = loss + args.gold * (label >= 0).float() * told
        return (share * loss).sum() / share.sum() + 1e-3 * logits.sum(1).square().mean()

    def report(what: str) -> None:
        texts = [t for t, _ in data["valid"]]
        now, mean = (accuracy(score_student(m, tokenizer, texts), data["valid"]) for m in (model, average))
        model.train()
        print(
            f"student {what}: loss {state['loss']:.3f}, validation {now:.2f} % (averaged {mean:.2f} %), "
            f"{state['steps']} steps, {time.time() - began:.0f} s",
            flush=True,
        )
        if mean >= state["best"]:
            state["best"] = mean
            save_atomically(
                {"state": average.state_dict(), "vocab": vocab, "validation": mean}, path.with_suffix(".best")
            )

    lock = threading.Lock()
    state.setdefault("loss", 1.0)
    while progress(state["epoch"]) < 1.0:
        batches = length_batches(lengths, args.tokens, args.rows, np.random.default_rng([args.seed, state["epoch"]]))
        queue = iter(tqdm(batches, desc=f"student epoch {state['epoch']}", mininterval=10))
        taken, last, size = 0, time.time(), len(batches)

        def work(queue=queue, size=size) -> None:
            nonlocal taken, last
            torch.set_num_threads(1)
            replica = new_student(args, len(vocab)).train()
            for mine, shared in zip(replica.parameters(), params, strict=True):
                mine.data = shared.data
            while True:
                with lock:
                    batch = next(queue, None)
                    taken += 1
                    part = progress(state["epoch"] + taken / size)
                    if batch is None or part >= 1.0:
                        return
                replica.zero_grad()
                loss = loss_of(replica, batch)
                loss.backward()
                with lock, torch.no_grad():
                    for mine, shared in zip(replica.parameters(), params, strict=True):
                        shared.grad = mine.grad
                    nn.utils.clip_grad_norm_(params, 1.0)
                    state["steps"] += 1
                    rate = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
                    for group in optimizer.param_groups:
                        group["lr"] = args.lr * rate * min(1.0, state["steps"] / 500)
                    optimizer.step()
                    if state["steps"] % 5 == 0:
                        keep = min(0.998, state["steps"] / (state["steps"] + 200))
                        torch._foreach_lerp_(smooth, params, 1 - keep)
                    state["loss"] += (loss.item() - state["loss"]) / min(state["steps"], 500)
                    if time.time() - last > 240:
                        report(f"at {100 * part:.0f} %")
                        last = time.time()

        with ThreadPoolExecutor(args.threads) as workers:
            for future in [workers.submit(work) for _ in range(args.threads)]:
                future.result()
        torch.set_num_threads(args.threads)
        state["epoch"] += 1
        state["seconds"] = time.time() - began
        report(f"after epoch {state['epoch']}")
        save_atomically(
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                **state,
            },
            resume,
        )
    os.replace(path.with_suffix(".best"), path)
    resume.unlink(missing_ok=True)
