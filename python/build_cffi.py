"""Write the C source of squeezeops._cffi: ``python build_cffi.py HEADER... path/to/_cffi.c``."""

import sys
from pathlib import Path

import cffi

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from squeezeops._library import declarations  # noqa: E402

*headers, source = map(Path, sys.argv[1:])
builder = cffi.FFI()
for header in headers:
    builder.cdef(declarations(header.read_text(encoding="utf-8")))
includes = '#include "squeezeops/squeezeops.h"\n#include "measure/measure.h"'
builder.set_source("squeezeops._cffi", includes, py_limited_api=True)
builder.emit_c_code(str(source))
