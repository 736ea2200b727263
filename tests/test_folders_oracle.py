"""Folders against transformers: the same ids, offsets and logits, whatever the files say; or a refusal by name.

``SQUEEZEOPS_FUZZ=N`` makes the random tests N times as long.
"""

from __future__ import annotations

import itertools
import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from test_tokenizer import FUZZ, SPECIALS
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from squeezeops.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

pytestmark = pytest.mark.oracle

# ---- tokenizers ----------------------------------------------------------------------------------------------------

WORDS = [
    "<e1>",
    "the", "film", "a", "##b", "e", "É", "é", "A", "中", "文", "##中", "good", "Good", "x", ".", "'", "s", "##s",
    "t", "n", "Ä", "ä", "[", "]", "mask", "##ask", "sep", "cls", ",", "<", "e1", ">", "ent", "##nt", "-", "##x", "##é",
    "I", "##E",
]  # fmt: skip
TEXTS = (
    "The film ab É é A 中文 a Good",
    "a [MASK] good [SEP] x [CLS]",
    "<e1> good<e2> <E3> it's a 'film' .",
    "xAÉ x  , it ' s n't  end",
    "\x01x\u200ba\ufffd É",
    "good good good the the film film a a a a a a a",
)
# Files that transformers reads wrong or not at all, or that say several things at once, are not made.
CLASSES = ("BertTokenizer", "BertTokenizerFast", "SqueezeBertTokenizer", "DistilBertTokenizer")
CLASSES += ("PreTrainedTokenizerFast", "TokenizersBackend")
REFUSED = ("normalizer: expected", "pre_tokenizer: expected", "as in tokenizer.json, got")


def spaced(token: str, rng: random.Random) -> dict[str, object]:
    flags = dict.fromkeys(("rstrip", "normalized", "single_word"), False)
    return {"content": token, "lstrip": rng.random() < 0.5, **flags}


def tokenizer_config(rng: random.Random, vocab: dict[str, int]) -> dict[str, object]:
    choices = {
        "tokenizer_class": (0.6, CLASSES),
        "do_lower_case": (0.5, (True, False)),
        "strip_accents": (0.2, (True, False, None)),
        "tokenize_chinese_chars": (0.2, (True, False)),
        "model_max_length": (0.4, (512, 16, int(1e30))),
        "max_len": (0.1, (8,)),
        "padding_side": (0.1, ("left", "right")),
        "truncation_side": (0.1, ("left", "right")),
        "split_special_tokens": (0.1, (True, False)),
        "clean_up_tokenization_spaces": (0.3, (True, False)),
        "model_input_names": (0.1, (["input_ids"], ["input_ids", "token_type_ids"])),
        "add_bos_token": (0.1, (True,)),
        "bos_token": (0.1, ("<s>", "x")),
        "pad_token": (0.1, ("[PAD]", "<pad>", {"__type": "AddedToken", **spaced("[PAD]", rng)})),
        "mask_token": (0.1, ("[MASK]", "<mask>", None, {"__type": "AddedToken", **spaced("[MASK]", rng)})),
        "image_token": (0.05, ("<e2>",)),
    }
    config: dict[str, Any] = {key: rng.choice(values) for key, (p, values) in choices.items() if rng.random() < p}
    further = rng.choice(({}, {}, {"additional_special_tokens": ["<e1>"]}, {"extra_special_tokens": ["<e2>", "x"]}))
    if rng.random() < 0.4:
        flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
        known = {str(vocab[t]): {"content": t, "special": True, **flags} for t in SPECIALS if t in vocab}
        config["added_tokens_decoder"] = known
        if rng.random() < 0.5:
            known[str(len(vocab))] = {**spaced("<e2>", rng), "normalized": rng.random() < 0.5, "special": True}
        if rng.random() < 0.3:
            known[str(len(vocab) + len(known) // 6)] = {"content": "<E3>", "normalized": True, "special": False}
    return config | further


def library_tokenizer(rng: random.Random, vocab: dict[str, int]) -> tokenizers.Tokenizer:
    limit = rng.choice((100, 100, 3))
    tok = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=limit))
    nfd, lower, strip = normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()
    bert = normalizers.BertNormalizer(
        rng.random() < 0.9, rng.random() < 0.8, rng.choice((None, None, True, False)), rng.random() < 0.7
    )
    others = (normalizers.Sequence([nfd, lower, strip]), normalizers.Sequence([bert, lower]), lower, normalizers.NFKC())
    tok.normalizer = rng.choice((bert, normalizers.BertNormalizer(), *others))
    bert_words = pre_tokenizers.BertPreTokenizer()
    two = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tok.pre_tokenizer = rng.choice((bert_words, bert_words, bert_words, two, pre_tokenizers.Whitespace()))
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    pair = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    template = processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair=pair, special_tokens=ends)
    other = processors.TemplateProcessing(single="$A:0 [SEP]:0", pair="$A:0 $B:1", special_tokens=ends[1:])
    tok.post_processor = rng.choice((template, template, processors.BertProcessing(ends[1], ends[0]), other))
    tok.decoder = decoders.WordPiece(prefix="##", cleanup=rng.random() < 0.5)
    if rng.random() < 0.7:
        tok.add_special_tokens([token for token in SPECIALS if token in vocab])
    if rng.random() < 0.3:
        flags = {flag: rng.random() < 0.5 for flag in ("normalized", "single_word")}
        tok.add_tokens([AddedToken("<e2>", special=True, **flags)])
    if rng.random() < 0.1:
        tok.enable_truncation(8, direction=rng.choice(("left", "right")))
    return tok


