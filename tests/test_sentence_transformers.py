"""Folders of sentence-transformers: their files decide how a text becomes an embedding, and arguments override them."""

import json
import pickle
import re
import shutil

import numpy as np
import pytest
from cli_helpers import caller, check_error
from pipeline_helpers import write_lively_model

from squeezeops import ops
from squeezeops.pipelines import TextError, pipeline
from squeezeops.squeezebert import SqueezeBert, Tokenizer
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files.sentence_transformers import EmbeddingSettings, read_embedding

POSITIONS = 24
TEXTS = ["a good movie!", "bad", "Ada's 北京 🙂 É", "the movies were awful, awful, awful."]
LONG = "a good movie, a bad movie, a great movie, an awful movie"  # more than 12 tokens, at most 24
PROMPTS = {"query": "the good ", "passage": "a bad movie: ", "none": ""}
FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_modules(folder, *, pooling=("mean",), normalize=True, flags=True, transformer=None, general=None, **config):
    """Write the files of sentence-transformers into a model's folder: the older form with flags, or the newer one."""
    home = "models" if flags else "sentence_transformer.modules.any"
    names = ["Transformer", "Pooling", "Normalize"][: 2 + normalize]
    paths = ["", "1_Pooling", "2_Normalize"]
    kinds = [f"sentence_transformers.{home}.{name}" for name in names]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(zip(paths, kinds, strict=False))
    ]
    write_json(folder / "modules.json", modules)
    modes = {flag: name in pooling for name, flag in FLAGS.items()} if flags else {"pooling_mode": list(pooling)}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **modes, **config})
    if transformer is not None:
        write_json(folder / "sentence_bert_config.json", transformer)
    if general is not None:
        write_json(folder / "config_sentence_transformers.json", general)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_lively_model(tmp_path_factory.mktemp("plain"), positions=POSITIONS)


@pytest.fixture
def folder(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "model")


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


def embed(folder, texts=TEXTS, **options):
    return pipeline("feature-extraction", folder, **options)(texts)


def states_of(folder, text):
    """The last hidden states of a single text, (L, C)."""
    ids = Tokenizer.from_pretrained(folder)(text)["input_ids"]
    return SqueezeBert.from_pretrained(folder).encoder()([ids]).last_hidden_state[0]


def pooled(states, names):
    functions = {"cls": lambda x: x[0], "max": lambda x: x.max(axis=0), "mean": lambda x: x.mean(axis=0)}
    return np.concatenate([functions[name](states) for name in names])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def assert_equal(found, expected):
    if ops.get_backend() == "native":
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# ---- pooling and norm ------------------------------------------------------------------------------------------------

COMBINATIONS = [("cls",), ("max",), ("mean",), ("cls", "mean"), ("max", "mean"), ("cls", "max", "mean")]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("flags", [True, False])
@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_pooling_and_norm(folder, names, flags, normalize):
    write_modules(folder, pooling=names, flags=flags, normalize=normalize)
    expected = np.array([pooled(states_of(folder, text), names) for text in TEXTS])
    found = embed(folder)
    assert found.dtype == np.float32 and found.shape == (len(TEXTS), 16 * len(names))
    scale = 1 if normalize else np.abs(expected).max()
    assert_close(found / scale, (unit(expected) if normalize else expected) / scale)
    assert embed(folder, []).shape == (0, 16 * len(names))


def test_names_are_concatenated_in_their_order(folder):
    """Flags have one order, a list of names its own."""
    write_modules(folder, pooling=("mean", "cls"), flags=False, normalize=False)
    found = embed(folder)
    assert_equal(found[:, 16:], embed(folder, pooling="cls"))
    assert_equal(found[:, :16], embed(folder, pooling="mean"))
    write_json(folder / "1_Pooling" / "config.json", {FLAGS["mean"]: True, FLAGS["cls"]: True})
    assert_equal(embed(folder), np.concatenate([found[:, 16:], found[:, :16]], axis=1))


