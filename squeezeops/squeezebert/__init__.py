"""SqueezeBERT and BERT: the model, its tokenizer, its file formats, and the conversion to one file.

`model` and `tokenizer` read through `files`; `conversion` uses all three. Names are loaded on first use, so that the
configuration and the tokenizer do not import NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezeops.squeezebert.model.config import SqueezeBertConfig
    from squeezeops.squeezebert.model.output import SqueezeBertOutput
    from squeezeops.squeezebert.model.squeezebert import SqueezeBert
    from squeezeops.squeezebert.tokenizer.encoding import Encoding
    from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

__all__ = ["Encoding", "SqueezeBert", "SqueezeBertConfig", "SqueezeBertOutput", "Tokenizer"]

MODULES = {
    "Encoding": "tokenizer.encoding",
    "SqueezeBert": "model.squeezebert",
    "SqueezeBertConfig": "model.config",
    "SqueezeBertOutput": "model.output",
    "Tokenizer": "tokenizer.tokenizer",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of these

    def __getattr__(name: str) -> Any:
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
