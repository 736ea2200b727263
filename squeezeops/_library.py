"""The C library that a build puts into the package, its header, and what of the header cffi parses."""

from __future__ import annotations

import os
import re

from squeezeops._version import __version__

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def archive() -> str | None:
    """Return the archive that the package is imported from (a zipapp); None if it is in a folder.

    The system loads no library from an archive.
    """
    if os.path.isdir(_PACKAGE):
        return None
    path = _PACKAGE
    while not os.path.isfile(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _existing(function: str, path: str) -> str:
    if os.path.exists(path):
        return path
    if packed := archive():
        raise FileNotFoundError(f"{function}: expected a package in a folder, got {packed} (to get it: unpack that)")
    raise FileNotFoundError(
        f"{function}: expected a package built with its compiled kernels, got one without {path} "
        "(to get it: install a wheel, or build squeezeops from source with CMake and a C++17 compiler)"
    )


def get_include() -> str:
    """Return the folder to give to a C compiler (``-I``), so that it finds ``squeezeops/squeezeops.h``.

    Raises
    ------
    FileNotFoundError
        The package was built without its compiled kernels.
    """
    folder = os.path.join(_PACKAGE, "include")
    _existing("get_include", os.path.join(folder, "squeezeops", "squeezeops.h"))
    return folder


def get_library() -> str:
    """Return the path of the shared library, to link with or to load.

    Raises
    ------
    FileNotFoundError
        The package was built without its compiled kernels.
    """
    return _existing("get_library", os.path.join(_PACKAGE, f"libsqueezeops.so.{__version__.partition('.')[0]}"))


def check_version(found: str) -> None:
    """Refuse a library of another version, which LD_LIBRARY_PATH may have put in the place of ours."""
    if found != __version__:
        raise ImportError(f"libsqueezeops: expected version {__version__}, got {found}")


def declarations(header: str) -> str:
    """Return the text of squeezeops.h as cffi takes it: without preprocessor lines and what only those define."""
    header = re.sub(r"^#ifdef __cplusplus\n.*?^#endif$", "", header, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^#.*$|\bSQZ_API\b", "", header, flags=re.MULTILINE)
