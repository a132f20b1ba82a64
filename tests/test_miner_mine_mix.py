from __future__ import annotations

from pathlib import Path

from fakes import BagOfWords
from test_miner_mine import positives_of, rows_of, settings

from pyrite.miner.mine import mine


def test_a_mix_with_fall_backs_says_where_each_negative_came_from(
    tmp_path: Path, toy: Path
) -> None:
    sampler = {
        "mix": [
            {"name": "topk", "n": 2, "source": "bm25s"},
            {"name": "simans", "n": 2},
            {"name": "random", "n": 1},
        ],
        "on_short": ["relax", "random_fill"],
    }
    sources = [{"kind": "dense"}, {"kind": "bm25s"}]
    config = settings(tmp_path, toy, sampler=sampler, retrieve={"depth": 60, "sources": sources})
    mined = mine(config, BagOfWords())
    rows = rows_of(mined.folder)
    assert {len(row["negative_ids"]) for row in rows} == {5}
    for row in rows:
        found = list(zip(row["sources"], row["tiers"], row["negative_ids"], strict=True))
        assert len({doc for _, _, doc in found}) == 5
        assert not {doc for _, _, doc in found} & positives_of(toy)[row["query_id"]]
        assert all(source == "random" for source, tier, _ in found if tier == 2)
    tally = mined.tally.as_json()
    assert sum(tally["negatives_per_source"].values()) == 5 * len(rows)
    plain = [row["sources"] for row in rows if not any(row["tiers"])]
    assert len(plain) > len(rows) / 2
    assert all(sources.count("random") == 1 for sources in plain)
    assert set(tally["negatives_per_tier"]) == {"configured", "relaxed", "random_fill"}
    again = settings(tmp_path, toy, sampler=sampler, retrieve=config.retrieve.model_dump())
    assert mine(again, BagOfWords()).reused
    small = again.model_copy(update={"block_queries": 3, "name": "blocks"})
    other = mine(small, BagOfWords())
    assert (other.folder / "negatives.parquet").read_bytes() == (
        mined.folder / "negatives.parquet"
    ).read_bytes()


def test_a_short_query_can_be_dropped_and_is_counted(tmp_path: Path, toy: Path) -> None:
    strict = {"margin": None, "max_score": 0.3}
    whole = mine(settings(tmp_path, toy, filters=strict), BagOfWords())
    counts = {row["query_id"]: len(row["negative_ids"]) for row in rows_of(whole.folder)}
    sampler = {"name": "topk", "n": 4, "on_short": ["drop_query"]}
    kept = mine(settings(tmp_path, toy, filters=strict, sampler=sampler), BagOfWords())
    found = [row["query_id"] for row in rows_of(kept.folder)]
    assert found == [query for query, count in counts.items() if count == 4]
    assert kept.tally.dropped == len(counts) - len(found)
