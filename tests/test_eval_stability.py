from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from compare_setup import evaluated
from fakes import write_dataset

from pyrite.core.errors import PyriteError
from pyrite.core.tables import Qrels
from pyrite.eval.compare import CompareOptions, compare_runs
from pyrite.eval.compared_data import ComparedData, open_compared, open_rankings
from pyrite.eval.finished_runs import Systems, collect
from pyrite.eval.measures import per_query
from pyrite.eval.pooled import kendall_tau
from pyrite.eval.stability import DRAWS, SHARES, Stability, pair_hashes, stability, thinned

QUERIES = {"q1": 8, "q2": 3, "q3": 1}
DOCUMENTS = [f"d{i:02d}" for i in range(20)]
# `good` and `fair` have different positives first, and differ on the first query alone
EVEN, ODD = ([DOCUMENTS[i] for i in ranks] for ranks in ((0, 2, 4, 6, 1), (11, 1, 3, 5, 7, 0)))
RUNS = {
    "good": {q: EVEN for q in QUERIES},
    "fair": {q: EVEN if count < 8 else ODD for q, count in QUERIES.items()},
    "poor": {q: [*DOCUMENTS[12:20], *DOCUMENTS[:2]] for q in QUERIES},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stability")
    qrels = [(q, DOCUMENTS[i], 1) for q, count in QUERIES.items() for i in range(count)]
    qrels += [(q, "d19", 0) for q in QUERIES]
    texts = {name: f"text {name}" for name in DOCUMENTS}
    write_dataset(folder / "data", texts, {q: f"asks {q}" for q in QUERIES}, {"test": qrels})
    for name, ranked in RUNS.items():
        evaluated(folder, folder / "data", name, ranked)
    return folder


@pytest.fixture(scope="module")
def systems(home: Path) -> Systems:
    return collect([str(home / "runs" / name) for name in RUNS])


@pytest.fixture(scope="module")
def data(systems: Systems) -> ComparedData:
    return open_compared(systems, "--stability")


def by_query(qrels: Qrels) -> list[dict[int, int]]:
    parts = itertools.pairwise(qrels.indptr.tolist())
    return [
        dict(zip(qrels.docs[a:b].tolist(), qrels.grades[a:b].tolist(), strict=True))
        for a, b in parts
    ]


def kendall_oracle(a: list[float], b: list[float]) -> float:
    """Tau-b pair by pair."""
    score = of_a = of_b = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        left = (a[i] > a[j]) - (a[i] < a[j])
        right = (b[i] > b[j]) - (b[i] < b[j])
        score, of_a, of_b = score + left * right, of_a + abs(left), of_b + abs(right)
    return score / math.sqrt(of_a * of_b)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_thinner_judgements_keep_a_share_of_each_query_s_positives(
    data: ComparedData, share: float
) -> None:
    full, hashes = by_query(data.qrels), pair_hashes(data)
    for draw in range(5):
        fewer = by_query(thinned(data.qrels, hashes, share, draw))
        for before, after in zip(full, fewer, strict=True):
            assert after.items() <= before.items()
            positives = [d for d, grade in before.items() if grade > 0]
            kept = [d for d, grade in after.items() if grade > 0]
            assert len(kept) == max(1, round(share * len(positives)))
            assert {d for d in before if before[d] == 0} <= after.keys()


def test_the_draws_are_a_hash_and_differ(data: ComparedData) -> None:
    hashes = pair_hashes(data)
    drawn = [thinned(data.qrels, hashes, 0.5, draw) for draw in range(6)]
    again = [thinned(data.qrels, hashes, 0.5, draw) for draw in range(6)]
    assert [by_query(one) for one in drawn] == [by_query(one) for one in again]
    assert len({str(by_query(one)) for one in drawn}) > 3
    assert by_query(thinned(data.qrels, hashes, 0.5, 0, seed=1)) != by_query(drawn[0])
    # each positive of the first query has its turn to go
    counts = np.zeros(20)
    for draw in range(200):
        for doc in by_query(thinned(data.qrels, hashes, 0.5, draw))[0]:
            counts[doc] += 1
    assert (np.abs(counts[:8] - 100) < 36).all(), counts[:8]


def curve(systems: Systems, data: ComparedData) -> Stability:
    rankings = open_rankings(systems, data, "--stability")
    return stability(rankings, "ndcg@10", (0.0, 0.5, 1.0), draws=8)


def test_the_curve_follows_from_its_draws(systems: Systems, data: ComparedData) -> None:
    rankings = open_rankings(systems, data, "--stability")
    found, hashes = curve(systems, data), pair_hashes(data)
    assert (found.systems, found.positives) == (3, 4.0)
    for point in found.points:
        full, taus, best = None, [], 0
        for draw in range(-1, 8):
            qrels = data.qrels if draw < 0 else thinned(data.qrels, hashes, point.share, draw)
            means = [
                float(per_query(["ndcg@10"], qrels, data.rows, ids)["ndcg@10"].mean())
                for ids in rankings.ids.values()
            ]
            if full is None:
                full = means
                continue
            taus.append(kendall_oracle(full, means))
            best += means.index(max(means)) == full.index(max(full))
        assert point.tau == pytest.approx(np.mean(taus))
        assert point.tau_sd == pytest.approx(np.std(taus, ddof=1))
        assert point.same_best == pytest.approx(best / 8)
        assert point.draws == 8
    one, _, everything = found.points
    assert (one.kept, everything.kept) == (1.0, 4.0)
    assert (everything.tau, everything.tau_sd, everything.same_best) == (1.0, 0.0, 1.0)
    assert one.tau is not None
    assert one.tau < 1.0, "otherwise agreement would say little"


def test_systems_that_are_alike_have_no_order(home: Path) -> None:
    ranked = RUNS["good"]
    for name in ("twin", "other twin"):
        evaluated(home, home / "data", name.replace(" ", "-"), ranked)
    folders = [str(home / "runs" / name) for name in ("twin", "other-twin")]
    found = compare_runs(folders, CompareOptions(stability=True)).stability
    assert found is not None
    assert {(point.tau, point.tau_sd, point.draws) for point in found.points} == {(None, None, 0)}
    assert [point.share for point in found.points] == list(SHARES)
    assert DRAWS == 20


def test_without_a_ranking_there_is_no_curve(home: Path, systems: Systems) -> None:
    (home / "runs" / "bare" / "eval").mkdir(parents=True)
    folder = evaluated(home, home / "data", "bare", RUNS["poor"]) / "eval"
    from pyrite.core.store import Manifest

    manifest = Manifest.read(folder)
    assert manifest is not None
    (folder / "run.parquet").unlink()
    kept = {k: v for k, v in manifest.data.items() if k not in ("files", "versions")}
    Manifest.write(folder, only=("results.json", "per_query.parquet"), **kept)
    with pytest.raises(PyriteError, match=r"bare.*keeps no ranking.*--stability needs it"):
        compare_runs([str(folder), str(home / "runs" / "good")], CompareOptions(stability=True))


def test_kendall_s_worked_number() -> None:
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall_oracle([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
