from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.core.tables import Qrels
from pyrite.eval import measures
from pyrite.eval.config import EvalConfig, EvalSection
from pyrite.eval.measures import WHOLE_DEPTH, check_measure, cutoff, per_query

DOCS = 9
BASES = ("ndcg", "mrr", "recall", "map", "precision", "success", "r_cap", "judged")


def oracle(name: str, ranked: list[int], grades: dict[int, int], min_grade: int) -> float:
    """One measure of one query by its definition; grades below `min_grade` are not relevant."""
    base, _, digits = name.partition("@")
    k = int(digits)
    relevant = {doc: grade for doc, grade in grades.items() if grade >= min_grade}
    hits = [(rank, doc) for rank, doc in enumerate(ranked[:k], start=1) if doc in relevant]
    if base == "ndcg":
        ideal = sorted(relevant.values(), reverse=True)[:k]
        best = math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(ideal, start=1))
        return math.fsum(relevant[doc] / math.log2(rank + 1) for rank, doc in hits) / best
    precisions = math.fsum(n / rank for n, (rank, _) in enumerate(hits, start=1))
    return {
        "mrr": 1.0 / hits[0][0] if hits else 0.0,
        "recall": len(hits) / len(relevant),
        "precision": len(hits) / k,
        "success": float(bool(hits)),
        "r_cap": len(hits) / min(k, len(relevant)),
        "judged": sum(doc in grades for doc in ranked[:k]) / max(len(ranked[:k]), 1),
        "map": precisions / len(relevant),
    }[base]


@dataclass(frozen=True)
class Case:
    """Judgements {query row: {document: grade}}, the runs of some queries, and the threshold."""

    judged: dict[int, dict[int, int]]
    runs: dict[int, list[int]]
    min_grade: int

    def qrels(self) -> Qrels:
        triples = [(q, d, g) for q, row in self.judged.items() for d, g in row.items()]
        query, doc, grade = (
            np.array(column, dtype=np.int64) for column in zip(*triples, strict=True)
        )
        return Qrels.build(query, doc, grade, max(self.judged) + 1, self.min_grade)

    def rows(self) -> I64:
        return np.array(list(self.runs), dtype=np.int64)

    def ids(self, width: int = DOCS) -> I64:
        ids = np.full((len(self.runs), width), -1, dtype=np.int64)
        for at, ranked in enumerate(self.runs.values()):
            ids[at, : len(ranked)] = ranked
        return ids


@st.composite
def cases(draw: st.DrawFn) -> Case:
    min_grade = draw(st.integers(1, 3))
    row = st.dictionaries(st.integers(0, DOCS - 1), st.integers(0, 4), min_size=1).filter(
        lambda grades: max(grades.values()) >= min_grade
    )
    judged = draw(st.dictionaries(st.integers(0, 30), row, min_size=1, max_size=5))
    asked = draw(st.permutations(list(judged)))[: draw(st.integers(1, len(judged)))]
    runs = {
        query: list(draw(st.permutations(range(DOCS)))[: draw(st.integers(0, DOCS))])
        for query in asked
    }
    return Case(judged, runs, min_grade)


@given(cases(), st.lists(st.sampled_from(BASES), min_size=1, unique=True), st.integers(1, 12))
def test_every_measure_of_every_query_follows_its_definition(
    case: Case, bases: list[str], k: int
) -> None:
    names = [f"{base}@{k + at}" for at, base in enumerate(bases)]
    values = per_query(names, case.qrels(), case.rows(), case.ids())
    assert list(values) == names
    for name in names:
        wanted = [oracle(name, r, case.judged[q], case.min_grade) for q, r in case.runs.items()]
        assert values[name].dtype == np.float64
        assert values[name].tolist() == pytest.approx(wanted, abs=1e-9)


