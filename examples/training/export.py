"""The trained student as a Hugging Face folder."""

from __future__ import annotations

import argparse
import json
import os
import shutil

from student import new_student


def stage_export(args: argparse.Namespace, student: dict) -> None:
    """Write a Hugging Face folder beside `--out`, then move its files there. A model card in `--out` stays."""
    from safetensors.torch import save_file

    model = new_student(args, len(student["vocab"]))
    model.load_state_dict(student["state"])
    folder = args.out.with_name(args.out.name + ".part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    weights = {name: p.detach().half().contiguous() for name, p in model.named_parameters()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "vocab.txt").write_text("\n".join(student["vocab"]) + "\n", encoding="utf-8")
    config = {
        "architectures": ["SqueezeBertForSequenceClassification"],
        "model_type": "squeezebert",
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "vocab_size": len(student["vocab"]),
        "hidden_size": args.hidden,
        "embedding_size": args.hidden,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.heads,
        "intermediate_size": args.intermediate,
        "max_position_embeddings": args.positions,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "q_groups": 4,
        "k_groups": 4,
        "v_groups": 4,
        "post_attention_groups": 1,
        "intermediate_groups": 4,
        "output_groups": 4,
        "num_labels": 2,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        "label2id": {"NEGATIVE": 0, "POSITIVE": 1},
        "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "do_basic_tokenize": True,
        "tokenize_chinese_chars": True,
        "strip_accents": None,
        "never_split": None,
        "model_max_length": args.positions,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n", encoding="utf-8")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.txt", "tokenizer_config.json", "config.json", "model.safetensors"):
        os.replace(folder / name, args.out / name)
    folder.rmdir()
