"""Write the golden models into this folder: models as transformers saves them, and the results of transformers.

Run it by hand where torch and transformers are installed: ``python tests/golden/make_golden.py``. It writes
``NAME/config.json``, ``NAME/model.safetensors`` and ``NAME/expected.npz``. The tests that read them need neither.

The random weights make mistakes visible: LayerNorms scale and shift, biases are not zero, attention is far from
uniform, logits are far from zero. The script checks this, and that typical mistakes change the results by far more than
the tolerance of the tests.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
LENGTH = 10
MASKS = {  # one row each, in one batch
    "full": "1111111111",
    "padded": "1111110000",
    "left_padded": "0001111111",
    "holes": "1101100111",
    "holes_padded": "1011010000",
    "all_zero": "0000000000",
}


def sizes(channels: int, heads: int, inner: int, positions: int, **others: object) -> dict[str, object]:
    """A configuration of two layers."""
    values = {"hidden_size": channels, "embedding_size": channels, "num_hidden_layers": 2, "num_attention_heads": heads}
    return values | {"intermediate_size": inner, "max_position_embeddings": positions, **others}


def labels(*names: str) -> dict[str, object]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


SMALL = sizes(32, 4, 128, 16, vocab_size=100, **labels("contradiction", "neutral", "entailment"))
ODD = sizes(48, 6, 96, LENGTH, vocab_size=60, type_vocab_size=3, hidden_act="gelu_new", layer_norm_eps=0.05)
ODD |= {"q_groups": 2, "k_groups": 2, "v_groups": 2, "post_attention_groups": 2}
ODD |= {"intermediate_groups": 4, "output_groups": 1}
TINY = {**SMALL, "vocab_size": 60, "num_hidden_layers": 1, "intermediate_size": 64, "layer_norm_eps": 0.05}
TWO = labels("start", "end")
DEEPER = {"num_hidden_layers": 2, "type_vocab_size": 3}
BERT = {key: value for key, value in TINY.items() if key != "embedding_size"} | {"hidden_size": 24, "vocab_size": 40}
MODELS = {  # name: (class, configuration, stored dtype, whether to keep hidden states and attentions)
    "classification": (transformers.SqueezeBertForSequenceClassification, SMALL, torch.float32, True),
    "odd_groups": (transformers.SqueezeBertModel, ODD, torch.float32, True),
    "float16": (transformers.SqueezeBertForSequenceClassification, SMALL, torch.float16, False),
    "bfloat16": (transformers.SqueezeBertForSequenceClassification, SMALL, torch.bfloat16, False),
    "masked_lm": (transformers.SqueezeBertForMaskedLM, TINY, torch.float32, False),
    "token_classification": (transformers.SqueezeBertForTokenClassification, TINY, torch.float32, False),
    "question_answering": (transformers.SqueezeBertForQuestionAnswering, {**TINY, **TWO}, torch.float32, False),
    "multiple_choice": (transformers.SqueezeBertForMultipleChoice, TINY, torch.float32, False),
    "bert_classification": (transformers.BertForSequenceClassification, BERT | DEEPER, torch.float32, True),
    "bert_masked_lm": (transformers.BertForMaskedLM, BERT | {"hidden_act": "gelu_new"}, torch.float32, False),
}
POOLING = ("Model", "ForSequenceClassification", "ForMultipleChoice")  # classes with a pooler
ACTIVATIONS = ("act", "intermediate_act_fn", "transform_act_fn")  # attributes that hold an activation
LOGITS = ("logits", "start_logits", "end_logits")
Model = transformers.PreTrainedModel
Inputs = dict[str, torch.Tensor]


def draw(model: Model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.lower().endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                std = 0.3
                if name.startswith(("classifier", "qa_outputs")):
                    std = 1.2 if isinstance(model, transformers.SqueezeBertForSequenceClassification) else 0.5
                if name.endswith(("query.weight", "key.weight")):
                    scores = 4 if model.config.model_type == "bert" else 8  # the magnitude of the scores
                    std = math.sqrt(scores / parameter.shape[1])
                parameter.normal_(0, std, generator=generator)


def make_inputs(model: Model, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(MASKS), LENGTH)
    inputs = {
        "input_ids": torch.randint(model.config.vocab_size, shape, generator=generator),
        "attention_mask": torch.tensor([[int(digit) for digit in mask] for mask in MASKS.values()]),
        "token_type_ids": torch.randint(model.config.type_vocab_size, shape, generator=generator),
    }
    if type(model).__name__.endswith("ForMultipleChoice"):
        inputs = {name: value.reshape(2, -1, LENGTH) for name, value in inputs.items()}
    return inputs


def run(model: Model, inputs: Inputs) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
        base = model.base_model(**{name: value.reshape(-1, LENGTH) for name, value in inputs.items()})
    result = {"last_hidden_state": base.last_hidden_state}
    if type(model).__name__.endswith(POOLING):
        result["pooler_output"] = base.pooler_output
    result["hidden_states"] = torch.stack(output.hidden_states)
    result["attentions"] = torch.stack(output.attentions)
    return result | {name: output[name] for name in LOGITS if name in output}


def check_that_mistakes_show(model: Model, inputs: Inputs, result: dict[str, torch.Tensor]) -> None:
    attentions = result["attentions"][:, 0]  # the row without padding
    probabilities = attentions if model.config.model_type == "bert" else attentions.softmax(-1)
    entropy = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1).mean((1, 2))  # per layer
    assert (entropy < 0.5 * math.log(LENGTH)).all(), entropy
    keys = [key for key in LOGITS if key in result] or ["last_hidden_state"]
    for key in keys:
        assert (result[key].abs().amax(-1) > 1).double().mean() > 0.8, result[key]
        for name in inputs:
            other = {**inputs, name: inputs[name].roll(1, dims=-1)}
            assert (run(model, other)[key] - result[key]).abs().max() > 0.1, name
    key = keys[0]
    wrong = {1e-12: 0.05, 0.05: 1e-12}  # each eps becomes the other one
    swaps = [(m, "eps", wrong[m.eps]) for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    other_gelu = torch.nn.GELU(approximate="tanh" if model.config.hidden_act == "gelu" else "none")
    for attribute in ACTIVATIONS:
        swaps += [
            (m, attribute, other_gelu)
            for m in model.modules()
            if isinstance(getattr(m, attribute, None), torch.nn.Module)
        ]
    for module, name, value in swaps:
        kept = getattr(module, name)
        setattr(module, name, value)
        difference = (run(model, inputs)[key] - result[key]).abs().max()
        setattr(module, name, kept)
        assert difference > 1e-4, (name, difference)


def main() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for seed, (name, (kind, config, dtype, keep_all)) in enumerate(MODELS.items()):
        model = kind._from_config(kind.config_class(**config), attn_implementation="eager").eval()
        draw(model, seed)
        folder = HERE / name
        model.to(dtype).save_pretrained(folder)
        inputs = make_inputs(model, 100 + seed)
        single = run(model.float(), inputs)
        result = run(model.double(), inputs)  # so that any difference is an error of the tested library
        for key in result.keys() - {"attentions"}:  # float32 can reach the tolerance of the tests
            assert (single[key] - result[key]).abs().max() < 6e-6, (name, key)
        check_that_mistakes_show(model, inputs, result)
        if not keep_all:
            result = {key: value for key, value in result.items() if key not in ("hidden_states", "attentions")}
        arrays = {key: value.numpy().astype(np.uint8) for key, value in inputs.items()}
        lowest = torch.finfo(torch.float32).min  # transformers masks with the lowest number of the dtype in use
        arrays |= {key: value.clamp(min=lowest).float().numpy() for key, value in result.items()}
        np.savez_compressed(folder / "expected.npz", rows=np.array(list(MASKS)), **arrays)
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    assert size < 700_000, size
    print(f"{len(MODELS)} models, {size} bytes")


if __name__ == "__main__":
    main()
