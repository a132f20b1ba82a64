"""Near-duplicate rules and the cap on uses, from the configuration to the files of a run."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, write_dataset
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_miner_choose import FILTERS, QUERIES, SEEDS, World, world
from test_miner_hubness import DOC_HASHES, drawings, query_hashes
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
from test_miner_mix import MIXES, PlainQuery, pools

from pyrite.core.candidates import Reason
from pyrite.core.digest import u64_array
from pyrite.core.errors import PyriteError
from pyrite.core.rng import combine, stream
from pyrite.core.store import read_array
from pyrite.miner.draws import read_draws, take_columns, to_negatives, write_draws
from pyrite.miner.filters import FilterConfig
from pyrite.miner.hubness import cap_uses
from pyrite.miner.mine import Mined, mine
from pyrite.miner.mix import choose_mix
from pyrite.miner.report import mining_table
from pyrite.miner.samplers import SamplerConfig

OPEN = {"percent": None, "margin": None}
TOPK = {"name": "topk", "n": 4}
SIMANS = {"name": "simans", "n": 4, "a": 0.1}
RANDOM = {"name": "random", "n": 4}
MIX: dict[str, Any] = {
    "mix": [{"name": "simans", "n": 2}, {"name": "topk", "n": 1}, {"name": "random", "n": 1}],
    "on_short": ["relax", "random_fill"],
}


def cosine(left: Any, right: Any) -> float:
    return exact(left, right) / math.sqrt(exact(left, left) * exact(right, right))


def chosen(mined: Mined) -> dict[str, list[str]]:
    return {row["query_id"]: row["negative_ids"] for row in rows_of(mined.folder)}


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_what_lies_close_to_a_positive_has_a_reason(
    toy: Path, tmp_path: Path, threshold: float
) -> None:
    filters = {**OPEN, "near_positive": threshold}
    mined = mine(settings(tmp_path, toy, filters=filters, sampler=TOPK), BagOfWords())
    reasons = read_array(mined.folder / "reasons.npy")
    vectors, positives, total = vectors_of(texts_of(toy, "corpus")), positives_of(toy), 0
    for at, (query, ranked) in enumerate(ranked_oracle(toy).items()):
        allowed = [doc for doc, _, _ in allowed_oracle(toy, query, ranked[:60])]
        near = {
            doc
            for doc in allowed
            if any(cosine(vectors[p], vectors[doc]) >= threshold for p in positives[query])
        }
        marked = (reasons[at] & int(Reason.NEAR_DUPLICATE)) != 0
        assert {doc for (doc, _), hit in zip(ranked[:60], marked, strict=True) if hit} == near
        assert chosen(mined)[query] == [doc for doc in allowed if doc not in near][:4]
        total += len(near)
    assert mined.tally.reasons["NEAR_DUPLICATE"] == total > 1


def test_relax_does_not_take_a_near_duplicate_back(toy: Path, tmp_path: Path) -> None:
    # every candidate is above the ceiling, so all negatives are relaxed ones
    filters = {**OPEN, "max_score": -1.0, "near_positive": 0.5}
    sampler = {"name": "topk", "n": 60, "on_short": ["relax"]}
    mined = mine(settings(tmp_path, toy, filters=filters, sampler=sampler), BagOfWords())
    vectors, positives = vectors_of(texts_of(toy, "corpus")), positives_of(toy)
    assert mined.tally.tiers["relaxed"] == mined.tally.drawn > 0
    for query, docs in chosen(mined).items():
        for doc in docs:
            assert max(cosine(vectors[p], vectors[doc]) for p in positives[query]) < 0.5


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("filters", "near_positive", 0),
        ("filters", "near_positive", 1.1),
        ("filters", "near_text", 0),
        ("filters", "near_text", 1.1),
        ("sampler", "max_uses", 0),
    ],
)
def test_a_setting_out_of_range_is_named(
    toy: Path, tmp_path: Path, section: str, key: str, value: float
) -> None:
    changes: dict[str, Any] = {section: {key: value}}
    with pytest.raises(PyriteError, match=rf"{section}\.{key}"):
        settings(tmp_path, toy, **changes)


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """One query; near copies of its positive, and four near copies of another document."""
    generator = np.random.default_rng(3)

    def text() -> list[str]:
        return [f"w{i}" for i in generator.integers(0, 400, 80)]

    def copies(name: str, words: list[str], count: int) -> dict[str, str]:
        edits = {f"{name}{i}": [*words[:i], f"edit{i}", *words[i + 1 :]] for i in range(count)}
        return {key: " ".join(value) for key, value in edits.items()}

    corpus = {**copies("p", text(), 3), **copies("c", text(), 4)}
    corpus |= {f"x{i}": " ".join(text()) for i in range(5)}
    queries = {"q": " ".join(text())}
    return write_dataset(tmp_path / "edited", corpus, queries, {"train": [("q", "p0", 1)]})


def test_near_copies_in_words_are_one_document(tmp_path: Path, edited: Path) -> None:
    if importlib.util.find_spec("datasketch") is None:
        pytest.skip("the extra dedup is not installed")
    # a mix of retrieved and random documents, which do not see each other's copies
    parts = [{"name": "topk", "n": 3}, {"name": "random", "n": 9}]
    sampler = {"mix": parts, "on_short": ["relax", "random_fill"]}
    changes: dict[str, Any] = {"sampler": sampler, "retrieve": {"depth": 12}}
    plain = mine(settings(tmp_path, edited, filters=OPEN, **changes), BagOfWords())
    assert len(chosen(plain)["q"]) == 11
    near = settings(tmp_path, edited, filters={**OPEN, "near_text": 0.7}, **changes)
    mined = mine(near, BagOfWords())
    assert sorted(doc[0] for doc in chosen(mined)["q"]) == ["c", *"xxxxx"]
    assert mined.tally.reasons["NEAR_DUPLICATE"] == 2 + 3
    assert mine(near, BagOfWords()).reused


def test_without_the_extra_the_run_before_stays(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mine(settings(tmp_path, toy), BagOfWords())
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(PyriteError, match=r"pip install 'pyrite\[dedup\]'"):
        mine(settings(tmp_path, toy, filters={"near_text": 0.8}), BagOfWords())
    assert before.manifest.intact(before.folder)
    assert mine(settings(tmp_path, toy), BagOfWords()).reused


def deferred_acceptance(
    draws: dict[str, list[str]], wanted: int, cap: int, seed: int
) -> dict[str, list[str]]:
    """The matching one proposal at a time; `draws` are complete, spares from `wanted` on."""
    held: dict[str, list[tuple[bool, int, str]]] = {}
    turn = dict.fromkeys(draws, 0)
    slots = [query for query in draws for _ in range(min(wanted, len(draws[query])))]
    while slots:
        query = slots.pop(0)
        if turn[query] == len(draws[query]):
            continue
        at = turn[query]
        turn[query] += 1
        root = combine(stream(seed, 0, 3), u64_array([query]))
        key = int(combine(root, u64_array([draws[query][at]]))[0])
        mine_ = held.setdefault(draws[query][at], [])
        mine_.append((at >= wanted, key, query))
        mine_.sort()
        if len(mine_) > cap:
            slots.append(mine_.pop()[2])
    kept = {(query, doc) for doc, entries in held.items() for _, _, query in entries}
    return {query: [d for d in docs if (query, d) in kept] for query, docs in draws.items()}


@pytest.mark.parametrize("sampler", [TOPK, SIMANS], ids=["topk", "simans"])
@pytest.mark.parametrize("drop", [False, True])
def test_the_cap_is_a_matching_over_the_whole_run(
    toy: Path, tmp_path: Path, sampler: dict[str, Any], drop: bool
) -> None:
    filters = {"max_score": 0.35, "percent": None}
    twice = {**sampler, "n": 8}
    wide = mine(settings(tmp_path, toy, filters=filters, sampler=twice), BagOfWords())
    draws = chosen(wide)
    if drop:
        draws = {query: docs for query, docs in draws.items() if len(docs) >= 4}
    expected = deferred_acceptance(draws, 4, 2, 0)
    if drop:
        expected = {query: docs for query, docs in expected.items() if len(docs) == 4}
    capped = {**sampler, "max_uses": 2, "on_short": ["drop_query"] if drop else []}
    config = settings(tmp_path, toy, filters=filters, sampler=capped, block_queries=7)
    mined = mine(config, BagOfWords())
    assert chosen(mined) == expected
    first = {(query, doc) for query, docs in draws.items() for doc in docs[:4]}
    kept = {(q, d) for q, docs in deferred_acceptance(draws, 4, 2, 0).items() for d in docs}
    counts = {"dropped": len(first - kept), "replaced": len(kept - first)}
    assert mined.tally.capped == {**counts, "missing": len(first) - len(kept)}
    assert mined.tally.capped["replaced"] > 0
    assert mined.tally.dropped == 30 - len(expected)
    assert mined.tally.drawn == sum(map(len, expected.values()))


@pytest.mark.parametrize("sampler", [SIMANS, MIX, RANDOM], ids=["simans", "mix", "random"])
def test_no_document_is_used_more_often_and_the_order_of_things_changes_no_byte(
    toy: Path, tmp_path: Path, sampler: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrite.miner.negatives_file._ROW_GROUP", 8)
    capped = {**sampler, "max_uses": 2}
    first = mine(settings(tmp_path / "a", toy, sampler=capped), BagOfWords())
    free = mine(settings(tmp_path / "free", toy, sampler=sampler), BagOfWords())
    uses = Counter(doc for docs in chosen(first).values() for doc in docs)
    assert max(uses.values()) == 2 < free.tally.most_used[0][1]
    assert all(len(set(docs)) == len(docs) for docs in chosen(first).values())
    for query, docs in chosen(first).items():
        assert not set(docs) & positives_of(toy)[query]
        assert len(docs) <= len(chosen(free)[query])
    data = tmp_path / "b" / "data"
    shutil.copytree(toy, data)
    for path in ("queries.jsonl", "corpus.jsonl"):
        shuffled_lines(data / path, header=False)
    other = mine(settings(tmp_path / "b", data, sampler=capped, block_queries=7), BagOfWords())
    for file in ("negatives.parquet", "reasons.npy", "scores.png"):
        assert (first.folder / file).read_bytes() == (other.folder / file).read_bytes()
    assert first.tally.as_json() == other.tally.as_json()
    assert not list(first.folder.glob("part-*"))


def test_a_cap_that_nothing_reaches_changes_nothing(toy: Path, tmp_path: Path) -> None:
    for at, sampler in enumerate((SIMANS, MIX)):
        free = mine(settings(tmp_path / f"a{at}", toy, sampler=sampler), BagOfWords())
        config = settings(tmp_path / f"b{at}", toy, sampler={**sampler, "max_uses": 99})
        capped = mine(config, BagOfWords())
        assert capped.tally.capped == {"dropped": 0, "replaced": 0, "missing": 0}
        assert free.tally.capped == {}
        if "mix" not in sampler:
            assert rows_of(free.folder) == rows_of(capped.folder)


def test_a_run_that_dies_before_the_cap_goes_on_with_its_parts(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = {**SIMANS, "max_uses": 2}
    peace = mine(settings(tmp_path / "a", toy, sampler=sampler), BagOfWords())
    config = settings(tmp_path / "b", toy, sampler=sampler, block_queries=8)
    calls = []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return choose_mix(*arguments)

    def dies(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyrite.miner.choose_block.choose_mix", counted)
    with monkeypatch.context() as patch:
        patch.setattr("pyrite.miner.choose_all.cap_parts", dies)
        with pytest.raises(KeyboardInterrupt):
            mine(config, BagOfWords())
    assert len(calls) == 4
    resumed = mine(config, BagOfWords())
    assert len(calls) == 4
    for file in ("negatives.parquet", "reasons.npy", "scores.png"):
        assert (peace.folder / file).read_bytes() == (resumed.folder / file).read_bytes()
    assert resumed.tally.as_json() == peace.tally.as_json()


def test_the_most_used_documents_are_recorded_and_shown(toy: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, toy, sampler={**TOPK, "max_uses": 3})
    mined = mine(config, BagOfWords())
    uses = Counter(doc for docs in chosen(mined).values() for doc in docs)
    expected = sorted(uses.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    assert mined.tally.most_used == expected
    assert mined.manifest.data["counts"]["most_used"] == [list(pair) for pair in expected]
    assert mine(config, BagOfWords()).tally == mined.tally
    mined.tally.most_used[0] = ("[red]doc", 3)
    console = Console(record=True, width=100)
    console.print(mining_table(mined.tally, 4))
    lines = [" ".join(line.replace("│", " ").split()) for line in console.export_text().split("\n")]
    assert "most used: [red]doc 3 10.0%" in lines
    for name, key in (("draws over max_uses", "dropped"), ("missing", "missing")):
        assert f"{name} {mined.tally.capped[key]}" in lines
    assert f"replaced by a spare {mined.tally.capped['replaced']}" in lines


def spares_plainly(
    w: World, filters: FilterConfig, config: SamplerConfig, seed: int, q: int
) -> list[Any]:
    """(document, source, tier) of a second round after a first, document by document."""
    query = PlainQuery(w, filters, seed, q)
    for _ in range(2):
        query.found = []
        for number, part in enumerate(config.parts):
            query.part(part, number)
        steps = [step for step in config.on_short if step != "drop_query"]
        for number, step in enumerate(steps, start=len(config.parts)):
            query.step(step, number, config.total)
    return query.found


@given(SEEDS, FILTERS, MIXES, st.booleans())
def test_spares_continue_the_draw(
    seed: int, filters: FilterConfig, config: SamplerConfig, drop: bool
) -> None:
    w = world(seed)
    if drop:
        config = config.model_copy(update={"on_short": [*config.on_short, "drop_query"]})
    retrieved, random, pos_scores = pools(w, filters)
    arguments = (retrieved, random, pos_scores, w.context, config, seed)
    plain, wide = choose_mix(*arguments), choose_mix(*arguments, True)
    n = config.total
    assert wide.ids.shape == (plain.query_rows.size, 2 * n)
    first = take_columns(wide, np.tile(np.arange(n), (plain.query_rows.size, 1)))
    for name in ("query_rows", "ids", "scores", "ranks", "probabilities", "tiers", "pos_scores"):
        assert np.array_equal(getattr(first, name), getattr(plain, name))
    for at, q in enumerate(wide.query_rows.tolist()):
        expected = spares_plainly(w, filters, config, seed, q)
        assert [doc for doc in wide.ids[at, n:].tolist() if doc >= 0] == [d for d, _, _ in expected]
        assert [wide.sources[s] for s in wide.source[at, n:][: len(expected)]] == [
            source for _, source, _ in expected
        ]
        assert wide.tiers[at, n:][: len(expected)].tolist() == [tier for _, _, tier in expected]
        docs = [doc for doc in wide.ids[at].tolist() if doc >= 0]
        assert len(set(w.context.doc_texts_N[docs].tolist())) == len(docs)
        assert not set(docs) & w.positives[q]


@given(SEEDS, FILTERS, MIXES)
def test_draws_come_back_from_the_disk(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    filters: FilterConfig,
    config: SamplerConfig,
) -> None:
    w = world(seed)
    retrieved, random, pos_scores = pools(w, filters)
    negatives = choose_mix(retrieved, random, pos_scores, w.context, config, seed, True)
    path = tmp_path_factory.mktemp("draws") / "part-0.npy"
    write_draws(path, negatives)
    found = to_negatives(read_draws(path), negatives.sources, negatives.generation)
    for name in negatives.__slots__:
        left, right = getattr(negatives, name), getattr(found, name)
        assert np.array_equal(left, right)
        assert getattr(left, "dtype", None) == getattr(right, "dtype", None)
    assert found.query_rows.size == QUERIES


@given(drawings(), drawings(), st.integers(1, 3), st.integers(0, 50))
def test_spares_never_add_to_a_short_query(draws: Any, spares: Any, cap: int, seed: int) -> None:
    rows = min(len(draws), len(spares))
    left, right = draws[:rows], spares[:rows].copy()
    for row, again in zip(left, right, strict=True):
        again[np.isin(again, row)] = -1
    both, n = np.concatenate((left, right), axis=1), left.shape[1]
    found = cap_uses(both, n, cap, query_hashes(rows), DOC_HASHES, seed)
    assert ((found.ids >= 0).sum(axis=1) <= (left >= 0).sum(axis=1)).all()
    used = Counter(found.ids[found.ids >= 0].tolist())
    assert max(used.values(), default=0) <= cap
    assert found.missing == (left >= 0).sum() - (found.ids >= 0).sum() >= 0
