"""Importing this makes `import squeezeops` find the installed package, unless the one next to bench/ is built.

``python -m`` puts the repository's root first on the path. Its sources may have no compiled kernels.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if not any((ROOT / "squeezeops").glob("libsqueezeops.so*")):
    elsewhere = [entry for entry in sys.path if Path(entry or os.curdir).resolve() != ROOT]
    sys.path[:] = [*elsewhere, str(ROOT)]
