"""ClusterNS from the configuration: the cluster next door, and probable false negatives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords
from hypothesis import given
from rich.console import Console
from test_miner_choose import QUERIES, SEEDS, world
from test_miner_mine import (
    allowed_oracle,
    exact,
    positives_of,
    ranked_oracle,
    rows_of,
    settings,
    shuffled_lines,
    texts_of,
    vectors_of,
)

from pyrite.core.candidates import Reason
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.store import read_array
from pyrite.miner.cluster_rules import cluster_false_negatives, next_door
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import MineConfig, mine
from pyrite.miner.report import mining_table
from pyrite.miner.samplers import SamplerPart
from pyrite.miner.suggest import suggest

LIKELY = int(Reason.CLUSTER_FALSE_NEGATIVE)
EIGHT: dict[str, Any] = {"percent": None, "clusters": 8}
NEXT_DOOR = {"name": "topk", "n": 3, "cluster": "second_nearest"}


@given(SEEDS)
def test_the_masks_equal_plain_loops(seed: int) -> None:
    w = world(seed)
    clusters, vectors = w.context.clusters, w.context.vectors
    assert clusters is not None
    assert vectors is not None
    near = next_door(w.candidates, w.context.qrels, w.context.rank_N, clusters, vectors.corpus)
    likely = cluster_false_negatives(w.candidates, w.context.qrels, clusters, vectors)
    centroids, corpus = clusters.centroids, vectors.corpus.take(np.arange(len(vectors.corpus)))
    for q in range(QUERIES):
        query = vectors.of_queries(np.array([q]))[0]
        first = min(w.positives[q], key=lambda d: w.doc_ids[d])
        order = sorted(range(3), key=lambda c: (-float(corpus[first] @ centroids[c]), c))
        for k, doc in enumerate(w.candidates.ids[q].tolist()):
            of = int(clusters.assign[doc]) if doc >= 0 else -1
            assert near[q, k] == (of == order[1])
            own = of in {int(clusters.assign[p]) for p in w.positives[q]}
            score = float(w.candidates.scores[q, k])
            assert likely[q, k] == (own and score > float(query @ centroids[of]))


def kept_clusters(folder: Path) -> tuple[Any, Any]:
    (clusters,) = (folder / "cache" / "clusters").iterdir()
    return read_array(clusters / "centroids.npy"), read_array(clusters / "assign.npy")


def test_mining_next_door_equals_plain_python(toy: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, toy, filters=EIGHT, sampler=NEXT_DOOR)
    mined = mine(config, BagOfWords())
    centroids, assign = kept_clusters(tmp_path)
    documents = vectors_of(texts_of(toy, "corpus"))
    of = dict(zip(documents, assign.tolist(), strict=True))
    positives, total = positives_of(toy), 0
    ranked = ranked_oracle(toy)
    for row in rows_of(mined.folder):
        query = row["query_id"]
        vector = documents[min(positives[query])]
        order = sorted(range(8), key=lambda c: (-exact(vector, centroids[c]), c))
        allowed = allowed_oracle(toy, query, ranked[query][:60])
        expected = [doc for doc, _, _ in allowed if of[doc] == order[1]]
        assert row["negative_ids"] == expected[:3]
        total += len(expected)
    assert total > mined.tally.drawn > 0


def test_probable_false_negatives_have_a_reason_and_are_counted(toy: Path, tmp_path: Path) -> None:
    filters = {**EIGHT, "cluster_false_negatives": True}
    sampler = {"name": "topk", "n": 3}
    mined = mine(settings(tmp_path, toy, filters=filters, sampler=sampler), BagOfWords())
    centroids, assign = kept_clusters(tmp_path)
    of = dict(zip(texts_of(toy, "corpus"), assign.tolist(), strict=True))
    queries, positives = vectors_of(texts_of(toy, "queries")), positives_of(toy)
    reasons, total = read_array(mined.folder / "reasons.npy"), 0
    found = {row["query_id"]: row["negative_ids"] for row in rows_of(mined.folder)}
    for at, (query, ranked) in enumerate(ranked_oracle(toy).items()):
        own = {of[d] for d in positives[query]}
        allowed = allowed_oracle(toy, query, ranked[:60])
        likely = {
            doc
            for doc, score, _ in allowed
            if of[doc] in own and score > exact(queries[query], centroids[of[doc]])
        }
        marked = (reasons[at] & LIKELY) != 0
        assert {d for (d, _), hit in zip(ranked[:60], marked, strict=True) if hit} == likely
        assert found[query] == [d for d, _, _ in allowed if d not in likely][:3]
        total += len(likely)
    assert mined.tally.reasons["CLUSTER_FALSE_NEGATIVE"] == total > 0
    console = Console(record=True, width=100)
    console.print(mining_table(mined.tally, 3))
    assert "rejected: cluster false negative" in console.export_text()


def test_a_mix_of_both_is_the_same_for_any_order(toy: Path, tmp_path: Path) -> None:
    softmax = {"name": "softmax", "n": 2, "cluster": "second_nearest", "pool": 5}
    sampler = {"mix": [softmax, {"name": "simans", "n": 1}, {"name": "random", "n": 1}]}
    filters = {**EIGHT, "cluster_false_negatives": True, "max_per_cluster": 9}
    changes: dict[str, Any] = {"filters": filters, "sampler": sampler}
    first = mine(settings(tmp_path / "a", toy, **changes), BagOfWords())
    assert mine(settings(tmp_path / "a", toy, **changes), BagOfWords()).reused
    data = tmp_path / "b" / "data"
    shutil.copytree(toy, data)
    for path in ("queries.jsonl", "corpus.jsonl"):
        shuffled_lines(data / path, header=False)
    other = mine(settings(tmp_path / "b", data, block_queries=7, **changes), BagOfWords())
    for file in ("negatives.parquet", "reasons.npy"):
        assert (first.folder / file).read_bytes() == (other.folder / file).read_bytes()
    # the pool of softmax is counted inside the cluster, so it is not empty
    assert first.tally.drawn > 3 * 30
    for row in rows_of(first.folder):
        assert not set(row["negative_ids"]) & positives_of(toy)[row["query_id"]]
        assert len(set(row["negative_ids"])) == len(row["negative_ids"])


def test_suggest_honours_the_cluster(toy: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, toy, filters=EIGHT, sampler=NEXT_DOOR)
    found = suggest(config, encoder=BagOfWords())
    mined = mine(config, BagOfWords())
    short = sum(c for n, c in mined.tally.negatives.items() if int(n) < 3)
    assert found.outcomes[0].short == pytest.approx(short / 30)


def test_one_cluster_is_refused_and_random_has_none() -> None:
    with pytest.raises(PyriteError, match=r"cluster_false_negatives.*clusters to at least 2"):
        parse_config(FilterConfig, {"cluster_false_negatives": True, "clusters": 1})
    one = {"filters": {"clusters": 1}}
    for sampler in ({"cluster": "second_nearest"}, {"mix": [{"cluster": "second_nearest"}]}):
        with pytest.raises(PyriteError, match=r"sampler\.cluster=.*clusters to at least 2"):
            parse_config(MineConfig, {**one, "sampler": sampler})
    parse_config(MineConfig, {"filters": {"clusters": 1, "max_per_cluster": 1}})
    with pytest.raises(PyriteError, match=r"name=random: random documents.*remove sampler\.cl"):
        parse_config(SamplerPart, {"name": "random", "cluster": "second_nearest"})
