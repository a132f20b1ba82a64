from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, SharedWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console
from test_miner_mine import (
    allowed_oracle,
    positives_of,
    ranked_oracle,
    rows_of,
    settings,
    shuffled_lines,
    texts_of,
)

from pyrite.core.candidates import Reason
from pyrite.core.cross_encoder import score_pairs as core_score_pairs
from pyrite.core.errors import PyriteError
from pyrite.core.store import read_array
from pyrite.miner import denoise_checks
from pyrite.miner import pair_scores as store
from pyrite.miner.denoise import (
    DenoiseConfig,
    denoise_rejects,
    fit_threshold,
    pseudo_positives,
)
from pyrite.miner.mine import Mined, mine
from pyrite.miner.report import mining_table
from pyrite.miner.suggest import suggest
from pyrite.miner.truth import truth_test

DEPTH = 12
OPEN = {"percent": None, "margin": None}
TOPK = {"name": "topk", "n": 4}
SCORES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(0, 6)),
    elements=st.sampled_from([0.0, 0.05, 0.1, 0.5, 0.9, 0.95, float("nan")]),
)


class Loader:
    """Stands where a cross-encoder would be loaded; remembers what it was asked."""

    def __init__(self) -> None:
        self.scorer = SharedWords()

    def __call__(self, name: str, config: DenoiseConfig, knob: str) -> SharedWords:
        return self.scorer

    @property
    def scored(self) -> list[tuple[str, str]]:
        return self.scorer.scored


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    found = Loader()
    monkeypatch.setattr(denoise_checks, "CrossEncoderScorer", found)
    return found


def run(folder: Path, data: Path, sampler: dict[str, Any] = TOPK, **denoise: Any) -> Mined:
    filters = {**OPEN, "denoise": {"model": "fake", "depth": DEPTH, **denoise}}
    return mine(settings(folder, data, filters=filters, sampler=sampler), BagOfWords())


def chosen(mined: Mined) -> dict[str, list[str]]:
    return {row["query_id"]: row["negative_ids"] for row in rows_of(mined.folder)}


def probability(query: str, document: str) -> float:
    return 1 / (1 + math.exp(-float(np.float32(SharedWords.score(query, document)))))


class Oracle:
    """Each query's allowed candidates in rank order, with their probabilities."""

    def __init__(self, data: Path) -> None:
        self.queries, self.corpus = texts_of(data, "queries"), texts_of(data, "corpus")
        self.positives = positives_of(data)
        self.allowed = {
            query: [doc for doc, _, _ in allowed_oracle(data, query, ranked[:60])]
            for query, ranked in ranked_oracle(data).items()
        }

    def probability(self, query: str, doc: str) -> float:
        return probability(self.queries[query], self.corpus[doc])

    def positive_probabilities(self) -> list[float]:
        return [self.probability(q, d) for q in self.allowed for d in self.positives[q]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Oracle]:
    data = toy_dataset(tmp_path_factory.mktemp("denoise") / "toy")
    return data, Oracle(data)


def test_the_worked_example() -> None:
    scores = np.array([[0.95, 0.05, 0.4, 0.02]], dtype=np.float32)
    rejected = denoise_rejects(scores, np.arange(4)[None], 50, 0.1, allow_unchecked=False)
    assert np.flatnonzero(~rejected[0]).tolist() == [1, 3]
    assert pseudo_positives(scores, 0.9).tolist() == [0]
    # all at or above 0.1: nothing is left but what is beyond the depth, if that is allowed
    high = np.array([[0.1, 0.95, 0.4, 0.02]], dtype=np.float32)
    for allow in (False, True):
        rejected = denoise_rejects(high, np.arange(4)[None], 3, 0.1, allow)
        assert rejected[0].tolist() == [True, True, True, not allow]


@given(SCORES, st.integers(0, 7), st.sampled_from([0.05, 0.1, 0.9]), st.booleans(), st.data())
def test_the_rule_is_what_plain_loops_say(
    scores: Any, depth: int, threshold: float, allow: bool, data: st.DataObject
) -> None:
    rank = data.draw(hnp.arrays(np.int64, scores.shape, elements=st.integers(-1, 6)))
    found = denoise_rejects(scores, rank, depth, threshold, allow)
    for q, k in np.ndindex(scores.shape):
        if rank[q, k] < depth and not math.isnan(scores[q, k]):
            assert found[q, k] == (scores[q, k] >= np.float32(threshold))
        else:
            assert found[q, k] == (not allow)


@given(SCORES, st.sampled_from([0.05, 0.9, 0.99]))
def test_a_pseudo_positive_is_the_first_of_the_best_above_the_threshold(
    scores: Any, above: float
) -> None:
    for row, column in zip(scores, pseudo_positives(scores, above), strict=True):
        best = -1
        for k, score in enumerate(row):
            if score > np.float32(above) and (best < 0 or score > row[best]):
                best = k
        assert column == best


