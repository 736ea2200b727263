"""How a model turns texts into embeddings: the files that sentence-transformers writes into its folder.

``modules.json`` lists the steps (Transformer, Pooling and, for unit vectors, Normalize), each with the folder of its
``config.json``. ``sentence_bert_config.json`` belongs to the Transformer. ``config_sentence_transformers.json`` has the
prompts. They are read as release 6.2 does, which also reads those of earlier releases.

Files: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import dataclasses
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from squeezeops.squeezebert.files.checks import Fail, fail_for, quote, read_json

__all__ = ["FILES", "POOLINGS", "EmbeddingSettings", "are_poolings", "read_embedding", "transformer_folder"]

POOLINGS = ("cls", "max", "mean")
STEPS = ("Transformer", "Pooling", "Normalize")
FILES = MODULES, GENERAL, SETTINGS, OLD_SETTINGS = (
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "sentence_distilbert_config.json",
)
# What a step's type ends in names it; what precedes the name differs between releases.
TYPE = re.compile(r"sentence_transformers\.(?:\w+\.)*(\w+)", re.ASCII)
# Settings that would change an embedding, with the only value that is implemented; None and {} are no value.
FIXED: dict[str, str | None] = {"model_type": "SentenceTransformer", "transformer_task": "feature-extraction"}
FIXED |= {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
FIXED |= dict.fromkeys(("truncate_dim", "processing_kwargs", "processor_kwargs", "tokenizer_args"))
FIXED |= dict.fromkeys(("config_kwargs", "config_args", "query_expansion"))


@dataclass(frozen=True)
class EmbeddingSettings:
    """How token states become an embedding, and what is done to a text before.

    Attributes
    ----------
    pooling : tuple of {"cls", "max", "mean"}
        The state of the first token, the largest value of each channel, the mean; several are concatenated.
    normalize : bool
        Whether an embedding is divided by its 2-norm.
    include_prompt : bool
        Whether the tokens of a prompt are pooled, too.
    max_length : int or None
        The number of tokens that texts are cut to; None is the maximum of tokenizer and model.
    lower_case : bool
        Whether texts are lower-cased even if the tokenizer does not do that.
    prompts : dict of str to str
        Texts to put before each text, by name.
    default_prompt_name : str or None
        The prompt that is used unless another one is asked for.
    """

    pooling: tuple[str, ...] = ("mean",)
    normalize: bool = True
    include_prompt: bool = True
    max_length: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any], fail: Fail) -> EmbeddingSettings:
        """Check the values of a JSON object whose keys are the attributes. Unknown keys are ignored."""
        return cls(
            _poolings(values, "pooling", fail),
            _flag(values, "normalize", True, fail),
            _flag(values, "include_prompt", True, fail),
            _length(values, "max_length", fail),
            _flag(values, "lower_case", False, fail),
            *_prompts(values, fail),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the values for `from_json`."""
        return dataclasses.asdict(self)


def transformer_folder(folder: str) -> str:
    """Return the folder of the model: `folder` or, as early releases wrote it, one in it."""
    if os.path.isfile(os.path.join(folder, MODULES)) and not os.path.lexists(os.path.join(folder, "config.json")):
        return os.path.join(folder, _read_paths(folder)[0])
    return folder


def read_embedding(folder: str) -> EmbeddingSettings | None:
    """Read how a model turns texts into embeddings.

    Parameters
    ----------
    folder : str
        That of the model, as `transformer_folder` returns it.

    Returns
    -------
    EmbeddingSettings or None
        None for a folder without ``modules.json``, and for that of a cross-encoder, which makes no embeddings.

    Raises
    ------
    FileNotFoundError
        If the configuration of the pooling is missing.
    ValueError
        If a file is malformed, or names a module, a pooling or a setting that is not implemented.
    """
    home, own = os.path.split(os.path.abspath(folder))
    if os.path.lexists(os.path.join(folder, MODULES)) or not own.startswith("0_"):
        home, own = folder, ""
    if not os.path.lexists(os.path.join(home, MODULES)):
        return None
    general, fail = _read(os.path.join(home, GENERAL), allowed={"CrossEncoder"})
    if general.get("model_type") == "CrossEncoder":
        return None
    paths = _read_paths(home)
    if paths[0] != own:
        fail_for(os.path.join(home, MODULES))("module 0: path", quote(own), quote(paths[0]))
    pooling, fail_pooling = _read(os.path.join(home, paths[1], "config.json"), optional=False)
    if len(paths) == len(STEPS):
        _read(os.path.join(home, paths[2], "config.json"))
    old = OLD_SETTINGS if os.path.lexists(os.path.join(folder, OLD_SETTINGS)) else SETTINGS
    settings, fail_settings = _read(os.path.join(folder, old), allowed={"token_embeddings"})
    return EmbeddingSettings(
        _poolings(pooling, "pooling_mode", fail_pooling),
        len(paths) == len(STEPS),
        _flag(pooling, "include_prompt", True, fail_pooling),
        _length(settings, "max_seq_length", fail_settings),
        _flag(settings, "do_lower_case", False, fail_settings),
        *_prompts(general, fail),
    )


