"""SqueezeBERT: configuration, checkpoint reader, forward pass, heads and tokenizer.

The names below are loaded on first use, so that the configuration, a checkpoint's header and the tokenizer can be used
without NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezeops.squeezebert.config import SqueezeBertConfig
    from squeezeops.squeezebert.model import SqueezeBert, SqueezeBertOutput
    from squeezeops.squeezebert.tokenizer import Tokenizer

__all__ = ["SqueezeBert", "SqueezeBertConfig", "SqueezeBertOutput", "Tokenizer"]

MODULES = {
    "SqueezeBert": "model",
    "SqueezeBertConfig": "config",
    "SqueezeBertOutput": "model",
    "Tokenizer": "tokenizer",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
