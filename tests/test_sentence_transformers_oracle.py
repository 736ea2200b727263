"""Embeddings of folders that the package sentence-transformers has written, or reads, against that package."""

import json
import shutil

import numpy as np
import pytest
from test_sentence_transformers import COMBINATIONS, move_transformer, write_json, write_modules

from squeezeops.pipelines import pipeline
from squeezeops.squeezebert.conversion.convert import convert

pytestmark = pytest.mark.oracle

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "the",
    "good",
    "bad",
    "movie",
    "##s",
    "great",
    ".",
    ",",
    "!",
]
WORDS += [
    "É",
    "é",
    "e",
    "Good",
    "MOVIE",
    "query",
    "passage",
    ":",
    "İ",
    "i̇",
    "ß",
    "ẞ",
    "北",
    "京",
    "##ie",
    "##good",
    "x",
]
TEXTS = [
    "a good movie!",
    "BAD movies, Good MOVIE É é ẞ İ",
    "the good, the bad. " * 3,
    "[MASK] 北京 x",
    "a",
    "goodgood good, " * 20,
]
PROMPTS = {"query": "query: ", "passage": "the good passage: ", "none": ""}


@pytest.fixture(scope="module")
def package():
    torch = pytest.importorskip("torch", reason="the oracle is sentence-transformers, which needs torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield pytest.importorskip("sentence_transformers", reason="the oracle is sentence-transformers")
    torch.set_num_threads(threads)


def write_random_model(folder, kind="Bert"):
    """Write a random model with a cased vocabulary."""
    import torch
    import transformers

    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    if kind == "DistilBert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    elif kind == "SqueezeBert":
        sizes |= {"embedding_size": 32}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(WORDS), max_position_embeddings=48, initializer_range=0.4, **sizes
    )
    getattr(transformers, f"{kind}Model")(config).eval().save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    vocabulary, tokenizer = str(folder / "vocab.txt"), getattr(transformers, f"{kind}TokenizerFast")
    tokenizer(vocabulary, do_lower_case=False, model_max_length=40).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def random_model(package, tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("random"))


@pytest.fixture
def folder(random_model, tmp_path):
    return shutil.copytree(random_model, tmp_path / "model")


def compare(package, folder, texts=TEXTS, **options):
    """Compare our embeddings with the package's, also from a converted file; return ours."""
    model = package.SentenceTransformer(str(folder), device="cpu")
    expected = model.encode(texts, **options)
    found = pipeline("feature-extraction", folder)(texts, **options)
    size = np.abs(expected).max()
    np.testing.assert_allclose(found / size, expected / size, rtol=0, atol=1e-5)
    convert(folder, out := folder.parent / "out.safetensors", dtype="float32", force=True)
    np.testing.assert_array_equal(pipeline("feature-extraction", out)(texts, **options), found)
    return found


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_pooling_and_norm(package, folder, names, normalize):
    write_modules(folder, pooling=names, normalize=normalize)
    found = compare(package, folder)
    write_modules(folder, pooling=names, normalize=normalize, flags=False)
    modules = (folder / "modules.json").read_text()
    homes = {"Transformer": "base", "Normalize": "base", "Pooling": "sentence_transformer"}
    for name, home in homes.items():  # as the newest release spells them
        old = f"sentence_transformers.sentence_transformer.modules.any.{name}"
        modules = modules.replace(old, f"sentence_transformers.{home}.modules.{name.lower()}.{name}")
    (folder / "modules.json").write_text(modules)
    np.testing.assert_array_equal(compare(package, folder), found)


@pytest.mark.parametrize("names", [("mean", "cls"), ("max", "cls", "mean")], ids="+".join)
def test_folders_that_the_package_wrote(package, random_model, tmp_path, names):
    """With the order of a list of names, which the older form with flags does not have."""
    write_modules(source := shutil.copytree(random_model, tmp_path / "source"), pooling=names, flags=False)
    json_text = (source / "modules.json").read_text().replace("sentence_transformer.modules.any", "models")
    (source / "modules.json").write_text(json_text)
    model = package.SentenceTransformer(str(source), device="cpu", prompts=PROMPTS, default_prompt_name="query")
    model.max_seq_length = 9
    model.save(str(tmp_path / "saved"))
    found = compare(package, tmp_path / "saved")
    assert found.shape == (len(TEXTS), 32 * len(names))
    assert json.loads((tmp_path / "saved" / "1_Pooling" / "config.json").read_text())["pooling_mode"] == list(names)


