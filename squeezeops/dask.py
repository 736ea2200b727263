"""Labels, entities and embeddings of the texts in a Dask series, on the workers of a cluster.

Each function is a ``map_partitions``: Dask plans, distributes, and computes again what a lost worker had. A worker
process maps the model into memory once; squeezeops and `model` must be there on each. Arguments of all functions:

texts : dask.dataframe.Series of str
    Its index and partitions are those of the result. A text that is missing, blank or too long fails; options such as
    ``truncation=True`` are those of the pipeline.
model, dtype, attention, **options
    Those of `squeezeops.pipeline`.
threads : int, optional; per process, by default those that its worker has
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any

import pandas

from squeezeops import ops
from squeezeops.pipelines import Pipeline, pipeline

__all__ = ["classify", "embed", "tag"]
_pipelines: dict[str, Pipeline] = {}
_loading = Lock()


def classify(texts: Any, model: Any = None, **options: Any) -> Any:
    """Return a dask.dataframe.DataFrame with the columns label (str) and score (float64): the best of each text.

    Examples
    --------
    >>> texts = dask.dataframe.from_pandas(pandas.Series(["a gorgeous movie", "awful"]), npartitions=2)
    >>> list(classify(texts).compute()["label"])
    ['POSITIVE', 'NEGATIVE']
    """
    if "top_k" in options:
        raise ValueError(f"classify: top_k: expected none, got {options['top_k']}")
    labels = pandas.DataFrame({"label": pandas.Series(dtype=str), "score": pandas.Series(dtype="float64")})
    return _map("text-classification", texts, labels, model=model, **options)


def tag(texts: Any, model: Any, **options: Any) -> Any:
    """Return a dask.dataframe.Series with the list of entities of each text."""
    return _map("token-classification", texts, pandas.Series(dtype=object, name="entities"), model=model, **options)


def embed(texts: Any, model: Any, **options: Any) -> Any:
    """Return a dask.dataframe.Series with the embedding of each text, an array of float32 of shape (C,)."""
    return _map("feature-extraction", texts, pandas.Series(dtype=object, name="embedding"), model=model, **options)


def _map(task: str, texts: Any, meta: Any, **options: Any) -> Any:
    meta.index = texts._meta.index  # empty, of the same type
    return texts.map_partitions(partial(_answer, task, meta, options), meta=meta)


def _answer(task: str, empty: Any, options: dict[str, Any], texts: Any) -> Any:
    """Return the results of a partition; runs on a worker."""
    found = list(_pipeline(task, **options).stream(texts))
    if task == "text-classification":
        return pandas.DataFrame(found, texts.index, empty.columns).astype(empty.dtypes)
    return pandas.Series(found, texts.index, object, empty.name)


def _pipeline(task: str, threads: int | None = None, **options: Any) -> Pipeline:
    name = repr((task, threads, sorted(options.items())))
    with _loading:
        if name not in _pipelines:
            if threads is None:
                with suppress(ImportError, ValueError):  # on the threads of this process
                    from distributed import get_worker

                    threads = get_worker().state.nthreads
            ops.set_num_threads(threads or ops.get_num_threads())
            _pipelines[name] = pipeline(task, **options)  # type: ignore[call-overload]
        return _pipelines[name]