def are_poolings(names: Any) -> bool:
    """Whether a list or tuple names poolings, each once."""
    known = isinstance(names, list | tuple) and all(isinstance(name, str) and name in POOLINGS for name in names)
    return known and 0 < len(names) == len(set(names))


def _read(file: str, optional: bool = True, allowed: Any = ()) -> tuple[dict[str, Any], Fail]:
    """Read the settings in a file, and check those of `FIXED`, which may have an `allowed` value, too."""
    values = read_json(file, "settings") if os.path.lexists(file) or not optional else {}
    fail = fail_for(file)
    for key, fixed in FIXED.items():
        value = values.get(key)
        if isinstance(value, dict):  # sentence-transformers ignores this setting
            value = {name: setting for name, setting in value.items() if name != "trust_remote_code"}
        if value and value != fixed and not (isinstance(value, str) and value in allowed):
            fail(key, f"{fixed!r} or no such key" if fixed else "no such key", reprlib.repr(value))
    return values, fail


def _read_paths(folder: str) -> list[str]:
    """Check the list of modules; return the folder of each."""
    file = os.path.join(folder, MODULES)
    fail, paths = fail_for(file), []
    modules = read_json(file, "the list of modules", of=list)
    for i, module in enumerate(modules):
        kind, path = (module.get(key) if isinstance(module, dict) else None for key in ("type", "path"))
        if not isinstance(kind, str) or not isinstance(path, str):
            fail(f"module {i}", "an object with the strings type and path", reprlib.repr(module))
        step = STEPS[i] if i < len(STEPS) else "no more modules"
        found = TYPE.fullmatch(kind)
        if found is None or found[1] != step:
            fail(f"module {i}", f"{step}{' or no more modules' if i == 2 else ''}", quote(kind))
        if not re.fullmatch(r"(0_[\w.-]+)?" if i == 0 else r"\w[\w.-]*", path):
            expected = "the name of a folder in this one"
            fail(f"module {i}: path", expected if i else f"'' or {expected} that begins with 0_", quote(path))
        paths.append(path)
    if len(paths) < 2:
        fail("file", "the modules Transformer and Pooling", f"{len(paths)} modules")
    return paths


def _poolings(values: Mapping[str, Any], key: str, fail: Fail) -> tuple[str, ...]:
    """Read one or several names; without any, a flag for each, whose order is that of the alphabet; else "mean"."""
    names = values.get(key)
    if names is None:
        flags = [flag.partition("pooling_mode_") for flag, chosen in values.items() if chosen]
        names = sorted(name.removesuffix("s").removesuffix("_token") for _, found, name in flags if found) or "mean"
    names = [names] if isinstance(names, str) else names
    if not are_poolings(names):
        fail(key, f"some of {', '.join(POOLINGS)}, each once", reprlib.repr(names))
    return tuple(names)


def _flag(values: Mapping[str, Any], key: str, default: bool, fail: Fail) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        fail(key, "true or false", reprlib.repr(value))
    return value


def _length(values: Mapping[str, Any], key: str, fail: Fail) -> int | None:
    value = values.get(key)
    if value is not None and (type(value) is not int or not 3 <= value < 2**31):  # [CLS], a token, [SEP]
        fail(key, "a number of tokens, at least 3, or null", reprlib.repr(value))
    return value


def _prompts(values: Mapping[str, Any], fail: Fail) -> tuple[dict[str, str], str | None]:
    """Read the prompts, where null stands for an empty one, and the name of the default."""
    texts = values.get("prompts") or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str | None) for text in texts.values()):
        fail("prompts", "an object that maps names to texts", reprlib.repr(texts))
    default = values.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in texts):
        fail("default_prompt_name", f"null or one of {tuple(texts)}" if texts else "null", reprlib.repr(default))
    return {name: text or "" for name, text in texts.items()}, default