def test_lower_casing_that_the_package_wrote(package, random_model, tmp_path):
    """It does not write do_lower_case, but a normaliser that does it before BERT's."""
    source = shutil.copytree(random_model, tmp_path / "source")
    config = json.loads((source / "tokenizer_config.json").read_text())
    write_json(source / "tokenizer_config.json", {**config, "tokenizer_class": "PreTrainedTokenizerFast"})
    write_modules(source, transformer={"do_lower_case": True})
    package.SentenceTransformer(str(source), device="cpu").save(str(tmp_path / "saved"))
    normalizer = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())["normalizer"]
    assert normalizer["type"] == "Sequence" and normalizer["normalizers"][0] == {"type": "Lowercase"}
    compare(package, tmp_path / "saved")


def test_a_model_in_a_folder_of_its_own(package, folder):
    write_modules(folder, pooling=("cls",), transformer={"max_seq_length": 9}, general={"prompts": PROMPTS})
    expected = compare(package, folder)
    move_transformer(folder)
    np.testing.assert_array_equal(compare(package, folder), expected)


@pytest.mark.parametrize("kind", ["DistilBert", "SqueezeBert"])
def test_other_models(package, tmp_path, kind):
    (folder := tmp_path / "model").mkdir()
    write_random_model(folder, kind)
    write_modules(folder, pooling=("cls", "mean"), transformer={"max_seq_length": 9}, general={"prompts": PROMPTS})
    compare(package, folder, prompt_name="passage")


@pytest.mark.parametrize("most", [5, 12, None])
@pytest.mark.parametrize("lower", [True, False])
def test_length_and_case(package, folder, most, lower):
    write_modules(folder, transformer={"max_seq_length": most, "do_lower_case": lower})
    compare(package, folder)


@pytest.mark.parametrize("strip", [True, False, None])
def test_lower_case_and_accents(package, folder, strip):
    """Accents stay unless the tokenizer drops them."""
    tokenizer, config = (
        json.loads((folder / name).read_text()) for name in ("tokenizer.json", "tokenizer_config.json")
    )
    tokenizer["normalizer"]["strip_accents"] = config["strip_accents"] = strip
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", config)
    write_modules(folder, transformer={"do_lower_case": True})
    compare(package, folder)


def test_lower_casing_before_normalization_is_lower_casing_in_it():
    """The package puts Lowercase before BertNormalizer; we switch lower-casing on. Equal for every character."""
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle is tokenizers")
    from squeezeops.squeezebert.tokenizer.normalizer import BertNormalizer

    for strip in (True, False):
        theirs = tokenizers.normalizers.Sequence(
            [
                tokenizers.normalizers.Lowercase(),
                tokenizers.normalizers.BertNormalizer(strip_accents=strip, lowercase=False),
            ]
        )
        ours = BertNormalizer(True, True, strip, True)
        characters = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
        different = [char for char in characters if ours(char)[0] != theirs.normalize_str(char)]
        assert different == []


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_prompts(package, folder, names, include):
    general = {"prompts": PROMPTS, "default_prompt_name": "passage"}
    transformer = {"max_seq_length": 20}
    write_modules(folder, pooling=names, general=general, transformer=transformer, include_prompt=include)
    default = compare(package, folder)
    for name in PROMPTS:
        found = compare(package, folder, prompt_name=name)
        assert (name == "passage") == np.array_equal(found, default)
    compare(package, folder, prompt="x x x")
    compare(package, folder, prompt="the " * 30)  # longer than what is kept


def test_published_model(package, minilm, tmp_path):
    texts = [
        "The cat sits outside in the garden.",
        "Zürich's Bahnhofstraße is one of the world's most expensive shopping streets. 東京は日本の首都です。",
        "OK",
        "It was the best of times, it was the worst of times, it was the age of wisdom. " * 30,  # beyond 256 tokens
    ]
    folder = shutil.copytree(minilm, tmp_path / "model")
    found = compare(package, folder, texts)
    assert not np.allclose(found[3], pipeline("feature-extraction", folder)(texts[3], max_length=512)[0], atol=1e-3)
    write_modules(folder, pooling=("cls",), normalize=False, general={"prompts": PROMPTS})
    compare(package, folder, texts, prompt_name="query")
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 384, "pooling_mode": ["max", "mean"]})
    compare(package, folder, texts)