def write_folder(folder: Path, rng: random.Random) -> None:
    specials = [token for token in SPECIALS if token in ("[UNK]", "[CLS]", "[SEP]") or rng.random() < 0.9]
    vocab = {token: i for i, token in enumerate([*specials, *WORDS[rng.random() < 0.5 :]])}
    files: dict[str, object] = {"config": {"model_type": rng.choice(("bert", "squeezebert", "distilbert"))}}
    if rng.random() < 0.85:
        files["tokenizer_config"] = tokenizer_config(rng, vocab)
    if rng.random() < 0.3:
        tokens = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
        files["special_tokens_map"] = {k: rng.choice((t, spaced(t, rng))) for k, t in tokens.items()}
    if rng.random() < 0.2:
        files["added_tokens"] = {"<e2>": len(vocab)}
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    if rng.random() < 0.7:
        library_tokenizer(rng, vocab).save(str(folder / "tokenizer.json"))
    else:
        (folder / "vocab.txt").write_text("\n".join(vocab), encoding="utf-8")


def open_both(transformers: Any, folder: Path) -> tuple[Tokenizer, Any] | None:
    """Open a folder twice; None if ours refuses it by name, or transformers does not open it."""
    try:
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
    except ValueError as error:  # a general class with nothing but a vocab.txt
        assert "Couldn't instantiate the backend tokenizer" in str(error)
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Tokenizer.from_pretrained(folder), theirs
    except ValueError as error:
        assert any(name in str(error) for name in REFUSED), error
        return None


def check_tokenizers(ours: Tokenizer, theirs: Any) -> None:
    assert len(ours) == len(theirs)
    assert min(ours.max_length or 10**9, 10**9) == min(theirs.model_max_length, 10**9)
    for texts in (*((text,) for text in TEXTS), TEXTS[:2]):
        for options in ({}, {"truncation": True, "max_length": 7}):
            found, expected = (tok(*texts, return_offsets_mapping=True, **options) for tok in (ours, theirs))
            assert found["input_ids"] == expected["input_ids"], texts
            assert found["offset_mapping"] == expected["offset_mapping"], texts
            assert found["token_type_ids"] == expected.get("token_type_ids", [0] * len(found["input_ids"])), texts
            for skip in (True, False):
                decoded = theirs.decode(found["input_ids"], skip_special_tokens=skip)
                assert ours.decode(found["input_ids"], skip) == decoded
    if theirs.pad_token_id is not None:
        padded = theirs(list(TEXTS), padding=True)
        assert ours(TEXTS, padding=True)["input_ids"] == padded["input_ids"]


def test_random_tokenizers(transformers, tmp_path):
    opened = 0
    for seed in range(200 * FUZZ):
        folder = tmp_path / str(seed)
        folder.mkdir()
        write_folder(folder, random.Random(seed))
        both = open_both(transformers, folder)
        if both is not None:
            check_tokenizers(*both)
            opened += 1
    assert opened > 150 * FUZZ


