"""`pyrite eval retriever=... data=... split=...`: a retriever without a configuration."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from cli_setup import Outcome, in_process, in_subprocess
from fakes import toy_dataset
from lexical_oracle import bm25
from tiny_model import tiny_model

MEASURES = ("ndcg@10", "judged@10", "mrr@10", "recall@100")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retriever")
    toy_dataset(folder / "data")
    tiny_model(folder / "tiny")
    return folder


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs and caches go below the working folder."""
    monkeypatch.chdir(tmp_path)


def texts_of(data: Path, name: str) -> dict[str, str]:
    lines = (data / f"{name}.jsonl").read_text("utf-8").splitlines()
    return {r["_id"]: r["text"] for r in map(json.loads, lines)}


def positives_of(data: Path, split: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (data / "qrels" / f"{split}.tsv").read_text("utf-8").splitlines()[1:]:
        query, doc, _ = line.split("\t")
        found.setdefault(query, set()).add(doc)
    return found


def by_words(data: Path) -> dict[str, list[str]]:
    """Every query's documents that share a word with it, by BM25 and then by id."""
    corpus = texts_of(data, "corpus")
    ids, words = list(corpus), [text.lower().split() for text in corpus.values()]
    out = {}
    for query, text in texts_of(data, "queries").items():
        scores = bm25(words, text.lower().split(), 0.9, 0.4)
        # what differs by rounding alone is a tie
        order = sorted(scores, key=lambda row: (-round(scores[row], 5), ids[row]))
        out[query] = [ids[row] for row in order]
    return out


def means(ranked: dict[str, list[str]], positives: dict[str, set[str]]) -> dict[str, float]:
    totals = dict.fromkeys(MEASURES, 0.0)
    for query, wanted in positives.items():
        ranks = [r for r, doc in enumerate(ranked[query], start=1) if doc in wanted]
        ideal = math.fsum(1 / math.log2(r + 1) for r in range(1, min(len(wanted), 10) + 1))
        totals["ndcg@10"] += math.fsum(1 / math.log2(r + 1) for r in ranks if r <= 10) / ideal
        shown = len(ranked[query][:10])
        totals["judged@10"] += sum(r <= 10 for r in ranks) / shown if shown else 0.0
        totals["mrr@10"] += 1 / ranks[0] if ranks and ranks[0] <= 10 else 0.0
        totals["recall@100"] += sum(r <= 100 for r in ranks) / len(wanted)
    return {name: total / len(positives) for name, total in totals.items()}


def measures(outcome: Outcome) -> dict[str, float]:
    assert outcome.code == 0, outcome.err
    found: dict[str, float] = json.loads(outcome.out)
    return found


@pytest.mark.parametrize("split", ["test", "train"])
def test_words_are_measured_as_the_oracle_ranks_them(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path, split: str
) -> None:
    data = home / "data"
    arguments = ("eval", "retriever=bm25s", f"data={data}", f"split={split}", "--json")
    found = measures(in_process(monkeypatch, capfd, *arguments))
    wanted = means(by_words(data), positives_of(data, split))
    assert found == pytest.approx(wanted, abs=1e-9)
    assert list(found) == list(MEASURES)
    assert 0 < found["mrr@10"] < 1, "the data must tell a good ranking from a bad one"
    written = json.loads(Path("runs/run/eval/results.json").read_text("utf-8"))
    assert (written["retriever"], written["model"], written["split"]) == ("bm25s", None, split)
    assert written["measures"] == found


def test_the_split_is_test_unless_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path
) -> None:
    arguments = ("eval", "retriever=bm25s", f"data={home / 'data'}", "--json")
    plain = measures(in_process(monkeypatch, capfd, *arguments))
    assert plain == measures(in_process(monkeypatch, capfd, *arguments, "split=test"))
    assert plain != measures(in_process(monkeypatch, capfd, *arguments, "split=train"))


