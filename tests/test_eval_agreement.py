"""Ours, raw pytrec_eval, beir and mteb on the same rankings, where conventions could differ."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from fakes import write_dataset

from pyrite.core.config import parse_config
from pyrite.eval.as_run import as_run, strict_scores
from pyrite.eval.config import EvalConfig
from pyrite.eval.local_task import by_mteb
from pyrite.eval.search import Searched, search_held_out
from pyrite.eval.with_beir import by_beir

MEASURES = ("ndcg@10", "ndcg@3", "map@10", "recall@5", "precision@3", "mrr@10", "success@1")
BY_TREC_EVAL = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@3": "ndcg_cut_3",
    "map@10": "map_cut_10",
    "recall@5": "recall_5",
    "precision@3": "P_3",
    "success@1": "success_1",
}
DOCS = [f"d{i}" for i in range(12)]
Lines = list[tuple[str, str, float]]


def searched(folder: Path, lines: Lines, qrels: list[tuple[str, str, int]], **how: Any) -> Searched:
    corpus = {doc: f"text {doc}" for doc in [*DOCS, "q1", "q2"]}
    asked = {query: f"query {query}" for query, _, _ in qrels}
    data = write_dataset(folder / "data", corpus, asked, {"test": qrels})
    run = folder / "x.run"
    run.write_text("".join(f"{q} Q0 {d} 0 {s!r} x\n" for q, d, s in lines), encoding="utf-8")
    section = {"measures": MEASURES, "source": {"kind": "run", "path": str(run)}, **how}
    sections = {
        "cache_dir": str(folder / "cache"),
        "dataset": {"path": str(data)},
        "eval": section,
    }
    return search_held_out(parse_config(EvalConfig, sections), None)


def all_agree(found: Searched, folder: Path) -> dict[str, float]:
    """Our means, which every other tool has too."""
    ours = found.evaluate(MEASURES, found.ids).means()
    judged, run = as_run(found)
    names = {"ndcg_cut.3,10", "map_cut.10", "recall.5", "P.3", "success.1"}
    raw = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(run)
    for measure, name in BY_TREC_EVAL.items():
        mean = sum(values[name] for values in raw.values()) / len(raw)
        assert ours[measure] == pytest.approx(mean, abs=1e-12), measure
    by_tool = {
        "beir": by_beir(found, MEASURES),
        "mteb": by_mteb(found, MEASURES, "system", "data", "test", folder / "mteb"),
    }
    for tool, theirs in by_tool.items():
        assert set(theirs) == set(MEASURES)
        for measure, value in theirs.items():
            # both round most of their means to five places
            wanted = ours[measure] if tool == "mteb" and measure == "mrr@10" else None
            rounded = round(ours[measure], 5) if wanted is None else wanted
            assert value == pytest.approx(rounded, abs=1e-6), (tool, measure)
    return ours


GRADED = [("a", "d3", 2), ("a", "d1", 1), ("a", "d9", 0), ("b", "d0", 1), ("c", "d5", 3)]
STRICT = [("a", "d2", 3.0), ("a", "d1", 2.0), ("a", "d3", 1.0), ("b", "d0", 9.0), ("b", "d4", 8.0)]
FULL: Lines = [*STRICT, ("c", "d7", 0.5), ("c", "d5", 0.25)]


def test_grades_are_linear_gains_everywhere(tmp_path: Path) -> None:
    ours = all_agree(searched(tmp_path, FULL, GRADED), tmp_path)
    # a: run x > 1 > 2 of the ideal 2 > 1; b: first; c: second
    assert ours["ndcg@10"] == pytest.approx((0.619906 + 1 + 0.630930) / 3, abs=1e-6)
    assert ours["mrr@10"] == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_ties_go_to_the_smaller_id_everywhere(tmp_path: Path) -> None:
    tied: Lines = [("a", d, 1.0) for d in ("d3", "d1", "d2")] + [("b", "d4", 1.0), ("b", "d0", 1.0)]
    # equal as float32, which is how trec_eval compares
    tied += [("c", "d7", 1.00000001), ("c", "d5", 1.0)]
    found = searched(tmp_path, tied, GRADED)
    _, run = as_run(found)
    assert list(run["a"]) == ["d1", "d2", "d3"]
    assert list(run["c"]) == ["d5", "d7"]
    ours = all_agree(found, tmp_path)
    assert ours["success@1"] == 1.0


def test_a_missing_query_counts_as_zero_everywhere(tmp_path: Path) -> None:
    found = searched(tmp_path, STRICT, GRADED)
    ours = all_agree(found, tmp_path)
    assert found.evaluate(MEASURES, found.ids).missing == 1
    assert ours["mrr@10"] == pytest.approx((0.5 + 1 + 0) / 3)


def test_by_the_rules_of_trec_eval_it_is_left_out(tmp_path: Path) -> None:
    judged = [*GRADED, ("z", "d2", 0)]
    run: Lines = [*STRICT, ("z", "d1", 1.0)]
    found = searched(tmp_path, run, judged, convention="trec_eval")
    evaluation = found.evaluate(MEASURES, found.ids)
    # c has no result; z, judged without a positive, is a zero
    assert evaluation.query_ids == ["a", "b", "z"]
    assert evaluation.missing == 1
    assert evaluation.means()["mrr@10"] == pytest.approx((0.5 + 1 + 0) / 3)
    raw_judged = {"a": {"d3": 2, "d1": 1, "d9": 0}, "b": {"d0": 1}, "c": {"d5": 3}, "z": {"d2": 0}}
    raw_run: dict[str, dict[str, float]] = {}
    for query, doc, score in run:
        raw_run.setdefault(query, {})[doc] = score
    raw = pytrec_eval.RelevanceEvaluator(raw_judged, {"ndcg_cut.10"}).evaluate(raw_run)
    mean = sum(values["ndcg_cut_10"] for values in raw.values()) / len(raw)
    assert evaluation.means()["ndcg@10"] == pytest.approx(mean, abs=1e-12)


def test_by_the_rules_of_trec_eval_ties_go_to_the_greater_id(tmp_path: Path) -> None:
    tied: Lines = [("a", d, 1.0) for d in ("d3", "d1", "d2", "d11")] + [("b", "d0", 1.0)]
    found = searched(tmp_path, tied, GRADED, convention="trec_eval")
    assert [doc for doc in as_run(found)[1]["a"]] == ["d3", "d2", "d11", "d1"]
    raw = pytrec_eval.RelevanceEvaluator({"a": {"d3": 2, "d1": 1}}, {"ndcg_cut.10"})
    theirs = raw.evaluate({"a": {d: s for q, d, s in tied if q == "a"}})["a"]["ndcg_cut_10"]
    assert found.evaluate(MEASURES, found.ids).values["ndcg@10"][0] == pytest.approx(theirs)


@pytest.mark.parametrize(("how", "first"), [("keep", 0.630930), ("drop", 1.0)])
def test_identical_ids_cost_the_first_rank_unless_they_are_dropped(
    tmp_path: Path, how: str, first: float
) -> None:
    qrels = [("q1", "d1", 1), ("q2", "d2", 1)]
    lines = [("q1", "q1", 9.0), ("q1", "d1", 8.0), ("q2", "d2", 7.0), ("q2", "q2", 6.0)]
    found = searched(tmp_path, lines, qrels, identical_ids=how)
    assert found.identical == (2 if how == "drop" else 0)
    ours = all_agree(found, tmp_path)
    assert ours["ndcg@10"] == pytest.approx((first + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_random_rankings_with_ties_gaps_and_grades(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    queries = [f"s{i}" for i in range(9)]
    qrels = [(q, d, draw.choice([0, 1, 1, 2, 3])) for q in queries for d in draw.sample(DOCS, 4)]
    qrels += [(q, "q2", 1) for q in queries]
    lines = [
        (q, d, float(draw.randrange(4)))
        for q in queries
        if draw.random() < 0.8
        for d in draw.sample(DOCS, draw.randrange(1, 12))
    ]
    ours = all_agree(searched(tmp_path, lines, qrels), tmp_path)
    assert 0 < ours["ndcg@10"] < 1


def test_scores_are_lowered_by_as_little_as_makes_them_strict() -> None:
    scores = np.array([[1, 1, 1, 0.5, -np.inf], [0, 0, -1, -1, -1]], dtype=np.float32)
    strict = strict_scores(scores)
    assert (np.diff(strict[:, :4], axis=1) < 0).all()
    assert strict[0, 3] == np.float32(0.5)
    assert strict[0, 4] == -np.inf
    there = np.isfinite(scores)
    assert np.abs(strict[there] - scores[there]).max() < 1e-6
    assert (strict[:, 0] == scores[:, 0]).all()


@pytest.mark.slow
def test_the_three_agree_on_scifact_by_words(scifact: Path, tmp_path: Path) -> None:
    sections = {
        "cache_dir": str(tmp_path / "cache"),
        "dataset": {"path": str(scifact)},
        "eval": {"measures": MEASURES, "source": {"kind": "bm25s"}},
    }
    found = search_held_out(parse_config(EvalConfig, sections), None)
    ours = all_agree(found, tmp_path)
    assert 0.6 < ours["ndcg@10"] < 0.75
