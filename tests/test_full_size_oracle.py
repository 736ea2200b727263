"""Models of the published sizes against transformers, with random weights."""

from __future__ import annotations

import numpy as np
import pytest
from op_helpers import VARIANTS

from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig

pytestmark = pytest.mark.oracle
LENGTH = 32


@pytest.fixture(scope="module")
def squeezebert():
    return make_case("SqueezeBert")


@pytest.fixture(scope="module")
def bert():
    return make_case("Bert")


def make_case(kind):
    """Configuration, weights, inputs, and the results of transformers. A smaller vocabulary saves memory."""
    torch = pytest.importorskip("torch", reason="the oracle is transformers, which needs torch")
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on it
    config = getattr(transformers, f"{kind}Config")(vocab_size=2000, num_labels=3)
    class_ = getattr(transformers, f"{kind}ForSequenceClassification")
    model = class_._from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.lower().endswith("norm.weight"):
                parameter.uniform_(0.8, 1.2, generator=generator)
            elif name.endswith(("query.weight", "key.weight")):
                # With sharper attention, twelve layers in float32 would exceed the tolerance.
                parameter.normal_(0, 0.12 if kind == "SqueezeBert" else 0.06, generator=generator)
            else:
                parameter.normal_(
                    0, 0.1 if name.endswith("bias") or "classifier" in name else 0.03, generator=generator
                )
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, 19:] = 0
    inputs = {
        "input_ids": torch.randint(config.vocab_size, (2, LENGTH), generator=generator),
        "attention_mask": mask,
        "token_type_ids": torch.randint(2, (2, LENGTH), generator=generator),
    }
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
    torch.set_num_threads(threads)
    probabilities = output.attentions[5][0]
    if kind == "SqueezeBert":  # its attentions are raw scores
        probabilities = probabilities.softmax(-1)
    entropy = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1).mean()
    assert entropy < 0.8 * np.log(LENGTH)  # otherwise mistakes would not show
    assert (output.logits.abs().amax(-1) > 1).all()
    weights = {name: parameter.numpy() for name, parameter in model.state_dict().items()}
    ours = SqueezeBertConfig.from_dict(config.to_dict())
    return ours, weights, {name: value.numpy() for name, value in inputs.items()}, output


def check(case, states):
    """Compare logits to 1e-5 and hidden states to `states`."""
    config, weights, inputs, expected = case
    output = SqueezeBert(config, weights, task="text-classification")(**inputs, output_hidden_states=True)
    assert np.abs(output.logits - expected.logits.numpy()).max() <= 1e-5
    attended = inputs["attention_mask"].astype(bool)
    for actual, state in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert np.abs(actual[attended] - state.numpy()[attended]).max() <= states
        assert (actual[~attended] == 0).all()
    assert output.last_hidden_state is output.hidden_states[-1]


def test_full_size(variant, squeezebert):
    check(squeezebert, states=1e-5)


@pytest.mark.parametrize("variant", VARIANTS[:2][-1:], ids=str, indirect=True)  # the fastest
def test_full_size_bert(variant, bert):
    check(bert, states=2e-5)  # without groups, a sum has 3072 sequential products