def test_one_pooling_by_name_and_none_at_all(folder):
    write_modules(folder)
    expected = embed(folder, pooling="max")
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "max", FLAGS["cls"]: True})
    assert_equal(embed(folder), expected)
    write_json(folder / "1_Pooling" / "config.json", {})
    assert_equal(embed(folder), embed(folder, pooling="mean"))


def test_a_maximum_does_not_depend_on_padding_or_batch(folder):
    write_modules(folder, pooling=("max",), normalize=False)
    pipe = pipeline("feature-extraction", folder)
    alone = np.concatenate([pipe(text) for text in TEXTS])
    for size in (1, 2, 3):
        assert_equal(pipe(TEXTS, batch_size=size), alone)
    assert (alone < 0).any()  # where padding, which is 0, would be larger


def test_a_folder_without_modules_is_used_as_before(plain, folder):
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 5, "do_lower_case": True})
    write_json(folder / "config_sentence_transformers.json", {"prompts": PROMPTS, "default_prompt_name": "query"})
    assert read_embedding(str(folder)) is None and SqueezeBert.from_pretrained(folder).embedding is None
    assert_equal(embed(folder, LONG), embed(plain, LONG))
    assert_close(embed(folder), unit(np.array([pooled(states_of(folder, text), ["mean"]) for text in TEXTS])))