def test_gain_is_linear_in_the_grade() -> None:
    # run x > b > a with grades a: 2, b: 1; an exponential gain would give .586883
    case = Case({0: {0: 2, 1: 1}}, {0: [2, 1, 0]}, 1)
    value = per_query(["ndcg@10"], case.qrels(), case.rows(), case.ids())["ndcg@10"]
    assert value.tolist() == pytest.approx([0.619906], abs=1e-6)


INCOMPLETE = {0: 1, 1: 0, 2: 1, 3: 0}
WANTED = {
    "map@10": 0.5,
    "mrr@10": 0.5,
    "bpref": 0.75,
    "infap": 0.5,
    "ndcg@10": 0.650921,
    "judged@5": 0.6,
    "judged@1": 0.0,
}


def test_unjudged_documents_count_as_each_measure_says() -> None:
    # grades a: 1, b: 0, c: 1, d: 0; the run is x > a > b > c > y > d
    case = Case({0: INCOMPLETE}, {0: [4, 0, 1, 2, 5, 3]}, 1)
    values = per_query(list(WANTED), case.qrels(), case.rows(), case.ids())
    found = {name: float(value[0]) for name, value in values.items()}
    assert found == pytest.approx(WANTED, abs=1e-6)


def test_a_pooled_document_without_a_judgement_is_one_to_infap_alone() -> None:
    case = Case({0: {**INCOMPLETE, 4: -1}}, {0: [4, 0, 1, 2, 5, 3]}, 1)
    values = per_query(list(WANTED), case.qrels(), case.rows(), case.ids())
    found = {name: float(value[0]) for name, value in values.items()}
    assert found == pytest.approx({**WANTED, "infap": 0.6875}, abs=1e-6)


def test_capped_recall_can_be_whole_where_recall_cannot() -> None:
    case = Case({0: dict.fromkeys(range(6), 1)}, {0: [0, 8, 1]}, 1)
    values = per_query(["r_cap@2", "r_cap@9", "recall@2"], case.qrels(), case.rows(), case.ids())
    assert [float(v[0]) for v in values.values()] == pytest.approx([0.5, 2 / 6, 1 / 6])


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    judged = {q: {int(d): 1 for d in generator.choice(DOCS, 3, False)} for q in range(7)}
    case = Case(judged, {q: generator.permutation(DOCS).tolist() for q in judged}, 1)
    names = [f"{base}@4" for base in BASES]
    whole = per_query(names, case.qrels(), case.rows(), case.ids())
    monkeypatch.setattr(measures, "_BLOCK", 2)
    parts = per_query(names, case.qrels(), case.rows(), case.ids())
    assert {n: v.tolist() for n, v in parts.items()} == {n: v.tolist() for n, v in whole.items()}


def test_the_ideal_counts_relevant_documents_that_the_run_did_not_find() -> None:
    case = Case({0: {0: 1, 1: 3}}, {0: [0]}, 1)
    value = per_query(["ndcg@10"], case.qrels(), case.rows(), case.ids())["ndcg@10"]
    assert value.tolist() == pytest.approx([1 / (3 + 1 / math.log2(3))], abs=1e-9)


@pytest.mark.parametrize("width", [0, 3])
def test_queries_without_results_count_as_zero(width: int) -> None:
    case = Case({0: {4: 1}, 1: {5: 1}}, {0: [], 1: []}, 1)
    values = per_query(["ndcg@10", "mrr@10"], case.qrels(), case.rows(), case.ids(width))
    assert {name: value.tolist() for name, value in values.items()} == {
        "ndcg@10": [0.0, 0.0],
        "mrr@10": [0.0, 0.0],
    }


def test_a_query_without_results_stays_in_the_denominator() -> None:
    case = Case({0: {4: 1}, 1: {5: 1}}, {1: [], 0: [4]}, 1)
    values = per_query(["recall@5"], case.qrels(), case.rows(), case.ids())["recall@5"]
    assert values.tolist() == [0.0, 1.0]
    assert values.mean() == 0.5


