"""How a model turns texts into embeddings: the files that sentence-transformers writes into its folder.

``modules.json`` lists the steps: Transformer, Pooling and, for unit vectors, Normalize. Each may have a ``config.json``
in a folder of its own. ``sentence_bert_config.json`` has the settings of the Transformer, and
``config_sentence_transformers.json`` the prompts.

Files: https://sbert.net/docs/sentence_transformer/usage/custom_models.html. Read as release 6.2 does, which also reads
those of the releases before it.
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

__all__ = ["POOLINGS", "EmbeddingSettings", "are_poolings", "embedding_files", "read_embedding", "transformer_folder"]

# In the order in which a configuration of flags, one per pooling, concatenates them. The other three are not
# implemented.
POOLINGS = ("cls", "max", "mean")
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODULES = "modules.json"
GENERAL = "config_sentence_transformers.json"
TRANSFORMER = ("sentence_bert_config.json", "sentence_distilbert_config.json")  # the first that exists is read
STEPS = ("Transformer", "Pooling", "Normalize")
# A step's type is the path of its class. The path has changed between releases, the name has not.
TYPE = re.compile(r"sentence_transformers\.(?:\w+\.)*(\w+)", re.ASCII)
# Keys of the Transformer's settings that would change an embedding, with the only value that is implemented.
FIXED: dict[str, Any] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "processing_kwargs": {},
    "processor_kwargs": {},
    "tokenizer_args": {},
    "config_kwargs": {},
    "config_args": {},
    "query_expansion": None,
}


@dataclass(frozen=True)
class EmbeddingSettings:
    """How token states become an embedding, and what is done to a text before.

    Attributes
    ----------
    pooling : tuple of {"cls", "max", "mean"}
        The state of the first token, the largest value of each channel, or the mean; several are concatenated.
    normalize : bool
        Whether an embedding is divided by its 2-norm.
    include_prompt : bool
        Whether the tokens of a prompt take part in pooling.
    max_length : int or None
        Longer texts are cut to this number of tokens; None is the maximum of tokenizer and model.
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
        prompts, default = _prompts(values, fail)
        return cls(
            pooling=_poolings(values.get("pooling"), "pooling", fail),
            normalize=_flag(values, "normalize", True, fail),
            include_prompt=_flag(values, "include_prompt", True, fail),
            max_length=_length(values, "max_length", fail),
            lower_case=_flag(values, "lower_case", False, fail),
            prompts=prompts,
            default_prompt_name=default,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the values for `from_json`."""
        return dataclasses.asdict(self)


def transformer_folder(folder: str) -> str:
    """Return the folder of the model: `folder` or, as early releases wrote it, one in it."""
    file = os.path.join(folder, MODULES)
    if os.path.isfile(file) and not os.path.lexists(os.path.join(folder, "config.json")):
        path = _paths(read_json(file, "the list of modules", of=list), fail_for(file))[0]
        return os.path.join(folder, path) if path else folder
    return folder


def read_embedding(folder: str) -> EmbeddingSettings | None:
    """Read how the model in a folder turns texts into embeddings.

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
    home, name = os.path.split(os.path.abspath(folder))
    if os.path.lexists(os.path.join(folder, MODULES)) or not name.startswith("0_"):
        home, name = folder, ""
    file = os.path.join(home, MODULES)
    if not os.path.lexists(file):
        return None
    general, fail = _optional(home, GENERAL), fail_for(os.path.join(home, GENERAL))
    kind = general.get("model_type", "SentenceTransformer")
    if kind == "CrossEncoder":
        return None
    if kind != "SentenceTransformer":
        fail("model_type", "'SentenceTransformer'", reprlib.repr(kind))
    if general.get("truncate_dim") is not None:
        fail("truncate_dim", "null or no such key", reprlib.repr(general["truncate_dim"]))
    paths = _paths(read_json(file, "the list of modules", of=list), fail_for(file))
    if paths[0] != name:
        fail_for(file)("module 0: path", quote(name), quote(paths[0]))
    if len(paths) == len(STEPS):
        _check_normalize(os.path.join(home, paths[2]))
    pooling, include_prompt = _read_pooling(os.path.join(home, paths[1], "config.json"))
    max_length, lower_case = _read_transformer(folder)
    prompts, default = _prompts(general, fail)
    return EmbeddingSettings(
        pooling, len(paths) == len(STEPS), include_prompt, max_length, lower_case, prompts, default
    )


def embedding_files(folder: str) -> list[str]:
    """Return the names of the files in a folder that `read_embedding` reads, but for those of the modules."""
    return [name for name in (MODULES, GENERAL, *TRANSFORMER) if os.path.isfile(os.path.join(folder, name))]


def _optional(folder: str, name: str) -> dict[str, Any]:
    file = os.path.join(folder, name)
    values: dict[str, Any] = read_json(file, "settings") if os.path.lexists(file) else {}
    return values


def _paths(modules: list[Any], fail: Fail) -> list[str]:
    """Check the list of modules; return the folder of each."""
    paths = []
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


def _read_transformer(folder: str) -> tuple[int | None, bool]:
    """Read the settings of the Transformer: the length to cut to, and whether to lower-case."""
    name = next((name for name in TRANSFORMER if os.path.lexists(os.path.join(folder, name))), TRANSFORMER[0])
    values, fail = _optional(folder, name), fail_for(os.path.join(folder, name))
    for key, supported in FIXED.items():
        value = values.get(key)
        if isinstance(value, dict):  # sentence-transformers ignores this one
            value = {name: setting for name, setting in value.items() if name != "trust_remote_code"}
        if value and value != supported:
            fail(key, f"{supported!r} or no such key", reprlib.repr(value))
    return _length(values, "max_seq_length", fail), _flag(values, "do_lower_case", False, fail)


def _read_pooling(file: str) -> tuple[tuple[str, ...], bool]:
    """Read the poolings, from a flag for each or, in newer releases, their names; and whether prompts are pooled."""
    values, fail = read_json(file, "the configuration of the pooling"), fail_for(file)
    names = values.get("pooling_mode")
    if names is None:
        chosen = [key for key in values if key.startswith("pooling_mode_") and values[key]]
        names = [FLAGS.get(key, key) for key in sorted(chosen, key=lambda key: [*FLAGS, key].index(key))] or None
    return _poolings(names, "pooling_mode", fail), _flag(values, "include_prompt", True, fail)


def _check_normalize(folder: str) -> None:
    """Check that Normalize applies to the embedding; its configuration may be missing."""
    values, fail = _optional(folder, "config.json"), fail_for(os.path.join(folder, "config.json"))
    for key in ("module_input_name", "module_output_name"):
        if values.get(key) not in (None, "sentence_embedding"):
            fail(key, "'sentence_embedding'", reprlib.repr(values[key]))


def are_poolings(names: Any) -> bool:
    """Whether a list or tuple names poolings, each once."""
    known = isinstance(names, list | tuple) and all(isinstance(name, str) and name in POOLINGS for name in names)
    return known and 0 < len(names) == len(set(names))


def _poolings(names: Any, key: str, fail: Fail) -> tuple[str, ...]:
    names = "mean" if names is None else names
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
    if value is not None and (type(value) is not int or not 1 <= value < 2**31):
        fail(key, "a number of tokens or null", reprlib.repr(value))
    return value


def _prompts(values: Mapping[str, Any], fail: Fail) -> tuple[dict[str, str], str | None]:
    """Read the prompts, where null stands for an empty one, and the name of the default."""
    texts = values.get("prompts") or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str | None) for text in texts.values()):
        fail("prompts", "an object that maps names to texts", reprlib.repr(texts))
    prompts = {name: text or "" for name, text in texts.items()}
    default = values.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        names = ", ".join(map(quote, prompts))
        fail("default_prompt_name", f"null or one of {names}" if names else "null", reprlib.repr(default))
    return prompts, default
