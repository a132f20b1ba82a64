from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
from fakes import toy_dataset
from huggingface_hub import constants

from pyrite.core import beir_names, hub
from pyrite.core.beir_names import find_folder
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.errors import PyriteError


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of BEIR that is a folder: what `beir` asks of it by HTTP is read there."""
    folder = tmp_path / "host"
    folder.mkdir()

    def head(request: Any, timeout: float) -> Any:
        if not (folder / request.full_url.rsplit("/", 1)[1]).is_file():
            raise URLError("404 Not Found")
        return SimpleNamespace(close=lambda: None)

    def answer(url: str, **_: Any) -> Any:
        data = (folder / url.rsplit("/", 1)[1]).read_bytes()
        return SimpleNamespace(
            headers={"Content-Length": len(data)},
            iter_content=lambda chunk_size: [data],
        )

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(beir_names, "urlopen", head)
    monkeypatch.setattr("requests.get", answer)
    return folder


def test_a_name_of_beir_is_fetched_once(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_dataset(tmp_path / "scifact", documents=20, queries=4)
    with zipfile.ZipFile(host / "scifact.zip", "w") as archive:
        for path in (tmp_path / "scifact").rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    cache = tmp_path / "cache"
    dataset = open_dataset(DatasetConfig(path="scifact"), cache)
    assert (len(dataset.corpus), dataset.splits()) == (20, ["test", "train"])
    (host / "scifact.zip").unlink()
    assert find_folder("scifact", cache) == cache / "datasets" / "beir" / "scifact"
    assert [path.name for path in (cache / "datasets" / "beir").iterdir()] == ["scifact"]


@pytest.mark.parametrize("what", ["missing", "no archive", "no network", "offline"])
def test_what_cannot_be_fetched_leaves_nothing_and_names_the_local_way(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise URLError("nobody there")

    if what == "no archive":
        (host / "nfcorpus.zip").write_bytes(b"<html>")
    if what == "no network":
        monkeypatch.setattr(beir_names, "urlopen", fail)
    if what == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cache = tmp_path / "cache"
    with pytest.raises(
        PyriteError, match=r"dataset\.path=nfcorpus: .*set dataset.path to its folder"
    ):
        open_dataset(DatasetConfig(path="nfcorpus"), cache)
    assert list(cache.rglob("*.tmp*")) == []
    assert not (cache / "datasets" / "beir" / "nfcorpus").exists()


def test_a_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scifact").mkdir()
    assert find_folder("scifact", tmp_path) == Path("scifact")
    assert find_folder("no/where", tmp_path) == Path("no/where")


@pytest.mark.parametrize(
    ("name", "says"), [("scifct", "did you mean 'scifact'?"), ("zzz", "BEIR has arguana, ")]
)
def test_an_unknown_name_is_answered_with_a_known_one(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(PyriteError) as caught:
        find_folder(name, tmp_path)
    assert str(caught.value).startswith(f"{name}: no such dataset folder")
    assert says in str(caught.value)


def test_names_are_in_order_and_distinct() -> None:
    assert list(beir_names.NAMES) == sorted(set(beir_names.NAMES))


@pytest.mark.parametrize("there", [True, False])
def test_the_hub_is_asked_once_before_its_client_tries_for_minutes(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    asked = []

    def head(url: str, timeout: float) -> None:
        asked.append((url, timeout))
        if not there:
            raise ConnectionError("nobody there")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=head))
    hub.offline_if_unreachable()
    assert constants.HF_HUB_OFFLINE is not there
    hub.offline_if_unreachable()
    assert asked == [(constants.ENDPOINT, 5)] * (2 if there else 1)