@pytest.mark.parametrize(("min_grade", "wanted"), [(1, 1.0), (2, 0.5), (3, 1 / 3)])
def test_below_the_minimum_grade_nothing_is_relevant(min_grade: int, wanted: float) -> None:
    case = Case({0: {0: 1, 1: 2, 2: 3}}, {0: [0, 1, 2]}, min_grade)
    value = per_query(["mrr@10"], case.qrels(), case.rows(), case.ids())["mrr@10"]
    assert value.tolist() == pytest.approx([wanted])


@pytest.mark.parametrize("seed", range(5))
def test_document_numbers_break_no_ties(seed: int) -> None:
    # trec_eval would order equal scores by document name; only ranks may count here
    ranked = list(range(DOCS))
    case = Case({0: {2: 1, 5: 2, 7: 1}}, {0: ranked}, 1)
    new = random.Random(seed).sample(range(1000), DOCS)
    renumbered = Case({0: {new[d]: g for d, g in case.judged[0].items()}}, {0: new}, 1)
    names = [f"{base}@6" for base in BASES]
    before = per_query(names, case.qrels(), case.rows(), case.ids())
    after = per_query(names, renumbered.qrels(), renumbered.rows(), renumbered.ids())
    for name in names:
        assert after[name].tolist() == before[name].tolist()


def test_ranks_stay_distinct_in_a_deep_run() -> None:
    depth = 3000
    ranked = np.random.default_rng(0).permutation(depth)[None, :]
    for rank in (1, 2, 1500, depth - 1, depth):
        doc = np.array([ranked[0, rank - 1]])
        qrels = Qrels.build(np.array([0]), doc, np.array([1]), 1)
        names = [f"recall@{rank}", f"mrr@{depth}"] + [f"recall@{rank - 1}"] * (rank > 1)
        values = per_query(names, qrels, np.array([0]), ranked)
        assert values[f"recall@{rank}"].tolist() == [1.0]
        assert values[f"mrr@{depth}"].tolist() == pytest.approx([1 / rank])
        if rank > 1:
            assert values[f"recall@{rank - 1}"].tolist() == [0.0]


def test_the_cutoff_is_the_deepest_of_all_measures() -> None:
    assert cutoff(["ndcg@10", "recall@100", "mrr@20"]) == 100
    assert cutoff(["precision@7"]) == 7
    assert cutoff(["ndcg@10", "bpref"]) == WHOLE_DEPTH == 1000
    assert cutoff(["infap", "recall@2000"]) == 2000


@pytest.mark.parametrize(
    "name",
    [
        *("bpref@10", "infap@3", "judged", "success@", "r_cap@0"),
        *("", "ndcg", "ndcg@", "@10", "NDCG@10", "hits@10", "ndcg@10@5", "ndcg@10\n", "ndcg@ 10"),
        *("ndcg@0", "ndcg@-1", "ndcg@1.5", "ndcg@010", "ndcg@\u00b2", "ndcg@\u0661\u0660"),
    ],
)
def test_an_unknown_measure_is_named_beside_the_known_ones(name: str) -> None:
    for call in (check_measure, lambda n: cutoff(["mrr@10", n])):
        with pytest.raises(PyriteError) as caught:
            call(name)
        assert repr(name) in str(caught.value)
        assert all(f"{base}@k" in str(caught.value) for base in BASES)


def test_a_configuration_with_an_unknown_measure_names_the_key() -> None:
    with pytest.raises(PyriteError, match=r"eval\.measures.*'hits@1' is unknown"):
        parse_config(EvalConfig, {"eval": {"measures": ["ndcg@10", "hits@1"]}})
    with pytest.raises(PyriteError, match=r"eval\.measures"):
        parse_config(EvalConfig, {"eval": {"measures": []}})
    assert EvalSection().measures == ("ndcg@10", "mrr@10", "recall@100")
