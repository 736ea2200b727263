"""squeezeops against other libraries, and pytest-benchmark's table of the ops; nothing of it is installed.

``python -m bench.compare`` from the repository's root; `docs/benchmarks.md` has the method.
"""
