"""Model names are looked up in the local cache of the Hugging Face Hub, never on the network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from squeezeops.squeezebert import SqueezeBert, Tokenizer
from squeezeops.squeezebert.files.hub_cache import cache_folder, find_folder
from squeezeops.squeezebert.model.weights import load_folder

GOLDEN = Path(__file__).parent / "golden"
COMMIT = "1b2c3d4e5f60718293a4b5c6d7e8f90123456789"
ADVICE = "nothing is downloaded: hf download {} does that; pip install huggingface_hub installs hf"
VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home folder, which is also the current one, and no cache variables."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def download(cache: Path, name: str, files: Path = GOLDEN / "classification") -> Path:
    """Put a model into the cache as huggingface_hub does, with links as files. Return the snapshot's folder."""
    repository = cache / ("models--" + name.replace("/", "--"))
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for i, file in enumerate(sorted(files.iterdir())):
        shutil.copy(file, repository / "blobs" / f"{i}")
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", f"{i}"))
    return snapshot


# ---- where the cache is --------------------------------------------------------------------------------------------

ENVIRONMENTS = {  # variables: the cache folder; {home} is the home folder
    (): "{home}/.cache/huggingface/hub",
    (("XDG_CACHE_HOME", "/xdg"),): "/xdg/huggingface/hub",
    (("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")): "/hf/hub",
    (("HUGGINGFACE_HUB_CACHE", "/older"), ("HF_HOME", "/hf")): "/older",
    (("HF_HUB_CACHE", "/cache"), ("HUGGINGFACE_HUB_CACHE", "/older"), ("HF_HOME", "/hf")): "/cache",
    (("HF_HUB_CACHE", "~/models"),): "{home}/models",
    (("HF_HOME", "$HOME/hf"),): "{home}/hf/hub",
    (("HF_HOME", "~/hf"),): "{home}/hf/hub",
}


@pytest.mark.parametrize("variables", ENVIRONMENTS)
def test_where_the_cache_is(home, monkeypatch, variables):
    for variable, value in variables:
        monkeypatch.setenv(variable, value)
    assert cache_folder() == ENVIRONMENTS[variables].format(home=home)


def test_variables_that_are_set_but_empty(home, monkeypatch):
    for variable in VARIABLES[:-1]:
        monkeypatch.setenv(variable, "")
    assert cache_folder() == f"{home}/.cache/huggingface/hub"
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/older")
    assert cache_folder() == "/older"


@pytest.mark.oracle
@pytest.mark.parametrize("variables", ENVIRONMENTS)
def test_cache_folder_as_in_huggingface_hub(home, cache, monkeypatch, variables):
    monkeypatch.delenv("HF_HUB_CACHE")
    for variable, value in variables:
        monkeypatch.setenv(variable, value)
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == cache_folder()


@pytest.mark.oracle
def test_snapshot_as_in_huggingface_hub(cache):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the oracle is huggingface_hub")
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    download(cache, "squeezebert/squeezebert-mnli")
    found = huggingface_hub.try_to_load_from_cache("squeezebert/squeezebert-mnli", "config.json", cache_dir=cache)
    assert found == str(Path(find_folder("squeezebert/squeezebert-mnli")) / "config.json")
    folder = huggingface_hub.snapshot_download("squeezebert/squeezebert-mnli", cache_dir=cache, local_files_only=True)
    assert folder == find_folder("squeezebert/squeezebert-mnli")
    for name in NAMES:
        validate_repo_id(name)
    for name in (*NO_NAMES, "/absolute", "a/b/c"):
        with pytest.raises(HFValidationError):
            validate_repo_id(name)


# ---- names ---------------------------------------------------------------------------------------------------------

NAMES = ("squeezebert/squeezebert-mnli", "bert-base-uncased", "a/b", "A.b-c_d/e.f", "x", "a" * 90 + "/b", "_a_/b")
NO_NAMES = (*".. . a/.. ../a a..b a--b a/b--c -a a- a. .a/b a/ /a".split(), "a b", "a\nb", "a\n")  # noqa: SIM905
NO_NAMES += ("a:b", "a\\b", "é", "a.git", "a/b.git", "a" * 97, "~", "", "a%2fb", "a/b/../c")


@pytest.mark.parametrize("name", NAMES)
def test_names(cache, name):
    snapshot = download(cache, name)
    assert find_folder(name) == str(snapshot)
    assert find_folder(Path(name)) == str(snapshot)


