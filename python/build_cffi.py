"""Write the C source of squeezeops._cffi: ``python build_cffi.py path/to/squeezeops.h path/to/_cffi.c``."""

import sys
from pathlib import Path

import cffi

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from squeezeops._library import declarations  # noqa: E402

header, source = map(Path, sys.argv[1:])
builder = cffi.FFI()
builder.cdef(declarations(header.read_text(encoding="utf-8")))
builder.set_source("squeezeops._cffi", '#include "squeezeops/squeezeops.h"', py_limited_api=True)
builder.emit_c_code(str(source))
