"""Benchmarks of the ops, for ``squeezeops bench`` and for pytest-benchmark (the repository's folder ``bench``).

`shapes` reads the model's shapes (shapes/<op>.csv, the one place that holds them), `cases` makes the inputs of an op at
a shape, `variants` lists what can run it, `measure` takes the figures, `machine` says what they were taken on.
`docs/benchmarks.md` has the method.
"""
