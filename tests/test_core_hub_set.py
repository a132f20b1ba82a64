"""Judged sets of the hub and of `datasets` on disk: the same set as its BEIR folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from fakes import toy_dataset

from pyrite import ConvertOptions, convert
from pyrite.core.beir_names import find_folder
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.errors import PyriteError
from pyrite.core.hub_tables import SCHEME
from pyrite.miner.formats.sources import Sources

Rows = list[dict[str, Any]]
# configurations of a repository by name: splits by name
Hub = dict[str, dict[str, dict[str, Rows]]]


def rows_of(folder: Path, name: str) -> Rows:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]


def judged(folder: Path, split: str) -> Rows:
    lines = (folder / "qrels" / f"{split}.tsv").read_text("utf-8").splitlines()[1:]
    pairs = (line.split("\t") for line in lines)
    return [{"query-id": q, "corpus-id": d, "score": int(s)} for q, d, s in pairs]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    toy_dataset(tmp_path / "toy", documents=20, queries=6)
    return tmp_path / "toy"


def tables(toy: Path) -> dict[str, dict[str, Rows]]:
    return {
        "corpus": {"corpus": rows_of(toy, "corpus")},
        "queries": {"queries": rows_of(toy, "queries")},
        "qrels": {split: judged(toy, split) for split in ("train", "test")},
    }


def on_the_hub(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> list[str]:
    asked: list[str] = []

    def names(repository: str) -> list[str]:
        if repository not in hub:
            raise ConnectionError(f"couldn't find\n{repository}")
        return list(hub[repository])

    def load(repository: str, config: str | None, streaming: bool) -> dict[str, Any]:
        assert streaming
        asked.append(f"{repository} {config}")
        found = hub[repository][config or "default"]
        return {s: datasets.Dataset.from_list(r).to_iterable_dataset() for s, r in found.items()}

    monkeypatch.setattr(datasets, "get_dataset_config_names", names)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def same(path: str, toy: Path, cache: Path, splits: tuple[str, ...] = ("test", "train")) -> Path:
    """The folder of `path`, which must be the set of `toy`."""
    found, wanted = (open_dataset(DatasetConfig(path=p), cache) for p in (path, str(toy)))
    assert found.splits() == list(splits)
    for split in set(splits) & {"train", "test"}:
        assert judged(found.folder, split) == judged(toy, split)
    for name in ("corpus", "queries"):
        one, other = (
            [(r["_id"], r.get("title") or "", r["text"]) for r in rows_of(folder, name)]
            for folder in (found.folder, wanted.folder)
        )
        assert one == other
    return found.folder


def test_a_set_of_mteb_is_fetched_once(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tables(toy)
    hub = {"mteb/toy": {"default": found["qrels"], **{n: found[n] for n in ("corpus", "queries")}}}
    asked = on_the_hub(monkeypatch, hub)
    cache = tmp_path / "cache"
    same(f"{SCHEME}mteb/toy", toy, cache)
    assert asked
    asked.clear()
    same(f"{SCHEME}mteb/toy", toy, cache)
    assert asked == []


def test_beir_keeps_its_judgements_in_a_repository_beside(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tables(toy)
    hub: Hub = {
        "BeIR/toy": {n: found[n] for n in ("corpus", "queries")},
        "BeIR/toy-qrels": {"default": found["qrels"]},
    }
    on_the_hub(monkeypatch, hub)
    same(f"{SCHEME}BeIR/toy", toy, tmp_path / "cache")


def test_a_part_is_a_prefix_or_a_split(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tables(toy)
    plain = [{k: v for k, v in r.items() if k != "score"} for r in found["qrels"]["test"]]
    other = [{"_id": "x", "text": "another"}]
    hub: Hub = {
        "me/prefixed": {
            **{f"en-{name}": splits for name, splits in found.items()},
            "de-corpus": {"corpus": other},
            "de-queries": {"queries": other},
        },
        "me/nano": {
            "corpus": {"NanoToy": found["corpus"]["corpus"], "NanoOther": other},
            "queries": {"NanoToy": found["queries"]["queries"], "NanoOther": other},
            "qrels": {"NanoToy": plain, "NanoOther": [{"query-id": "x", "corpus-id": "x"}]},
        },
    }
    on_the_hub(monkeypatch, hub)
    cache = tmp_path / "cache"
    same(f"{SCHEME}me/prefixed/en", toy, cache)
    folder = same(f"{SCHEME}me/nano/NanoToy", toy, cache, ("NanoToy",))
    assert judged(folder, "NanoToy") == [{**r, "score": 1} for r in plain]
    with pytest.raises(PyriteError, match=r"me/prefixed: several sets, de, en; name one as hf://"):
        find_folder(f"{SCHEME}me/prefixed", cache)
    with pytest.raises(PyriteError, match=r"corpus has the splits NanoToy, NanoOther; name one"):
        find_folder(f"{SCHEME}me/nano", cache)
    with pytest.raises(PyriteError, match=r"me/nano/X: no such set or split; corpus has NanoToy"):
        find_folder(f"{SCHEME}me/nano/X", cache)


@pytest.mark.parametrize("form", ["saved", "split saved", "parquet", "shards", "json"])
def test_a_local_folder_of_tables(toy: Path, tmp_path: Path, form: str) -> None:
    home = tmp_path / "local"
    for name, splits in tables(toy).items():
        held = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
        place = home / name
        if form == "split saved" and name != "qrels":
            next(iter(held.values())).save_to_disk(str(place))
        elif "saved" in form:
            datasets.DatasetDict(held).save_to_disk(str(place))
        else:
            place.mkdir(parents=True)
            for split, data in held.items():
                if form == "json":
                    data.to_json(place / f"{split}.jsonl")
                elif form == "parquet":
                    data.to_parquet(place / f"{split}.parquet")
                else:
                    for at in range(2):
                        file = place / f"{split}-0000{at}-of-00002.parquet"
                        data.shard(2, at, contiguous=True).to_parquet(file)
    cache = tmp_path / "cache"
    folder = same(str(home), toy, cache)
    assert find_folder(str(home), cache) == folder
    # convert takes it as well
    options = ConvertOptions(Sources(cache=cache))
    done = convert(home, tmp_path / "out", "beir", options)
    assert (done.path, done.lost) == (str(home), {})
    same(str(tmp_path / "out"), toy, cache)
    convert(home, tmp_path / "rows.jsonl", "tevatron", options)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").open(encoding="utf-8")]
    assert {r["query_id"] for r in rows} == {r["query-id"] for r in judged(toy, "train")}


def test_convert_takes_a_set_of_the_hub(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_hub(monkeypatch, {"me/toy": tables(toy)})
    options = ConvertOptions(Sources(cache=tmp_path / "cache"))
    done = convert(f"{SCHEME}me/toy", tmp_path / "out", "mteb", options)
    assert (done.format, done.path, done.lost) == ("BEIR set", f"{SCHEME}me/toy", {})
    assert "source: `toy`" in (tmp_path / "out" / "README.md").read_text("utf-8")
    convert(f"{SCHEME}me/toy", tmp_path / "rows.jsonl", "tevatron", options)
    assert (tmp_path / "rows.jsonl").is_file()


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"corpus": {"c": [{"_id": "1"}]}}, r"corpus, c, row 1: field 'text' is None"),
    "no id": ({"corpus": {"c": [{"text": "a"}]}}, r"corpus, c, row 1: no '_id'; every row"),
    "two texts": (
        {"corpus": {"c": [{"_id": "1", "text": "a"}, {"_id": "1", "text": "b"}]}},
        r"corpus, c, row 2: id '1' stands for another text before",
    ),
    "no whole grade": (
        {"qrels": {"test": [{"query-id": "1", "corpus-id": "1", "score": 0.5}]}},
        r"qrels, test, row 1: score 0.5 is not a whole number",
    ),
    "a word for a grade": (
        {"qrels": {"test": [{"query-id": "1", "corpus-id": "1", "score": "yes"}]}},
        r"score 'yes' is not a whole number",
    ),
    "a tab in an id": (
        {"qrels": {"test": [{"query-id": "1", "corpus-id": "a\tb", "score": 1}]}},
        r"id 'a\\tb' holds a tab or line break; rename it",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_malformed_row_is_named(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    changed, says = FAULTS[fault]
    on_the_hub(monkeypatch, {"me/toy": {**tables(toy), **changed}})
    with pytest.raises(PyriteError, match=rf"hf://datasets/me/toy: .*{says}"):
        find_folder(f"{SCHEME}me/toy", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


def test_what_is_no_set_and_what_cannot_be_reached(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub: Hub = {"me/rows": {"default": {}}, "me/texts": {"corpus": {}, "queries": {}, "data2": {}}}
    on_the_hub(monkeypatch, hub)
    cache = tmp_path / "cache"
    with pytest.raises(PyriteError, match=r"me/rows: no judged set, .*; found default"):
        find_folder(f"{SCHEME}me/rows", cache)
    with pytest.raises(PyriteError, match=r"\(couldn't find me/gone\); without the hub, name a"):
        open_dataset(DatasetConfig(path=f"{SCHEME}me/gone"), cache)
    with pytest.raises(PyriteError, match=r"dataset.path=hf://datasets/me: expected hf://"):
        find_folder(f"{SCHEME}me", cache)

    def broken(*args: Any, **options: Any) -> None:
        raise OSError("connection\nlost")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(PyriteError, match=r"me/texts: .*\(connection lost\); without the hub"):
        find_folder(f"{SCHEME}me/texts", cache)
    # a folder that holds nothing of the kind is what it was
    (tmp_path / "empty").mkdir()
    with pytest.raises(PyriteError, match=r"corpus.jsonl: no such file; a BEIR folder holds"):
        open_dataset(DatasetConfig(path=str(tmp_path / "empty")), cache)


def test_a_query_of_several_splits_is_one_query_and_is_counted(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = tables(toy)
    queries = found["queries"]["queries"]
    found["queries"] = {"train": queries, "test": queries[:2]}
    on_the_hub(monkeypatch, {"me/toy": found})
    same(f"{SCHEME}me/toy", toy, tmp_path / "cache")
    assert "fetch queries: 2 rows stood there before" in caplog.text


def test_other_fields_stay_and_what_is_not_read_is_said(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found: Any = tables(toy)
    rows = found["corpus"]["corpus"]
    rows[0] |= {"metadata": {"url": "http", "tags": ["a", 1]}, "photo": b"raw"}
    # rows of `datasets` have the columns of all
    others = [{**row, "metadata": None, "photo": None} for row in rows[1:]]
    hub: Any = {"me/toy": {**found, "top_ranked": {}}}

    def load(repository: str, config: str, streaming: bool) -> Any:
        splits = {**hub[repository][config]}
        return {"corpus": [rows[0], *others]} if config == "corpus" else splits

    on_the_hub(monkeypatch, hub)
    monkeypatch.setattr(datasets, "load_dataset", load)
    folder = find_folder(f"{SCHEME}me/toy", tmp_path / "cache")
    first, second = rows_of(folder, "corpus")[:2]
    assert first["metadata"] == {"url": "http", "tags": ["a", 1]}
    assert "metadata" not in second
    assert "fetch corpus: field 'photo' left out 1 times" in caplog.text
    assert "hf://datasets/me/toy: not read: top_ranked" in caplog.text