def test_a_cross_encoder_makes_no_embeddings(plain, folder):
    write_json(folder / "modules.json", [{"type": "sentence_transformers.base.modules.transformer.Transformer"}])
    write_json(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    assert_equal(embed(folder), embed(plain))


def move_transformer(folder):
    """Move the model into a folder of its own, as early releases did."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", modules)
    (folder / "0_Transformer").mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / "0_Transformer" / file.name)


def test_a_model_in_a_folder_of_its_own(folder, tmp_path, monkeypatch):
    transformer, general = {"max_seq_length": 12}, {"prompts": PROMPTS, "default_prompt_name": "query"}
    write_modules(folder, pooling=("cls",), normalize=False, transformer=transformer, general=general)
    expected = embed(folder, [*TEXTS, LONG])
    move_transformer(folder)
    assert_equal(embed(folder, [*TEXTS, LONG]), expected)
    assert_equal(embed(folder / "0_Transformer", [*TEXTS, LONG]), expected)
    monkeypatch.chdir(folder / "0_Transformer")
    assert_equal(embed(".", [*TEXTS, LONG]), expected)
    convert(folder, tmp_path / "out.safetensors", dtype="float32")
    assert_equal(embed(tmp_path / "out.safetensors", [*TEXTS, LONG]), expected)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    cached = tmp_path / "cache" / "models--me--sentences"
    shutil.copytree(folder, cached / "snapshots" / "0123abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123abc")
    assert_equal(embed("me/sentences", [*TEXTS, LONG]), expected)
    write_json(folder / "modules.json", [{**module("Transformer", "0_BERT")}, module("Pooling", "1_Pooling")])
    with pytest.raises(ValueError, match=r"modules\.json: module 0: path: expected '0_Transformer', got '0_BERT'"):
        embed(folder / "0_Transformer")


# ---- length, case and prompts ----------------------------------------------------------------------------------------


def test_texts_are_cut_at_max_seq_length(plain, folder):
    write_modules(folder, transformer={"max_seq_length": 12, "do_lower_case": False})
    expected = embed(plain, LONG, truncation=True, max_length=12)
    assert_equal(embed(folder, LONG), expected)
    pipe = pipeline("feature-extraction", folder)
    assert_equal(pipe(LONG, max_length=6), embed(plain, LONG, truncation=True, max_length=6))
    assert_equal(pipe(LONG, truncation=False), embed(plain, LONG))
    assert_equal(embed(folder, LONG, truncation=False), embed(plain, LONG))
    with pytest.raises(TextError, match=r"at most 24 tokens, got \d+ \(truncation=True cuts it\)"):
        pipe(LONG * 2, truncation=False)
    with pytest.raises(ValueError, match="max_length: expected None, or truncation=True with it, got 5"):
        pipe(LONG, truncation=False, max_length=5)


@pytest.mark.parametrize("settings", [None, {"max_seq_length": None}, {"max_seq_length": 500}])
def test_without_max_seq_length_texts_are_cut_at_the_models_length(plain, folder, settings):
    write_modules(folder, transformer=settings)
    assert_equal(embed(folder, LONG * 2), embed(plain, LONG * 2, truncation=True))


@pytest.mark.parametrize("name", ["sentence_bert_config.json", "sentence_distilbert_config.json"])
def test_do_lower_case(folder, name):
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    write_modules(folder)
    texts, lower = ["GOOD Movie É", "[MASK] BAD"], ["good movie é", "[MASK] bad"]  # accents stay
    cased, cased_texts = embed(folder), embed(folder, texts)
    assert not np.allclose(cased_texts, embed(folder, lower))
    write_json(folder / name, {"do_lower_case": True})
    assert_equal(embed(folder, texts), embed(folder, lower))
    assert_equal(embed(folder, [text.lower() for text in TEXTS]), embed(folder))
    tokenizer = Tokenizer.from_pretrained(folder)  # on its own, as in transformers
    assert not np.allclose(cased, embed(folder))
    assert tokenizer("GOOD")["input_ids"] != tokenizer("good")["input_ids"]
    assert tokenizer("good")["input_ids"] == tokenizer.lowercased()("GOOD")["input_ids"]
    # Another callable is used as it is.
    assert_equal(embed(folder, texts, tokenizer=lambda *given, **options: tokenizer(*given, **options)), cased_texts)


def test_lower_casing_a_tokenizer_that_does_it_already(plain):
    tokenizer = Tokenizer.from_pretrained(plain)
    assert tokenizer.lowercased() is tokenizer


def test_prompts(plain, folder):
    write_modules(folder, general={"prompts": PROMPTS, "default_prompt_name": "passage"})
    pipe = pipeline("feature-extraction", folder)
    with_prompt = {name: embed(plain, [prompt + text for text in TEXTS]) for name, prompt in PROMPTS.items()}
    assert_equal(pipe(TEXTS), with_prompt["passage"])
    for name in PROMPTS:
        assert_equal(pipe(TEXTS, prompt_name=name), with_prompt[name])
        assert_equal(pipe(TEXTS, prompt=PROMPTS[name]), with_prompt[name])
        made = pipeline("feature-extraction", folder, prompt_name=name)
        assert_equal(made(TEXTS), with_prompt[name])
        assert_equal(made(TEXTS, prompt=""), with_prompt["none"])
        assert_equal(pipeline("feature-extraction", folder, prompt="x")(TEXTS, prompt_name=name), with_prompt[name])
    assert_equal(embed(plain, prompt=PROMPTS["query"]), with_prompt["query"])  # any model takes a text
    with pytest.raises(ValueError, match=r"prompt_name: expected one of the model's prompts, \('query', .*got 'x'"):
        pipe(TEXTS, prompt_name="x")
    with pytest.raises(ValueError, match="prompt_name: expected None for a model without prompts, got 'query'"):
        embed(plain, prompt_name="query")
    with pytest.raises(ValueError, match="prompt_name: expected None with a prompt, got 'query'"):
        pipe(TEXTS, prompt="x", prompt_name="query")
    with pytest.raises(TextError, match="text 1: expected a non-empty text"):
        pipe(["a", " "])


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_prompts_that_are_not_pooled(folder, names):
    write_modules(folder, pooling=names, general={"prompts": PROMPTS}, normalize=False, include_prompt=False)
    prompt = PROMPTS["passage"]
    skipped = len(Tokenizer.from_pretrained(folder)(prompt)["input_ids"]) - 1  # [CLS] and the prompt, not [SEP]
    expected = np.array([pooled(states_of(folder, prompt + text)[skipped:], names) for text in TEXTS])
    pipe = pipeline("feature-extraction", folder)
    found = pipe(TEXTS, prompt_name="passage")
    assert_close(found / np.abs(expected).max(), expected / np.abs(expected).max())
    assert_equal(pipe(TEXTS, prompt_name="passage", batch_size=1), found)
    whole = np.array([pooled(states_of(folder, prompt + text), names) for text in TEXTS])
    found = pipe(TEXTS, prompt_name="passage", include_prompt=True)
    assert_close(found / np.abs(whole).max(), whole / np.abs(whole).max())
    assert_equal(pipe(TEXTS), embed(folder, include_prompt=True))  # no prompt: [CLS] is pooled


def test_a_prompt_that_leaves_no_room(folder):
    """sentence-transformers pools [SEP], which is always there. A tokenizer without it leaves nothing to pool."""
    write_modules(folder, transformer={"max_seq_length": 4}, include_prompt=False)
    assert np.isfinite(embed(folder, "good", prompt="a a a a a a")).all()
    bare = Tokenizer.from_pretrained(folder)
    bare._templates = [[("A", 0)], [("A", 0), ("B", 1)]]
    pipe = pipeline("feature-extraction", folder, tokenizer=bare)
    with pytest.raises(TextError, match="text 0: expected tokens besides those of the prompt, got 'good'"):
        pipe(["good"], prompt="a a a a")


# ---- arguments, converted files, info --------------------------------------------------------------------------------


@pytest.fixture
def special(folder):
    """A folder with every setting."""
    transformer = {"max_seq_length": 12, "do_lower_case": True}
    general = {"prompts": PROMPTS, "default_prompt_name": "query", "similarity_fn_name": "cosine"}
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    names = {"pooling": ("cls", "max"), "normalize": False, "include_prompt": False}
    return write_modules(folder, transformer=transformer, general=general, **names)


SPECIAL = EmbeddingSettings(("cls", "max"), False, False, 12, True, PROMPTS, "query")


def test_every_setting_is_read(special):
    assert read_embedding(str(special)) == SPECIAL


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_converted_file_keeps_everything(special, tmp_path, dtype):
    texts = [*TEXTS, LONG, "GOOD MOVIE"]
    expected, override = embed(special, texts, dtype=dtype), {"pooling": "mean", "normalize": True, "prompt": ""}
    overridden = embed(special, texts, dtype=dtype, **override)
    out = tmp_path / "out.safetensors"
    convert(special, out, dtype=dtype)
    shutil.rmtree(special)
    assert SqueezeBert.from_pretrained(out).embedding == SPECIAL
    assert_equal(embed(out, texts), expected)
    assert_equal(embed(out, texts, **override), overridden)


@pytest.mark.parametrize("default", [None, "query"])
def test_a_prompt_without_a_name_is_no_default(plain, folder, default):
    write_modules(folder, general={"prompts": {"": "bad ", "query": "good "}, "default_prompt_name": default})
    embed = pipeline("feature-extraction", folder)
    assert_equal(embed(TEXTS), embed(TEXTS, prompt="good " if default else ""))
    assert_equal(embed(TEXTS, prompt_name=""), embed(TEXTS, prompt="bad "))


def test_the_settings_stay_with_the_model(special):
    expected = embed(special)
    model, tokenizer = SqueezeBert.from_pretrained(special), Tokenizer.from_pretrained(special)
    shutil.rmtree(special)
    pipe = pipeline("feature-extraction", model, tokenizer=tokenizer)
    assert_equal(pipe(TEXTS), expected)
    assert_equal(pickle.loads(pickle.dumps(pipe))(TEXTS), expected)


def test_command_line(call, special, tmp_path):
    def run(*options, text="A good movie"):
        status, out, err = call("embed", "--model", special, "--json", *options, text)
        assert (status, err) == (0, "")
        return np.array([json.loads(out)["embedding"]], np.float32)

    def expect(*options, text="A good movie", **same):
        assert_equal(run(*options, text=text), embed(special, text, **same))

    expect()
    expect("--pooling", "mean,cls", pooling=("mean", "cls"))
    expect("--pooling", "max", "--normalize", pooling="max", normalize=True)
    expect("--no-normalize", normalize=False)
    expect("--prompt", "bad: ", "--include-prompt", prompt="bad: ", include_prompt=True)
    expect("--prompt-name", "passage", "--no-include-prompt", prompt_name="passage")
    expect("--no-truncation", text=LONG, truncation=False)
    expect("--truncation", text=LONG)
    expect("--max-length", "7", text=LONG, max_length=7)
    status, out, err = call("embed", "--model", special, "--output", tmp_path / "x.npy", "good", "bad")
    assert (status, out, err) == (0, "", "")
    assert_equal(np.load(tmp_path / "x.npy"), embed(special, ["good", "bad"]))
    status, out, err = call("embed", "--model", special, "--output", tmp_path / "x.npy", "--pooling", "cls", "good")
    assert np.load(tmp_path / "x.npy").shape == (1, 16)
    for options, message in (
        (["--pooling", "lasttoken"], r"--pooling: expected one or several of \('cls', 'max', 'mean'\), each once"),
        (["--pooling", "cls,cls"], r"--pooling: expected one or several of .*, each once, got \('cls', 'cls'\)"),
        (["--prompt-name", "x"], r"--prompt-name: expected one of the model's prompts, .*got 'x'"),
        (["--prompt-name", "x", "--prompt", "y"], "--prompt: not allowed with argument --prompt-name"),
        (["--no-truncation", "--max-length", "7"], "--max-length: expected texts that may be cut, got --no-truncation"),
        (["--prompt", "\udcff"], r"--prompt: expected valid UTF-8, got '\\udcff'"),
        (["--prompt-name", "\udcff"], r"--prompt-name: expected valid UTF-8, got '\\udcff'"),
        (["--normalize", "--no-normalize"], "--no-normalize: not allowed with argument --normalize"),
    ):
        check_error(call("embed", "--model", special, *options, "good"), message)


def test_info(call, special, plain, tmp_path):
    convert(special, out := tmp_path / "out.safetensors")
    for model in (special, out):
        status, text, err = call("info", "--model", model)
        assert (status, err) == (0, "")
        lines = text.splitlines()[-4:]
        assert lines[0].split(None, 1) == [
            "embedding",
            "cls + max pooling, any length, cut at 12 tokens, lower-cased, prompts are not pooled",
        ]
        assert lines[1].strip() == "prompt 'query': 'the good ' (default)"
        facts = json.loads(call("info", "--model", model, "--json")[1])["model"]["embedding"]
        assert facts == {**SPECIAL.to_json(), "pooling": ["cls", "max"]}
    assert "embedding  " not in call("info", "--model", plain)[1]
    write_json(special / "1_Pooling" / "config.json", {"pooling_mode": "lasttoken"})
    status, text, err = call("info", "--model", special)
    assert status == 0 and "1_Pooling/config.json: pooling_mode: expected some of cls, max, mean" in text


# ---- what is refused -------------------------------------------------------------------------------------------------

BAD_OPTIONS = [
    ({"pooling": ()}, ValueError, r"pooling: expected one or several of .*, each once, got \(\)"),
    ({"pooling": ("cls", "cls")}, ValueError, r"pooling: expected .*, each once, got \('cls', 'cls'\)"),
    ({"pooling": ["cls", 3]}, ValueError, r"pooling: expected .*got \['cls', 3\]"),
    ({"pooling": 3}, ValueError, "pooling: expected .*got 3"),
    ({"prompt": 3}, TypeError, "prompt: expected None or a str, got int"),
    ({"prompt_name": b"x"}, TypeError, "prompt_name: expected None or a str, got bytes"),
    ({"include_prompt": 1}, TypeError, "include_prompt: expected a bool, got int"),
    ({"truncation": 3}, ValueError, "truncation: expected one of"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_options(plain, options, kind, message):
    pipe = pipeline("feature-extraction", plain)
    with pytest.raises(kind, match=message):
        pipe(TEXTS, **options)
    with pytest.raises(kind, match=message):
        pipeline("feature-extraction", plain, **options)


def module(name, path="", home="sentence_transformers.models."):
    return {"idx": 0, "name": "0", "path": path, "type": home + name}


START = [module("Transformer"), module("Pooling", "1_Pooling")]
POOLING = "1_Pooling/config.json"
GENERAL = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
REFUSED = {
    "Dense": (
        {"modules.json": [*START, module("Dense", "2_Dense"), module("Normalize", "3_Normalize")]},
        r"modules\.json: module 2: expected Normalize or no more modules, got 'sentence_transformers\.models\.Dense'",
    ),
    "more": (
        {"modules.json": [*START, module("Normalize", "2_Normalize"), module("Dense", "3_Dense")]},
        r"modules\.json: module 3: expected no more modules, got '.*Dense'",
    ),
    "order": (
        {"modules.json": [START[0], module("Normalize", "1_Normalize"), START[1]]},
        r"modules\.json: module 1: expected Pooling, got '.*Normalize'",
    ),
    "foreign": (
        {"modules.json": [module("Transformer", home="custom_st."), START[1]]},
        r"modules\.json: module 0: expected Transformer, got 'custom_st\.Transformer'",
    ),
    "no pooling": ({"modules.json": START[:1]}, r"modules\.json: file: expected the modules .* got 1 modules"),
    "no modules": ({"modules.json": []}, r"modules\.json: file: expected the modules .* got 0 modules"),
    "an object": ({"modules.json": {}}, r"modules\.json: file: expected a JSON list, got \{\}"),
    "a number": ({"modules.json": [3]}, r"modules\.json: module 0: expected an object with the strings type and path"),
    "no path": ({"modules.json": [{"type": "x"}]}, r"module 0: expected an object with the strings type and path"),
    "subfolder": (
        {"modules.json": [module("Transformer", "0_Transformer"), START[1]]},
        r"modules\.json: module 0: path: expected '', got '0_Transformer'",
    ),
    "another subfolder": (
        {"modules.json": [module("Transformer", "bert"), START[1]]},
        r"module 0: path: expected '' or the name of a folder in this one that begins with 0_, got 'bert'",
    ),
    "elsewhere": (
        {"modules.json": [START[0], module("Pooling", "../1_Pooling")]},
        r"modules\.json: module 1: path: expected the name of a folder in this one, got '\.\./1_Pooling'",
    ),
    "no configuration": (
        {"modules.json": [START[0], module("Pooling", "9_Pooling")]},
        r"9_Pooling.config\.json: expected settings, got no such file",
    ),
    **{
        flag: (
            {POOLING: {flag: True}},
            rf"1_Pooling.config\.json: pooling_mode: expected .*got \['{name.removesuffix('_tokens')}'\]",
        )
        for name, flag in FLAGS.items()
        if name not in ("cls", "max", "mean")
    },
    "new flag": ({POOLING: {"pooling_mode_new": True}}, r"pooling_mode: expected .*got \['new'\]"),
    "by name": (
        {POOLING: {"pooling_mode": "lasttoken"}},
        r"1_Pooling.config\.json: pooling_mode: expected some of cls, max, mean, each once, got \['lasttoken'\]",
    ),
    "mixed": ({POOLING: {"pooling_mode": ["mean", "weightedmean"]}}, r"got \['mean', 'weightedmean'\]"),
    "twice": ({POOLING: {"pooling_mode": ["mean", "mean"]}}, r"each once, got \['mean', 'mean'\]"),
    "empty": ({POOLING: {"pooling_mode": []}}, r"pooling_mode: expected some of .*got \[\]"),
    "pooling: number": ({POOLING: {"pooling_mode": 3}}, r"pooling_mode: expected some of .*got 3"),
    "include_prompt": ({POOLING: {"include_prompt": "no"}}, r"include_prompt: expected true or false, got 'no'"),
    "normalize": (
        {"2_Normalize/config.json": {"module_input_name": "token_embeddings"}},
        r"2_Normalize.config\.json: module_input_name: expected 'sentence_embedding' or no such key, got 'token_",
    ),
    "length": (
        {TRANSFORMER: {"max_seq_length": 0}},
        r"max_seq_length: expected a number of tokens, at least 3, or null, got 0",
    ),
    "no room": ({TRANSFORMER: {"max_seq_length": 2}}, r"max_seq_length: expected .*, at least 3, or null, got 2"),
    "length: float": ({TRANSFORMER: {"max_seq_length": 1.5}}, r"max_seq_length: expected a number of .*got 1\.5"),
    "case": ({TRANSFORMER: {"do_lower_case": "yes"}}, r"do_lower_case: expected true or false, got 'yes'"),
    "other task": (
        {TRANSFORMER: {"transformer_task": "fill-mask"}},
        r"transformer_task: expected 'feature-extraction' or no such key, got 'fill-mask'",
    ),
    "arguments": (
        {TRANSFORMER: {"tokenizer_args": {"trust_remote_code": True, "model_max_length": 3}}},
        r"tokenizer_args: expected no such key, got \{'model_max_length': 3\}",
    ),
    "prompts": ({GENERAL: {"prompts": ["a"]}}, r"transformers\.json: prompts: expected an object that maps names to"),
    "prompt": ({GENERAL: {"prompts": {"a": 3}}}, r"transformers\.json: prompts: expected an object that maps names to"),
    "default prompt": (
        {GENERAL: {"prompts": {"a": "b"}, "default_prompt_name": "c"}},
        r"transformers\.json: default_prompt_name: expected null or one of \('a',\), got 'c'",
    ),
    "no prompts": ({GENERAL: {"default_prompt_name": "c"}}, r"default_prompt_name: expected null, got 'c'"),
    "truncate_dim": ({GENERAL: {"truncate_dim": 8}}, r"transformers\.json: truncate_dim: expected no such key, got 8"),
    "other kind": ({GENERAL: {"model_type": "SparseEncoder"}}, r"model_type: expected 'SentenceTransformer' or no"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder, tmp_path, name):
    files, message = REFUSED[name]
    write_modules(folder)
    for file, value in files.items():
        write_json(folder / file, value)
    message = rf"^{re.escape(str(folder))}.*{message}"
    model = SqueezeBert.from_pretrained(folder)  # the hidden states are the same
    for make in (
        lambda: pipeline("feature-extraction", folder),
        lambda: pipeline("feature-extraction", model, tokenizer=folder),
        lambda: convert(folder, tmp_path / "out.safetensors"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            make()
    assert not (tmp_path / "out.safetensors").exists()
    assert model(np.array([[1, 2]])).last_hidden_state is not None


def test_harmless_keys(plain, folder):
    transformer = {"max_seq_length": None, "tokenizer_args": {"trust_remote_code": True}, "config_args": {}}
    transformer |= {"model_args": {"add_pooling_layer": False}, "transformer_task": "feature-extraction"}
    general = {"__version__": {"pytorch": "1"}, "prompts": {"document": None}, "default_prompt_name": None}
    write_modules(folder, transformer=transformer, general=general, word_embedding_dimension=16)
    write_json(folder / "2_Normalize" / "config.json", {"module_input_name": "sentence_embedding"})
    assert_equal(embed(folder), embed(plain))
    assert_equal(embed(folder, prompt_name="document"), embed(plain))