def test_overrides_stand_beside_the_shortcuts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path
) -> None:
    arguments = ("eval", "retriever=bm25s", f"data={home / 'data'}", "--json")
    more = ("eval.measures=[recall@3]", "eval.source.lexical.k1=0.2")
    assert list(measures(in_process(monkeypatch, capfd, *arguments, *more))) == ["recall@3"]


def test_the_table_names_the_retriever(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ("retriever=bm25s", f"data={home / 'data'}", "split=test")
    outcome = in_process(monkeypatch, capfd, "eval", *arguments)
    assert outcome.code == 0
    assert "bm25s" in outcome.out
    assert "MiniLM" not in outcome.out, "no model took part"


def test_words_need_no_model(home: Path, tmp_path: Path) -> None:
    """Nothing encodes: with a model that does not exist, and in a fresh process."""
    command = [
        *(sys.executable, "-m", "pyrite", "eval", "retriever=bm25s", f"data={home / 'data'}"),
        *("split=test", "model=/nowhere/at/all", "--json"),
    ]
    found = measures(in_subprocess(command, cwd=tmp_path))
    wanted = means(by_words(home / "data"), positives_of(home / "data", "test"))
    assert found == pytest.approx(wanted, abs=1e-9)


def test_a_run_file_is_a_retriever(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    data = home / "data"
    ranked = {q: order[::-1] for q, order in by_words(data).items()}
    lines = [
        f"{query} Q0 {doc} {rank} {-rank} reversed"
        for query, order in ranked.items()
        for rank, doc in enumerate(order, start=1)
    ]
    path = tmp_path / "reversed.trec"
    path.write_text("\n".join(lines), encoding="utf-8")
    arguments = ("eval", "retriever=run", f"eval.source.path={path}", f"data={data}", "--json")
    found = measures(in_process(monkeypatch, capfd, *arguments))
    assert found == pytest.approx(means(ranked, positives_of(data, "test")), abs=1e-9)


def test_dense_is_the_configured_model(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path
) -> None:
    arguments = (
        *("eval", "retriever=dense", f"data={home / 'data'}", "split=test", "--json"),
        *(f"model={home / 'tiny' / 'model'}", "encoder.max_length=32", "threads=1"),
    )
    found = measures(in_process(monkeypatch, capfd, *arguments))
    assert list(found) == list(MEASURES)
    assert all(0 < value <= 1 for value in found.values())
    written = json.loads(Path("runs/run/eval/results.json").read_text("utf-8"))
    assert written["model"] == str(home / "tiny" / "model")
    # the same numbers from an index that visits every list
    lists = ("eval.source.index.backend=faiss", "eval.source.index.factory=IVF4,Flat")
    nprobe = ("eval.source.index.nprobe=4", "name=lists")
    assert measures(in_process(monkeypatch, capfd, *arguments, *lists, *nprobe)) == found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retriever=nope", "data=DATA"], "'dense', 'bm25s', 'lucene' or 'run'"),
        (["retriever=bm25s", "data=DATA/none"], "DATA/none"),
        (["retriever=bm25s", "data=DATA", "split=dev"], "dev"),
        (["retriever=bm25s", "data=DATA", "eval.measures=[f1@3]"], "measure 'f1@3' is unknown"),
        (["retriever=run", "data=DATA"], "a run needs a path"),
        (
            ["retriever=run", "data=DATA", "eval.source.path=none.trec"],
            "none.trec: no such run file",
        ),
        (["retriever=bm25s", "data=DATA", "nothing=3"], "nothing"),
        (["nowhere.yaml", "retriever=bm25s"], "nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    home: Path,
    arguments: list[str],
    says: str,
) -> None:
    data = str(home / "data")
    given = [a.replace("DATA", data) for a in arguments]
    outcome = in_process(monkeypatch, capfd, "eval", *given, "--json")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert len(outcome.errors) == 1
    assert says.replace("DATA", data) in outcome.errors[0]
    assert not Path("runs/run/eval/results.json").exists()
