"""Classify texts with the package itself, on CPython or on PyPy with NumPy::

    python classify_numpy.py model.safetensors "a gorgeous, witty, seductive movie"

Prints a line per text: the class, its score, the logits of all classes, the text. PyPy uses the backend ``cffi``.
"""

import sys
