"""Benchmarks of the ops, for ``squeezeops bench``, pytest-benchmark and ``python -m bench.compare``.

`cases` is the table: for each op its inputs, its work and the model's shapes. `variants` lists what can run an op,
`measure` takes samples and summarises them, `machine` describes the processor. The method: `docs/benchmarks.md`.
"""
