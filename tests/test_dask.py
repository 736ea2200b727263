"""squeezeops.dask on a cluster of processes, of which one is killed."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from limits import seconds
from pages import blocks
from pipeline_helpers import write_lively_model

from squeezeops.pipelines import default_model, pipeline

pytestmark = pytest.mark.full
TEXTS = [f"a {'good' if n % 3 else 'bad'} movie{', and long' * (n % 7)} no. {n}" for n in range(3000)]


@pytest.fixture(scope="module")
def frame():
    import dask.dataframe
    import pandas

    index = [f"row {n:04}" for n in range(len(TEXTS))]
    return dask.dataframe.from_pandas(pandas.DataFrame({"text": TEXTS}, index=index), npartitions=30)


@pytest.fixture(scope="module")
def cluster():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster, timeout=seconds(60)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def expected():
    return pipeline("text-classification")(TEXTS)


def check(found, expected):
    assert list(found.index) == [f"row {n:04}" for n in range(len(TEXTS))]
    assert found.to_dict("records") == expected


def test_labels(frame, cluster, expected):
    from squeezeops import dask

    labels = dask.classify(frame["text"])
    assert labels.npartitions == 30
    found = labels.compute()
    check(found, expected)
    assert found.dtypes.equals(labels.dtypes)


def test_a_worker_is_killed(frame, cluster, expected):
    """The partitions that it has computed are lost with it, and computed again."""
    from squeezeops import dask

    workers = cluster.run(os.getpid)
    future = cluster.compute(dask.classify(frame["text"], batch_size=31))
    limit = time.monotonic() + seconds(120)
    while not any(key[0] for key in cluster.has_what().values() if key):
        assert time.monotonic() < limit
        time.sleep(0.001)
    assert not future.done()
    os.kill(next(iter(workers.values())), signal.SIGKILL)
    check(future.result(timeout=seconds(120)), expected)
    now = cluster.run(os.getpid)
    assert len({*workers.values()} - {*now.values()}) == 1


def test_one_model_per_process(frame, cluster):
    from squeezeops import dask

    dask.classify(frame["text"], batch_size=8).compute()
    dask.classify(frame["text"], batch_size=8, threads=None).compute()

    def loaded():
        from squeezeops import dask, ops

        return [name for name in dask._pipelines if "'batch_size', 8" in name], ops.get_num_threads()

    for names, threads in cluster.run(loaded).values():
        assert len(names) == 1 and threads == 1


@pytest.mark.parametrize("name", ["tag", "embed"])
def test_entities_and_embeddings(frame, cluster, tmp_path, name):
    from squeezeops import dask

    task, model = "feature-extraction", default_model()
    if name == "tag":
        task = "token-classification"
        model = write_lively_model(tmp_path, ["O", "B-PER", "I-PER"], positions=128, seed=2, task=task)
    found = getattr(dask, name)(frame["text"], str(model)).compute()
    expected = pipeline(task, model)(TEXTS)
    assert all(np.array_equal(a, b) if name == "embed" else a == b for a, b in zip(found, expected, strict=True))
    assert found.name == {"tag": "entities", "embed": "embedding"}[name] and len(found) == len(TEXTS)


def test_errors_and_empty_partitions(frame, cluster):
    from squeezeops import dask

    with pytest.raises(ValueError, match="classify: top_k: expected none, got 2"):
        dask.classify(frame["text"], top_k=2)
    none = dask.classify(frame[frame["text"] == "none"]["text"]).compute()
    assert len(none) == 0 and list(none.columns) == ["label", "score"]
    with pytest.raises(ValueError, match="text-classification: text 0: expected a non-empty text"):
        dask.classify(frame["text"].str.slice(0, 0)).compute()
    assert len(dask.classify(frame["text"]).compute(scheduler="threads")) == len(TEXTS)


def test_the_page(frame, tmp_path, monkeypatch):
    """The block of docs/tasks.md runs."""
    (block,) = [block for block in blocks("docs/tasks.md", "python") if "import squeezeops.dask" in block.text]
    monkeypatch.chdir(tmp_path)
    frame.partitions[:2].to_parquet("reviews/")
    Path("path/to").mkdir(parents=True)
    Path("path/to/model").symlink_to(default_model())
    exec(block.text, names := {})
    assert len(names["dask"].dataframe.read_parquet("labels/")) == 200