@pytest.mark.parametrize("name", [*NO_NAMES, "a\0b", "/tmp/none/such", "a/b/c", "./a/b", "x" * 5_000])
def test_invalid_names_are_not_looked_up(tmp_path, monkeypatch, name):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("squeezeops.squeezebert.files.hub_cache.cache_folder", lambda: pytest.fail("looked up"))
    monkeypatch.chdir(tmp_path / "home")
    if name in ("..", "."):
        assert find_folder(name) == name  # these folders exist
        return
    with pytest.raises(FileNotFoundError, match="expected a folder with a model, got no such folder"):
        find_folder(name)


def test_an_existing_path_comes_first(home, cache):
    download(cache, "org/model")
    (home / "org" / "model").mkdir(parents=True)
    assert find_folder("org/model") == "org/model"
    (home / "file").write_text("a file too: a tokenizer may be one")
    assert find_folder("file") == "file" and find_folder(home / "file") == str(home / "file")


def test_models_by_name(cache):
    vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nfilm"
    snapshot = download(cache, "org/model")
    (snapshot / "vocab.txt").write_text(vocabulary)
    config, weights = load_folder("org/model")
    assert config.num_labels == 3 and weights["classifier.weight"].shape == (3, 32)
    model = SqueezeBert.from_pretrained("org/model")
    assert model.path == str(snapshot)  # the model's other files are there
    assert model([[2, 5, 3]]).logits.shape == (1, 3)
    assert Tokenizer.from_pretrained("org/model")("a film")["input_ids"] == [2, 5, 6, 3]


# ---- missing and broken models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [find_folder, load_folder, SqueezeBert.from_pretrained, Tokenizer.from_pretrained])
def test_missing_model(cache, load):
    with pytest.raises(FileNotFoundError) as error:
        load("squeezebert/squeezebert-mnli")
    assert str(error.value) == (
        "squeezebert/squeezebert-mnli: expected a folder or a model in the Hugging Face cache, got no such folder and "
        f"none at {cache}/models--squeezebert--squeezebert-mnli "
        f"({ADVICE.format('squeezebert/squeezebert-mnli')})"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "models/mnli.safetensors", "vocab.txt", "local/model"])
def test_no_download_is_advised_for_what_must_be_a_path(home, cache, name):
    """It has the ending of a file, or the folder before the slash exists. The cache is looked up all the same."""
    (home / "local").mkdir()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{name}: expected a folder")) as error:
        find_folder(name)
    assert "hf download" not in str(error.value)
    snapshot = download(cache, name)
    assert find_folder(name) == str(snapshot)


@pytest.fixture
def branch(cache):
    """The file of the branch main of a model in the cache, "org/model"."""
    download(cache, "org/model")
    return cache / "models--org--model" / "refs" / "main"


def test_no_branch_main(branch):
    branch.rename(branch.with_name("other"))
    message = f"expected the commit of the branch main in the cache, got none at {branch} "
    with pytest.raises(FileNotFoundError, match=re.escape(f"{message}({ADVICE.format('org/model')})")):
        find_folder("org/model")
    snapshot = branch.parents[1] / "snapshots" / COMMIT
    assert find_folder(snapshot) == str(snapshot)


COMMITS = [
    "",
    "main",
    "..",
    "../../../../etc",
    "/etc",
    "1b2c",
    f"{COMMIT}/..",
    f"{COMMIT}\0",
    "f" * 10_000,
    f"{COMMIT}\nx",
]


@pytest.mark.parametrize("commit", [*(commit.encode() for commit in COMMITS), b"\xff\xfe"])
def test_invalid_commit(branch, commit):
    branch.write_bytes(commit)
    with pytest.raises(ValueError) as error:
        find_folder("org/model")
    assert str(error.value).startswith(f"{branch}: expected a commit in hexadecimal, got ")
    assert len(str(error.value)) < len(str(branch)) + 100
    branch.write_text(COMMIT + "\n")  # as a person would write it
    assert find_folder("org/model").endswith(COMMIT)


def test_a_commit_without_files(branch):
    branch.write_text("0" * 40)
    message = "expected the files of the branch main, got no folder .*/0{40} .nothing is"
    with pytest.raises(FileNotFoundError, match=message):
        find_folder("org/model")


def test_partial_download(cache):
    snapshot = download(cache, "org/model")
    for name, message in [
        ("model.safetensors", "expected model.safetensors or pytorch_model.bin, got no weights"),
        ("config.json", "config.json: expected the model's configuration"),
    ]:
        (snapshot / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"{COMMIT}.{message}|{COMMIT}: {message}"):
            load_folder("org/model")
    with pytest.raises(FileNotFoundError, match=f"expected a tokenizer.json or a vocab.txt.*{COMMIT}"):
        Tokenizer.from_pretrained("org/model")
