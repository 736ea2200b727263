"""The models that ship with the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Traversable

BUILT_IN = "built-in"  # as the name of a model: the one for sentiment


def built_in_folder(model: str = "sentiment") -> Path:
    """Return the folder of a built-in model, or a temporary copy if the package is in an archive."""
    folder = _folder(model)
    return folder if isinstance(folder, Path) else _unpacked(model)


def _folder(model: str) -> Traversable:
    return files("squeezeops") / "models" / model


@cache
def _unpacked(model: str) -> Path:
    """Copy the files of a model in an archive to a folder, from which they can be mapped into memory."""
    import atexit
    import shutil
    from tempfile import mkdtemp

    folder = Path(mkdtemp(prefix="squeezeops-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in _folder(model).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
