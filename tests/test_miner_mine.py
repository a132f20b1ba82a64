from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, write_dataset
from sampler_setup import fitting

from pyrite.core.candidates import Reason
from pyrite.core.config import parse_config
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.core.store import read_array
from pyrite.core.text import normalise
from pyrite.indexes.flat import FlatIndex
from pyrite.miner.mine import MineConfig, mine

SAMPLERS = ("topk", "random", "window", "simans")
FILES = ("negatives.parquet", "reasons.npy", "scores.png")
OPEN: dict[str, Any] = {"filters": {"percent": None}}


def settings(folder: Path, data: Path, name: str = "topk", **changes: Any) -> MineConfig:
    """A small run below `folder`; `changes` replace whole sections."""
    sections: dict[str, Any] = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 60},
        "filters": {"margin": 0.02, "positive_score": "max"},
        "sampler": fitting(name=name, n=4, window_min=2, window_max=30),
    }
    return parse_config(MineConfig, {**sections, **changes})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "negatives.parquet").to_pylist())


def texts_of(data: Path, name: str) -> dict[str, str]:
    lines = (data / f"{name}.jsonl").read_text("utf-8").splitlines()
    return {r["_id"]: r["text"] for r in map(json.loads, lines)}


def positives_of(data: Path, split: str = "train") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (data / "qrels" / f"{split}.tsv").read_text("utf-8").splitlines()[1:]:
        query, doc, grade = line.split("\t")
        if int(grade) >= 1:
            found.setdefault(query, set()).add(doc)
    return found


def exact(left: F32, right: F32) -> float:
    products = zip(left.tolist(), right.tolist(), strict=True)
    return float(np.float32(math.fsum(a * b for a, b in products)))


def vectors_of(texts: dict[str, str]) -> dict[str, F32]:
    encoder = BagOfWords()
    return {i: encoder.encode_documents([t])[0] for i, t in texts.items()}


def ranked_oracle(data: Path) -> dict[str, list[tuple[str, float]]]:
    """The whole corpus ranked for each training query, every pair scored in plain Python."""
    documents = vectors_of(texts_of(data, "corpus"))
    queries = vectors_of(texts_of(data, "queries"))
    out = {}
    for query in sorted(positives_of(data)):
        scores = {d: exact(queries[query], v) for d, v in documents.items()}
        order = sorted(scores, key=lambda d: (-scores[d], d))
        out[query] = [(d, scores[d]) for d in order]
    return out


def allowed_oracle(
    data: Path, query: str, ranked: list[tuple[str, float]]
) -> list[tuple[str, float, int]]:
    """(id, score, 1-based rank) of the candidates that no structural rule excludes."""
    corpus = texts_of(data, "corpus")
    positives = positives_of(data)[query]
    taken = {normalise(corpus[d]) for d in positives}
    taken.add(normalise(texts_of(data, "queries")[query]))
    out = []
    for rank, (doc, score) in enumerate(ranked, start=1):
        text = normalise(corpus[doc])
        if doc not in positives and text not in taken:
            out.append((doc, score, rank))
        taken.add(text)
    return out


