"""Writes the golden models beside this file: folders as transformers saves them, and what transformers computes.

Run by hand where torch and transformers are installed: ``python tests/golden/make_golden.py``. The tests need neither
to read the result, ``NAME/config.json``, ``NAME/model.safetensors`` and ``NAME/expected.npz``.

The weights are drawn so that mistakes show: LayerNorms that scale and shift, biases, attention far from uniform, logits
far from zero. The script asserts that, and that typical mistakes change the result by far more than the tests allow.
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
SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "embedding_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 16,
    "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
    "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2},
}
ODD = {
    "vocab_size": 60,
    "hidden_size": 48,
    "embedding_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 96,
    "max_position_embeddings": LENGTH,
    "type_vocab_size": 3,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 0.05,
    "q_groups": 2,
    "k_groups": 2,
    "v_groups": 2,
    "post_attention_groups": 2,
    "intermediate_groups": 4,
    "output_groups": 1,
}
MODELS = {  # name: (class, configuration, stored dtype, whether to keep hidden states and attentions)
    "classification": (transformers.SqueezeBertForSequenceClassification, SMALL, torch.float32, True),
    "odd_groups": (transformers.SqueezeBertModel, ODD, torch.float32, True),
    "float16": (transformers.SqueezeBertForSequenceClassification, SMALL, torch.float16, False),
    "bfloat16": (transformers.SqueezeBertForSequenceClassification, SMALL, torch.bfloat16, False),
}
Model = transformers.PreTrainedModel
Inputs = dict[str, torch.Tensor]


def draw(model: Model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.lower().endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                std = 1.2 if name.startswith("classifier") else 0.3
                if name.endswith(("query.weight", "key.weight")):
                    std = math.sqrt(8 / parameter.shape[1])  # scores of about 8
                parameter.normal_(0, std, generator=generator)


def make_inputs(config: transformers.SqueezeBertConfig, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(MASKS), LENGTH)
    return {
        "input_ids": torch.randint(config.vocab_size, shape, generator=generator),
        "attention_mask": torch.tensor([[int(digit) for digit in mask] for mask in MASKS.values()]),
        "token_type_ids": torch.randint(config.type_vocab_size, shape, generator=generator),
    }


def run(model: Model, inputs: Inputs) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
        base = getattr(model, "transformer", model)(**inputs)
    result = {
        "last_hidden_state": base.last_hidden_state,
        "pooler_output": base.pooler_output,
        "hidden_states": torch.stack(output.hidden_states),
        "attentions": torch.stack(output.attentions),
    }
    if "logits" in output:
        result["logits"] = output.logits
    return result


def check_that_mistakes_show(model: Model, inputs: Inputs, result: dict[str, torch.Tensor]) -> None:
    probabilities = result["attentions"][:, 0].softmax(-1)  # of the row without padding
    entropy = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1).mean((1, 2))  # a layer
    assert (entropy < 0.5 * math.log(LENGTH)).all(), entropy
    key = "last_hidden_state"
    if "logits" in result:
        assert (result["logits"].abs().amax(-1) > 1).all(), result["logits"]
        key = "logits"
    for name in inputs:
        other = {**inputs, name: inputs[name].roll(1, dims=1)}
        assert (run(model, other)[key] - result[key]).abs().max() > 0.1, name
    wrong = {1e-12: 0.05, 0.05: 1e-12}  # the wrong one of the two eps
    swaps = [(m, "eps", wrong[m.eps]) for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    other_gelu = torch.nn.GELU(approximate="tanh" if model.config.hidden_act == "gelu" else "none")
    swaps += [(m, "act", other_gelu) for m in model.modules() if isinstance(getattr(m, "act", None), torch.nn.Module)]
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
        model = kind(transformers.SqueezeBertConfig(**config)).eval()
        draw(model, seed)
        folder = HERE / name
        model.to(dtype).save_pretrained(folder)
        model.double()  # what was stored, computed in float64: all of a difference is then the tested library's
        inputs = make_inputs(model.config, 100 + seed)
        result = run(model, inputs)
        check_that_mistakes_show(model, inputs, result)
        if not keep_all:
            result = {key: result[key] for key in ("last_hidden_state", "pooler_output", "logits")}
        arrays = {key: value.numpy().astype(np.uint8) for key, value in inputs.items()}
        lowest = torch.finfo(torch.float32).min  # transformers masks with the lowest number of the dtype in use
        arrays |= {key: value.clamp(min=lowest).float().numpy() for key, value in result.items()}
        np.savez_compressed(folder / "expected.npz", rows=np.array(list(MASKS)), **arrays)
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    assert size < 400_000, size
    print(f"{len(MODELS)} models, {size} bytes")


if __name__ == "__main__":
    main()
