"""Finds a model's folder: a path, or a model in the local cache of the Hugging Face Hub. Nothing is downloaded.

The cache has a folder ``models--ORG--NAME`` for each model ``ORG/NAME``: ``refs/main`` holds the commit of the branch
main, ``snapshots/COMMIT`` the files of a commit, usually as links. The cache is the first of HF_HUB_CACHE,
HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub and ~/.cache/huggingface/hub that is set.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
import reprlib

from squeezeops.squeezebert.files.built_in import BUILT_IN, built_in_folder
from squeezeops.squeezebert.files.checkpoint import FOREIGN
from squeezeops.squeezebert.files.sentence_transformers import transformer_folder

__all__ = ["cache_folder", "find_folder"]

# The Hub's rule: one or two parts of letters, digits, "-", "_" and "."; no "--", no "..", no ".git" at the end.
PART = r"\w(?:[\w.-]*\w)?"
NAME = re.compile(rf"(?!.{{97}}|.*--|.*\.\.|.*\.git$)(?:{PART}/)?{PART}", re.ASCII)
FILES = (*FOREIGN, ".json", ".txt")  # endings of files of models
COMMIT = re.compile(r"[0-9A-Fa-f]{5,64}")


def find_folder(path: str | os.PathLike[str]) -> str:
    """Return the local folder of a model.

    Parameters
    ----------
    path : str or path
        An existing path, folder or file, is returned as it is. "built-in" is the model for sentiment in the package.
        Otherwise this is a model's name on the Hub, like "squeezebert/squeezebert-mnli" or "bert-base-uncased"; its
        branch main is looked up in the local cache. In a folder of sentence-transformers, the model may be in a folder
        of its own.

    Raises
    ------
    TypeError
        If `path` is neither a str nor a path.
    FileNotFoundError
        If there is neither. The message says where the cache is.
    ValueError
        If the cache is malformed.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"from_pretrained: path: expected a str or a path, got {type(path).__name__}")
    name = os.fsdecode(path)
    if "\0" not in name and os.path.exists(name):
        return transformer_folder(name)
    if name == BUILT_IN:
        return str(built_in_folder())
    if not NAME.fullmatch(name):
        shown = name if name.isprintable() and 0 < len(name) < 500 else reprlib.repr(name)
        raise FileNotFoundError(f"{shown}: expected a folder with a model, got no such folder")
    cache = os.path.join(cache_folder(), "models--" + name.replace("/", "--"))
    advice = "nothing is downloaded"
    if _may_be_on_the_hub(name):
        advice += f": hf download {name} does that; pip install huggingface_hub installs hf"
    if not os.path.isdir(cache):
        got = f"no such folder and none at {cache} ({advice})"
        raise FileNotFoundError(f"{name}: expected a folder or a model in the Hugging Face cache, got {got}")
    branch = os.path.join(cache, "refs", "main")
    if not os.path.isfile(branch):
        got = f"none at {branch} ({advice})"
        raise FileNotFoundError(f"{name}: expected the commit of the branch main in the cache, got {got}")
    with open(branch, encoding="utf-8", errors="replace") as file:
        commit = file.read(100).strip()
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"{branch}: expected a commit in hexadecimal, got {reprlib.repr(commit)}")
    folder = os.path.join(cache, "snapshots", commit)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: expected the files of the branch main, got no folder {folder} ({advice})")
    return transformer_folder(folder)


def _may_be_on_the_hub(name: str) -> bool:
    """Whether a name that is a valid one is not rather the path of something that does not exist."""
    owner, slash, _ = name.rpartition("/")
    return os.path.splitext(name)[1] not in FILES and not (slash and os.path.isdir(owner))


def cache_folder() -> str:
    """Return the path of the Hugging Face Hub's cache, from the environment. It may not exist."""
    get = os.environ.get  # an empty variable counts as unset
    home = get("HF_HOME") or os.path.join(get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface")
    cache = get("HF_HUB_CACHE") or get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expandvars(os.path.expanduser(cache))