@pytest.mark.parametrize("name", ["BertTokenizer", "SqueezeBertTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("lower", [True, False])
def test_saved_tokenizers(transformers, tmp_path, name, lower):
    vocab = {token: i for i, token in enumerate([*SPECIALS, *WORDS])}
    theirs = transformers.BertTokenizer(vocab=vocab, do_lower_case=lower, additional_special_tokens=["<e2>"])
    theirs.add_tokens(["<E3>", AddedToken("Film", single_word=True)])
    if name == "PreTrainedTokenizerFast":
        theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=theirs.backend_tokenizer, pad_token="[PAD]")
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    ours, again = open_both(transformers, tmp_path) or pytest.fail("not opened")
    check_tokenizers(ours, again)


# ---- models --------------------------------------------------------------------------------------------------------

TASKS = {
    "Model": "base",
    "ForMaskedLM": "masked-lm",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
}
KEYS: tuple[dict[str, Any], ...] = (
    {"pad_token_id": -1},
    {"label2id": {"a": 0.0, "b": 1.0}},
    {"id2label": {"0": 7, "1": 8}},
    {"architectures": None},
    {"layer_norm_eps": 1e-3},
    {"chunk_size_feed_forward": 4, "output_attentions": True, "output_hidden_states": True, "return_dict": False},
    {"dtype": "float16", "use_cache": False, "classifier_dropout": 0.5, "finetuning_task": "mnli"},
    {"num_hidden_layers": 1},
    {"hidden_act": "gelu_accurate"},
    {"hidden_act": "gelu_python_tanh"},
    {"tie_word_embeddings": False},
)


def tensors_without(tensors: dict[str, Any], *endings: str) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(endings)}


def renamed(tensors: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {name.replace(old, new): tensor for name, tensor in tensors.items()}


CHANGES = {
    "none": lambda t: t,
    "more": lambda t: t | {"linear.weight": next(iter(t.values())).clone()},
    "double": lambda t: {name: tensor.double() for name, tensor in t.items()},
    "half": lambda t: {name: tensor.half() for name, tensor in t.items()},
    "bfloat16": lambda t: {name: tensor.bfloat16() for name, tensor in t.items()},
    "gamma": lambda t: renamed(renamed(t, "LayerNorm.weight", "LayerNorm.gamma"), "LayerNorm.bias", "LayerNorm.beta"),
    "tied": lambda t: tensors_without(t, "decoder.weight", "decoder.bias"),
}


@pytest.mark.parametrize("kind", ["Bert", "SqueezeBert"])
@pytest.mark.parametrize("head", TASKS)
def test_saved_models(transformers, tmp_path, kind, head):
    import torch

    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": 30, "max_position_embeddings": 20, "num_labels": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, **({"embedding_size": 16} if kind[0] == "S" else {}))
    cls = getattr(transformers, kind + head)
    model = cls(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    cases = [(keys, "none", "safetensors") for keys in KEYS]
    forms = itertools.cycle(("bin", "safetensors", "old bin"))
    cases += [({}, name, next(forms)) for name in (*CHANGES, "none")]
    for k, (keys, name, form) in enumerate(cases):
        folder = tmp_path / str(k)
        tensors = {n: t.clone() for n, t in CHANGES[name](model.state_dict()).items()}
        if form == "safetensors":
            model.save_pretrained(folder, state_dict=tensors, max_shard_size=("10KB", "1GB")[k % 2])
        else:
            config.save_pretrained(folder)
            torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "bin")
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(data | keys), encoding="utf-8")
        check_models(cls.from_pretrained(folder, dtype=torch.float32), folder, TASKS[head])


def check_models(theirs: Any, folder: Path, task: str) -> None:
    import torch

    ids, mask = np.arange(24).reshape(2, 12) % 30, np.ones((2, 12), int)
    types = (np.arange(24).reshape(2, 12) > 6).astype(int)
    mask[1, 8:] = 0
    if task == "multiple-choice":
        ids, mask, types = ids[None], mask[None], types[None]
    with torch.no_grad():
        expected = theirs.eval()(*map(torch.tensor, (ids, mask, types)), return_dict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = SqueezeBert.from_pretrained(folder, task=task)(ids, mask, types)
    field = {"base": "last_hidden_state", "question-answering": "start_logits"}.get(task, "logits")
    ours, theirs = getattr(found, field), getattr(expected, field).numpy()
    if ours.shape[:2] == mask.shape:  # rows of padding differ
        ours, theirs = ours[mask == 1], theirs[mask == 1]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * max(1, abs(theirs).max()), err_msg=str(folder))