def shuffled_lines(path: Path, header: bool) -> None:
    lines = path.read_text("utf-8").splitlines()
    head, body = (lines[:1], lines[1:]) if header else ([], lines)
    random.Random(7).shuffle(body)
    path.write_text("\n".join([*head, *body]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "shuffled", [("queries.jsonl",), ("corpus.jsonl",), ("qrels/train.tsv",), ()]
)
def test_line_order_blocks_and_threads_change_no_byte(
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    shuffled: tuple[str, ...],
) -> None:
    # so small that the thirty queries fill several row groups
    monkeypatch.setattr("pyrite.miner.negatives_file._ROW_GROUP", 8)
    first = mine(settings(tmp_path / "a", toy, name), BagOfWords())
    changes: dict[str, Any] = {}
    data = tmp_path / "b" / "data"
    shutil.copytree(toy, data)
    for path in shuffled:
        shuffled_lines(data / path, header=path.endswith(".tsv"))
    if not shuffled:
        changes = {
            "block_queries": 7,
            "threads": 2,
            "retrieve": {"depth": 60, "block_queries": 11},
        }
    second = mine(settings(tmp_path / "b", data, name, **changes), BagOfWords())
    assert not second.reused
    assert first.tally.drawn > 50
    for file in FILES:
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes()
    assert first.tally.as_json() == second.tally.as_json()


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of queries of each search made so far."""
    calls: list[int] = []
    search: Callable[[FlatIndex, F32, int], tuple[I64, F32]] = FlatIndex.search

    def counted(index: FlatIndex, queries: F32, k: int) -> tuple[I64, F32]:
        calls.append(len(queries))
        return search(index, queries, k)

    monkeypatch.setattr(FlatIndex, "search", counted)
    return calls


def test_a_second_call_does_nothing_again(
    toy: Path, tmp_path: Path, encoder: BagOfWords, searched: list[int]
) -> None:
    config = settings(tmp_path, toy)
    first = mine(config, encoder)
    encoded, stamps = encoder.encoded, file_stamps(first.folder)
    assert (first.reused, encoded, searched) == (False, 120 + 30, [30])
    fresh = BagOfWords()
    second = mine(config, fresh)
    assert second.reused
    assert (encoder.encoded, fresh.encoded, searched) == (encoded, 0, [30])
    assert file_stamps(second.folder) == stamps
    assert second.tally.as_json() == first.tally.as_json()


def file_stamps(folder: Path) -> dict[str, tuple[int, int]]:
    stats = {p.name: p.stat() for p in folder.iterdir()}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in stats.items()}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"sampler": {"name": "simans", "n": 3}},
        {"sampler": {"name": "simans", "n": 4, "a": 0.1}},
        {"filters": {"margin": 0.03, "positive_score": "max"}},
    ],
)
def test_other_choices_are_made_again_without_encoding_or_searching(
    toy: Path,
    tmp_path: Path,
    encoder: BagOfWords,
    searched: list[int],
    change: dict[str, Any],
) -> None:
    first = rows_of(mine(settings(tmp_path, toy, "simans"), encoder).folder)
    encoded = encoder.encoded
    changed = mine(settings(tmp_path, toy, "simans", **change), encoder)
    assert not changed.reused
    assert rows_of(changed.folder) != first
    assert (encoder.encoded, searched) == (encoded, [30])
    assert len(list((tmp_path / "cache" / "candidates").iterdir())) == 1
    alone = mine(settings(tmp_path / "alone", toy, "simans", **change), BagOfWords())
    for file in FILES:
        assert (changed.folder / file).read_bytes() == (alone.folder / file).read_bytes()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("part", ["queries.jsonl", "corpus.jsonl", "qrels/train.tsv"])
def test_edited_data_is_mined_again(toy: Path, tmp_path: Path, part: str) -> None:
    first = rows_of(mine(settings(tmp_path, toy, **OPEN), BagOfWords()).folder)
    if part.endswith(".tsv"):
        edit(toy / part, "q0001\td0001\t1\n", "q0001\td0003\t1\n")
    else:
        row = "q0001" if part.startswith("q") else "d0001"
        edit(toy / part, f'"{row}", "text": "', f'"{row}", "text": "w58 w59 ')
    again = mine(settings(tmp_path, toy, **OPEN), BagOfWords())
    assert not again.reused
    assert rows_of(again.folder) != first
    alone = mine(settings(tmp_path / "alone", toy, **OPEN), BagOfWords())
    for file in FILES:
        assert (again.folder / file).read_bytes() == (alone.folder / file).read_bytes()


def test_another_encoder_is_never_served_from_the_cache(toy: Path, tmp_path: Path) -> None:
    first = rows_of(mine(settings(tmp_path, toy, **OPEN), BagOfWords()).folder)
    other = BagOfWords(salt="other weights")
    second = mine(settings(tmp_path, toy, **OPEN), other)
    assert (second.reused, other.encoded) == (False, 150)
    assert rows_of(second.folder) != first


def test_an_error_leaves_the_finished_run_alone(toy: Path, tmp_path: Path) -> None:
    first = mine(settings(tmp_path, toy), BagOfWords())
    stamps = file_stamps(first.folder)
    with pytest.raises(PyriteError, match=r"^retrieve\.depth=121 .* 120 documents; set"):
        mine(settings(tmp_path, toy, retrieve={"depth": 121}), BagOfWords())
    assert file_stamps(first.folder) == stamps


@pytest.mark.parametrize(
    ("filters", "ceiling"),
    [
        ({"percent": None}, lambda pos: math.inf),
        ({"percent": 0.9}, lambda pos: pos - 0.1 * abs(pos)),
        ({"margin": 0.02}, lambda pos: pos - 0.02),
        ({"margin": 0.0, "max_score": 0.5, "positive_score": "max"}, lambda pos: min(pos, 0.5)),
        ({"margin": 0.05, "positive_score": "max"}, lambda pos: pos - 0.05),
        ({"margin": 0.05, "positive_score": "mean"}, lambda pos: pos - 0.05),
    ],
)
@pytest.mark.parametrize("name", ["topk", "window"])
def test_mining_equals_plain_python(
    toy: Path,
    tmp_path: Path,
    filters: dict[str, Any],
    ceiling: Callable[[float], float],
    name: str,
) -> None:
    n = 4 if name == "topk" else 12
    sampler = fitting(name=name, n=n, window_min=3, window_max=15)
    mined = mine(settings(tmp_path, toy, filters=filters, sampler=sampler), BagOfWords())
    found = rows_of(mined.folder)
    ranked = ranked_oracle(toy)
    reduce: dict[str, Callable[[list[float]], float]] = {
        "min": min,
        "max": max,
        "mean": lambda v: math.fsum(v) / len(v),
    }
    assert [r["query_id"] for r in found] == sorted(ranked)
    drawn = 0
    for row in found:
        query = row["query_id"]
        scores = [s for d, s in ranked[query] if d in positives_of(toy)[query]]
        pos = float(np.float32(reduce[filters.get("positive_score", "min")](scores)))
        assert row["pos_score"] == pytest.approx(pos, abs=1e-6)
        allowed = allowed_oracle(toy, query, ranked[query][:60])
        pool = allowed if name == "topk" else allowed[3:15]
        below = [c for c in pool if c[1] < np.float32(ceiling(pos))]
        got = list(zip(row["negative_ids"], row["scores"], row["ranks"], strict=True))
        assert (got if name == "topk" else sorted(got, key=lambda c: c[2])) == below[:n]
        drawn += len(got)
    assert 0 < drawn == mined.tally.drawn


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_negative_explains_itself(toy: Path, tmp_path: Path, name: str) -> None:
    mined = mine(settings(tmp_path, toy, name), BagOfWords())
    (candidates,) = (tmp_path / "cache" / "candidates").iterdir()
    ids = list(texts_of(toy, "corpus"))
    documents, queries = (vectors_of(texts_of(toy, part)) for part in ("corpus", "queries"))
    retrieved = read_array(candidates / "ids.npy")
    reasons = read_array(mined.folder / "reasons.npy")
    rows = rows_of(mined.folder)
    assert len(rows) == len(retrieved) == len(reasons) == 30
    for at, row in enumerate(rows):
        assert row["generation"] == 0
        assert set(row["sources"]) <= {"random" if name == "random" else "dense"}
        assert len(row["sources"]) == len(row["negative_ids"])
        lists = ("negative_ids", "scores", "ranks", "probabilities", "tiers")
        assert len({len(row[key]) for key in lists}) == 1
        assert set(row["tiers"]) <= {0}
        assert all(p >= 0 for p in row["probabilities"])
        assert math.fsum(row["probabilities"]) <= 1 + 1e-6
        for doc, score, rank in zip(row["negative_ids"], row["scores"], row["ranks"], strict=True):
            assert score == exact(queries[row["query_id"]], documents[doc])
            if name == "random":
                assert rank == 0
            else:
                assert ids[retrieved[at, rank - 1]] == doc
                assert reasons[at, rank - 1] == 0
    counts = {str(r.name): int((reasons & int(r) != 0).sum()) for r in Reason}
    assert mined.tally.reasons == counts
    drawn = sum(len(r["negative_ids"]) for r in rows)
    pairs = sum(map(len, positives_of(toy).values()))
    rejected = int((reasons != 0).sum())
    assert (mined.tally.drawn, mined.tally.candidates) == (drawn, reasons.size)
    assert mined.tally.kept == reasons.size - rejected
    assert [sum(counts) for counts in mined.tally.histograms.values()] == [pairs, drawn, rejected]


def wide(text: str) -> str:
    """Full-width letters: other code points, the same text after NFKC."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def planted(folder: Path) -> Path:
    """Copies of the query, of its positive and of another document, in every disguise."""
    query, positive, other = "alpha beta gamma", "alpha beta delta epsilon", "alpha gamma zeta"
    corpus = {"p": positive, "x": other, "q-copy": query}
    for name, text in (("p", positive), ("x", other), ("q", query)):
        corpus[f"{name}-exact"] = text
        corpus[f"{name}-case"] = text.upper()
        corpus[f"{name}-wide"] = wide(text)
        corpus[f"{name}-space"] = f"  {text.replace(' ', chr(9) + chr(0x2003))} \n"
    for i in range(6):
        corpus[f"n{i}"] = f"alpha beta word{i} other{i}"
    corpus["judged-zero"] = "alpha beta judged and refused"
    return write_dataset(
        folder, corpus, {"q": query}, {"train": [("q", "p", 1), ("q", "judged-zero", 0)]}
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_copy_of_query_positive_or_candidate_is_mined(tmp_path: Path, name: str) -> None:
    data = planted(tmp_path / "data")
    size = len(texts_of(data, "corpus"))
    sampler = fitting(name=name, n=50, a=0.0, window_min=0, window_max=100)
    config = settings(tmp_path, data, retrieve={"depth": size}, sampler=sampler, **OPEN)
    (row,) = rows_of(mine(config, BagOfWords()).folder)
    expected = {d for d, _, _ in allowed_oracle(data, "q", ranked_oracle(data)["q"])}
    assert set(row["negative_ids"]) == expected
    assert len(row["negative_ids"]) == len(expected)
    plain = {f"n{i}" for i in range(6)} | {"judged-zero"}
    assert plain < expected
    (kept,) = expected - plain
    assert kept.startswith("x")


def test_a_query_with_nothing_left_keeps_its_row(tmp_path: Path) -> None:
    corpus = {"a": "red green", "b": "RED  green", "c": "blue"}
    queries = {"q1": "red", "q2": "blue"}
    qrels = {"train": [("q1", "a", 1), ("q2", "c", 1), ("q2", "a", 1)]}
    data = write_dataset(tmp_path / "data", corpus, queries, qrels)
    mined = mine(settings(tmp_path, data, retrieve={"depth": 3}, **OPEN), BagOfWords())
    assert {r["query_id"]: r["negative_ids"] for r in rows_of(mined.folder)} == {
        "q1": ["c"],
        "q2": [],
    }
    assert mined.tally.negatives == {"0": 1, "1": 1}
