"""Finds a model's folder: a path, or a model's name in the local cache of the Hugging Face Hub. Nothing is downloaded.

The cache is ``models--ORG--NAME`` for a model ``ORG/NAME``, with the commit of a branch in ``refs/main`` and the files
of a commit (links, as a rule) in ``snapshots/COMMIT``. It lies where the environment says, in huggingface_hub's order:
HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
import reprlib

__all__ = ["cache_folder", "find_folder"]

# One or two parts of letters, digits, "-", "_" and ".", without "--" and ".." and not ending in ".git": the Hub's rule.
PART = r"\w(?:[\w.-]*\w)?"
NAME = re.compile(rf"(?!.{{97}}|.*--|.*\.\.|.*\.git$)(?:{PART}/)?{PART}", re.ASCII)
COMMIT = re.compile(r"[0-9A-Fa-f]{5,64}")


def find_folder(path: str | os.PathLike[str]) -> str:
    """The local folder of a model.

    Parameters
    ----------
    path : str or path
        What exists as a path is returned as it is, be it a folder or a file. Otherwise a model's name on the Hub, like
        "squeezebert/squeezebert-mnli" or "bert-base-uncased", whose branch "main" is looked for in the local cache.

    Raises
    ------
    TypeError
        If `path` is neither a str nor a path.
    FileNotFoundError
        If there is neither; says where was looked for it.
    ValueError
        If the cache has no commit where one should be.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"from_pretrained: path: expected a str or a path, got {type(path).__name__}")
    name = os.fsdecode(path)
    if "\0" not in name and os.path.exists(name):
        return name
    if not NAME.fullmatch(name):
        shown = name if name.isprintable() and 0 < len(name) < 500 else reprlib.repr(name)
        raise FileNotFoundError(f"{shown}: expected a folder with a model, got no such folder")
    cache = os.path.join(cache_folder(), "models--" + name.replace("/", "--"))
    advice = f"nothing is downloaded: hf download {name} does that"
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
    return folder


def cache_folder() -> str:
    """Where the environment says that the cache of the Hugging Face Hub is; it may not exist."""
    get = os.environ.get  # a variable that is set but empty counts as not set
    home = get("HF_HOME") or os.path.join(get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface")
    cache = get("HF_HUB_CACHE") or get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expandvars(os.path.expanduser(cache))
