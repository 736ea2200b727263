"""Classify texts with the package itself, on CPython or on PyPy, with NumPy::

    python classify_numpy.py model.safetensors "a gorgeous, witty, seductive movie"

Prints a line per text: the class, its score, the logits of all classes, the text. PyPy needs
SQUEEZEOPS_BACKEND=cffi in the environment.
"""

import sys

import squeezeops

if len(sys.argv) < 3:
    sys.exit("usage: classify_numpy.py MODEL TEXT...")
classify = squeezeops.pipeline("text-classification", sys.argv[1])
for text in sys.argv[2:]:
    best = classify(text)[0]
    found = classify(text, function_to_apply="none", top_k=None)
    logits = {result["label"]: result["score"] for result in found}
    in_order = (logits[label] for label in classify.model.config.id2label.values())
    print(best["label"], f"{best['score']:.4f}", *(f"{x:.9g}" for x in in_order), text)