def test_the_threshold_is_a_quantile_of_the_positives_minus_the_margin() -> None:
    positives = np.array([0.9, 0.5, 0.7, 0.6, 0.8], dtype=np.float32)
    assert fit_threshold(DenoiseConfig(), positives) == 0.1
    calibrated = DenoiseConfig(model="x", calibrate="positives_quantile", quantile=0.25, margin=0.1)
    assert fit_threshold(calibrated, positives) == pytest.approx(0.5)
    between = DenoiseConfig(model="x", calibrate="positives_quantile", quantile=0.1)
    assert fit_threshold(between, positives) == pytest.approx(0.54)
    with pytest.raises(PyriteError, match=r"margin=0\.7.*quantile 0\.25.*5 labelled.*0\.6"):
        fit_threshold(calibrated.model_copy(update={"margin": 0.7}), positives)
    raw = calibrated.model_copy(update={"margin": 1.0, "activation": "none"})
    assert fit_threshold(raw, positives) == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"negative_below": 0.95}, "over positive_above"),
        ({"positive_above": 1.5}, r"positive_above=1\.5.*probabilities.*activation=none"),
        ({"negative_below": -1.0}, "negative_below=-1"),
    ],
)
def test_thresholds_that_cannot_be(fields: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DenoiseConfig(model="x", **fields)


def test_raw_scores_may_have_any_threshold() -> None:
    DenoiseConfig(model="x", activation="none", negative_below=-4.0, positive_above=5.0)


@pytest.mark.parametrize("allow", [False, True])
def test_negatives_are_what_the_cross_encoder_calls_irrelevant(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader, allow: bool
) -> None:
    data, oracle = world
    mined = run(tmp_path, data, allow_unchecked=allow)
    reasons = read_array(mined.folder / "reasons.npy")
    rejected = unchecked = likely = 0
    for at, (query, allowed) in enumerate(oracle.allowed.items()):
        head, tail = allowed[:DEPTH], allowed[DEPTH:]
        scores = {doc: oracle.probability(query, doc) for doc in head}
        kept = [doc for doc in head if scores[doc] < 0.1] + (tail if allow else [])
        assert chosen(mined)[query] == kept[:4]
        marked = int(((reasons[at] & int(Reason.DENOISED)) != 0).sum())
        assert marked == len(allowed) - len(kept)
        rejected += marked
        unchecked += len(tail)
        likely += sum(score > 0.9 for score in scores.values())
    assert mined.tally.reasons["DENOISED"] == rejected > 20
    assert mined.tally.denoise["unchecked"] == unchecked > 20
    assert mined.tally.denoise["checked"] == sum(len(a[:DEPTH]) for a in oracle.allowed.values())
    assert mined.tally.denoise["likely_positive"] == likely > 0
    console = Console(width=100, record=True)
    console.print(mining_table(mined.tally, 4))
    printed = console.export_text()
    for words in ("rejected: denoised", "unchecked", "likely missing labels"):
        assert words in printed


def test_likely_missing_labels_and_teacher_scores_are_on_disk(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, oracle = world
    mined = run(tmp_path, data)
    expected = []
    for query, allowed in oracle.allowed.items():
        scores = [(oracle.probability(query, doc), doc) for doc in allowed[:DEPTH]]
        order = sorted((-score, doc) for score, doc in scores if score > 0.9)
        expected += [(query, doc, pytest.approx(-score, abs=1e-6)) for score, doc in order]
    rows = pq.read_table(mined.folder / "missing_labels.parquet").to_pylist()
    assert [(r["query_id"], r["doc_id"], r["score"]) for r in rows] == expected
    assert len(rows) == mined.tally.denoise["likely_positive"]

    teacher = {
        (r["query_id"], r["doc_id"]): r
        for r in pq.read_table(mined.folder / "teacher.parquet").to_pylist()
    }
    pairs = {(q, d) for q, a in oracle.allowed.items() for d in [*a[:DEPTH], *oracle.positives[q]]}
    assert set(teacher) == pairs
    for (query, doc), row in teacher.items():
        score = SharedWords.score(oracle.queries[query], oracle.corpus[doc])
        assert row["log_odds"] == np.float32(score)
        assert row["positive"] == (doc in oracle.positives[query])
    assert {(q, d) for q, docs in chosen(mined).items() for d in docs} <= pairs


def test_the_measured_threshold_decides_and_is_recorded(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, oracle = world
    calibrate: dict[str, Any] = {"calibrate": "positives_quantile", "quantile": 0.3, "margin": 0.01}
    mined = run(tmp_path, data, **calibrate)
    positives = oracle.positive_probabilities()
    threshold = float(np.quantile(positives, 0.3)) - 0.01
    recorded = mined.manifest.data["denoise"]
    assert recorded["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert recorded["activation"] == "sigmoid"
    assert recorded["labelled_positives"] == len(positives)
    assert recorded["labelled_positives_below"] == sum(p < threshold for p in positives) > 0
    for query, allowed in oracle.allowed.items():
        kept = [d for d in allowed[:DEPTH] if oracle.probability(query, d) < threshold]
        assert chosen(mined)[query] == kept[:4]


def test_no_pair_is_scored_twice(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, oracle = world
    first = chosen(run(tmp_path, data))
    pairs = sum(len(a[:DEPTH]) + len(oracle.positives[q]) for q, a in oracle.allowed.items())
    assert len(loader.scored) == pairs
    assert run(tmp_path, data).reused
    run(tmp_path, data, negative_below=0.2, positive_above=0.8, allow_unchecked=True)
    assert len(loader.scored) == pairs
    # deeper: only what is new
    deeper = run(tmp_path, data, depth=DEPTH + 3)
    more = sum(len(a[: DEPTH + 3]) - len(a[:DEPTH]) for a in oracle.allowed.values())
    assert len(loader.scored) == pairs + more
    assert len(set(loader.scored)) == len(loader.scored)
    fresh = run(tmp_path / "fresh", data, depth=DEPTH + 3)
    assert chosen(fresh) == chosen(deeper) != first
    assert fresh.manifest.data["denoise"] == deeper.manifest.data["denoise"]
    # another model: everything anew; its scores are the same, so the negatives are kept
    before = len(loader.scored)
    loader.scorer.salt = "other"
    assert run(tmp_path, data, depth=DEPTH + 3).reused
    assert len(loader.scored) == before + pairs + more


def test_a_kill_costs_one_part(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    data, _ = world
    monkeypatch.setattr(store, "_PART_PAIRS", DEPTH * 5)
    whole = run(tmp_path / "whole", data)
    pairs = len(loader.scored)
    calls = 0

    def kill(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KilledError
        return score(*args)

    score = core_score_pairs
    monkeypatch.setattr(store, "score_pairs", kill)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", data)
    done = len(loader.scored) - pairs
    assert 0 < done < pairs
    monkeypatch.setattr(store, "score_pairs", score)
    resumed = run(tmp_path / "killed", data)
    assert len(loader.scored) == 2 * pairs
    for name in ("negatives.parquet", "reasons.npy", "missing_labels.parquet", "teacher.parquet"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not list((tmp_path / "killed" / "cache" / "pair-scores").rglob("part-*"))


def test_a_damaged_store_is_scored_again(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, _ = world
    whole = run(tmp_path, data)
    before, pairs = (whole.folder / "negatives.parquet").read_bytes(), len(loader.scored)
    (path,) = (tmp_path / "cache" / "pair-scores").rglob("scores.npy")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    again = run(tmp_path, data)
    assert len(loader.scored) == 2 * pairs
    assert (again.folder / "negatives.parquet").read_bytes() == before


def test_the_order_of_the_files_changes_nothing(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, _ = world
    shutil.copytree(data, tmp_path / "data")
    for name in ("corpus.jsonl", "queries.jsonl"):
        shuffled_lines(tmp_path / "data" / name, header=False)
    first, second = run(tmp_path / "a", data), run(tmp_path / "b", tmp_path / "data")
    for name in ("negatives.parquet", "reasons.npy", "missing_labels.parquet"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_without_denoising_its_files_go(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, _ = world
    mined = run(tmp_path, data)
    assert (mined.folder / "teacher.parquet").is_file()
    plain = mine(settings(tmp_path, data, filters=OPEN, sampler=TOPK), BagOfWords())
    assert plain.folder == mined.folder
    assert plain.manifest.data["denoise"] is None
    assert plain.tally.denoise == {}
    assert not list(plain.folder.glob("*labels*")) + list(plain.folder.glob("teacher*"))


def test_relax_takes_no_rejected_candidate_back_and_random_ones_need_no_check(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, oracle = world
    sampler = {"name": "topk", "n": 20, "on_short": ["relax", "random_fill"]}
    mined = run(tmp_path, data, sampler)
    assert mined.tally.tiers["relaxed"] == 0
    assert mined.tally.tiers["random_fill"] > 0
    for query, docs in chosen(mined).items():
        bad = {d for d in oracle.allowed[query][:DEPTH] if oracle.probability(query, d) >= 0.1}
        assert bad
        assert not bad & set(docs)


def test_suggest_and_truth_apply_it(
    world: tuple[Path, Oracle], tmp_path: Path, loader: Loader
) -> None:
    data, _ = world
    filters = {**OPEN, "denoise": {"model": "fake", "depth": DEPTH}}
    config = settings(tmp_path, data, filters=filters, sampler=TOPK)
    mined = mine(config, BagOfWords())
    scored = len(loader.scored)
    found = suggest(config, encoder=BagOfWords()).outcomes[0]
    assert found.kept == pytest.approx(mined.tally.kept / mined.tally.candidates)
    without = settings(tmp_path, data, filters=OPEN, sampler=TOPK)
    checked = truth_test(config, BagOfWords()).rows[0]
    assert checked.found < truth_test(without, BagOfWords()).rows[0].found
    assert len(loader.scored) == scored
