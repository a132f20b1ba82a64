"""`suggest` by hidden positives, and with settings that it cannot apply in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import BagOfWords, write_dataset
from rich.console import Console
from test_miner_mine import rows_of, settings

from pyrite.core.errors import PyriteError
from pyrite.indexes.flat import FlatIndex
from pyrite.miner.mine import mine
from pyrite.miner.suggest import MIN_TESTED, Suggestion, suggest
from pyrite.miner.suggest_report import explanation, suggestion_table, write_plot
from pyrite.miner.suggest_rule import MAX_OF_WORST, MIN_FILLED
from pyrite.miner.truth import truth_test
from pyrite.miner.truth_report import truth_table

QUERIES = 80


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries with one to three positives that share words with them, and other documents."""
    corpus, queries, qrels = {}, {}, []
    for q in range(QUERIES):
        queries[f"q{q:02d}"] = f"alpha{q} beta{q} theta{q % 5}"
        for p in range(1 + (q % 8 > 0) + (q % 3 > 0)):
            words = " ".join(f"gamma{p} iota{w}" for w in range(p + 1))
            corpus[f"p{q:02d}{p}"] = f"alpha{q} beta{q} alpha{q} {words} note{q}{p}"
            qrels.append((f"q{q:02d}", f"p{q:02d}{p}", 1))
        for other in range(4):
            corpus[f"n{q:02d}{other}"] = f"alpha{q} theta{other} gamma{other} zeta{q}{other}"
    folder = tmp_path_factory.mktemp("hidden")
    return write_dataset(folder / "several", corpus, queries, {"train": qrels})


def shown(found: Suggestion) -> str:
    console = Console(width=110)
    with console.capture() as capture:
        console.print(suggestion_table(found))
    return capture.get() + explanation(found)


CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "neighbours": {"retrieve": {"depth": 60, "sources": [{"query": "positive"}]}},
    "each": {"filters": {"margin": 0.02, "positive_score": "each"}},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_the_shares_are_those_of_the_truth_test_without_a_second_retrieval(
    several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    config = settings(tmp_path, several, "simans", **changes)
    mine(config, BagOfWords())

    def search(*arguments: Any) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(FlatIndex, "search", search)
    fresh = BagOfWords()
    found, truth = suggest(config, encoder=fresh), truth_test(config, fresh)
    assert fresh.encoded == 0
    assert len(list((tmp_path / "cache" / "candidates").iterdir())) == 1
    assert found.by_hidden
    assert MIN_TESTED <= found.tested <= truth.queries < QUERIES
    for outcome, row in zip(found.outcomes, truth.rows, strict=True):
        assert outcome.hidden == row
        assert outcome.false_negatives == row.false_negatives
    filling = [o for o in found.outcomes if o.filled >= MIN_FILLED]
    assert filling
    worst = max(o.false_negatives or 0 for o in filling)
    assert found.max_false_negatives == MAX_OF_WORST * worst > 0


def test_margins_move_the_estimate_and_the_text_says_which_it_is(
    several: Path, tmp_path: Path
) -> None:
    found = suggest(settings(tmp_path, several, "simans"), encoder=BagOfWords())
    shares = [o.false_negatives or 0.0 for o in found.outcomes if o.setting.family == "margin"]
    assert shares[0] > 2 * shares[-1]
    text = shown(found)
    assert "95%" in text
    assert "hidden positives among the negatives" in text
    assert "0.5 times the highest of these" in text
    assert found.as_json()["estimate"] == "hidden positives"
    assert found.as_json()["tested"] == found.tested
    assert write_plot(found).is_file()
    asked = suggest(settings(tmp_path, several, "simans"), 0.0, BagOfWords())
    assert "of at most 0.00%.\n" in shown(asked)


def test_too_few_queries_fall_back_on_the_proxy_and_say_so(toy: Path, tmp_path: Path) -> None:
    found = suggest(settings(tmp_path, toy), encoder=BagOfWords())
    assert found.tested < MIN_TESTED
    assert {o.hidden for o in found.outcomes} == {None}
    assert found.as_json()["estimate"] == "proxy"
    text = shown(found)
    assert "A proxy" in text
    assert f"only {found.tested} queries have one to hide" in text


def test_a_sample_of_the_tested_queries_still_adds_up(
    several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = suggest(settings(tmp_path, several), encoder=BagOfWords()).outcomes[0].hidden
    monkeypatch.setattr("pyrite.miner.suggest.MAX_QUERIES", 51)
    monkeypatch.setattr("pyrite.miner.suggest.MIN_TESTED", 1)
    found = suggest(settings(tmp_path, several), encoder=BagOfWords())
    part = found.outcomes[0].hidden
    assert whole is not None
    assert part is not None
    assert found.queries == 51
    assert 0 < found.tested <= 51
    assert 0 < part.drawn < whole.drawn
    monkeypatch.setattr("pyrite.miner.truth.BLOCK_QUERIES", 7)
    monkeypatch.setattr("pyrite.miner.suggest.BLOCK_QUERIES", 9)
    assert suggest(settings(tmp_path, several), encoder=BagOfWords()).as_json() == found.as_json()


def test_a_cap_on_uses_is_said_not_to_be_applied(several: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, several, sampler={"name": "topk", "n": 3, "max_uses": 1})
    plain = settings(tmp_path, several, sampler={"name": "topk", "n": 3})
    found, truth = suggest(config, encoder=BagOfWords()), truth_test(config, BagOfWords())
    assert [o.filled for o in found.outcomes] == [
        o.filled for o in suggest(plain, encoder=BagOfWords()).outcomes
    ]
    [note] = found.notes
    assert note.startswith("sampler.max_uses=1 is not applied")
    assert truth.notes == found.notes
    assert note in shown(found)
    assert found.as_json()["notes"] == truth.as_json()["notes"] == [note]
    console = Console(width=200)
    with console.capture() as capture:
        console.print(truth_table(truth))
    assert note in capture.get()
    assert not truth_test(plain, BagOfWords()).notes


def test_each_positive_is_compared_as_the_lowest(several: Path, tmp_path: Path) -> None:
    def of(how: str) -> Suggestion:
        filters = {"margin": 0.02, "positive_score": how}
        return suggest(settings(tmp_path, several, filters=filters), encoder=BagOfWords())

    each, least = of("each"), of("min")
    for one, other in zip(each.outcomes, least.outcomes, strict=True):
        left, right = one.as_json(), other.as_json()
        assert left["config"]["filters"].pop("positive_score") == "each"
        assert left == right
    assert least.notes == ()
    assert each.notes == ("filters.positive_score=each is compared as min: one row for each query",)


def test_dropped_queries_fill_nothing(several: Path, tmp_path: Path) -> None:
    sampler = {"name": "topk", "n": 4, "on_short": ["drop_query"]}
    filters = {"margin": 0.1}
    config = settings(tmp_path, several, filters=filters, sampler=sampler)
    found = suggest(config, encoder=BagOfWords()).outcomes[0]
    rows = rows_of(mine(config, BagOfWords()).folder)
    assert 0 < found.short < 1
    assert found.filled == pytest.approx(sum(len(r["scores"]) for r in rows) / (4 * QUERIES))


def test_fall_backs_add_no_hidden_positives(several: Path, tmp_path: Path) -> None:
    bare = {"name": "topk", "n": 4}
    relaxed = {**bare, "on_short": ["relax"]}
    filters = {"margin": 0.1}
    plain, found = (
        suggest(settings(tmp_path, several, filters=filters, sampler=s), encoder=BagOfWords())
        for s in (bare, relaxed)
    )
    assert plain.outcomes[0].short > 0
    for one, other in zip(plain.outcomes, found.outcomes, strict=True):
        assert one.hidden is not None
        assert other.hidden is not None
        assert one.hidden.drawn == other.hidden.drawn
        assert one.false_negatives == other.false_negatives


SAMPLERS: list[dict[str, Any]] = [
    {"name": "saha", "n": 2},
    {"name": "scincl", "n": 2, "c_hard": 4, "k_share": 0.05},
    {"name": "topk", "n": 2, "cluster": "second_nearest"},
    {"name": "softmax", "n": 2},
    {"name": "popularity", "n": 2},
    {
        "mix": [
            {"name": "scincl", "n": 1, "k_share": 0.05},
            {"name": "saha", "n": 1},
            {"name": "simans", "n": 1, "cluster": "second_nearest"},
            {"name": "random", "n": 1, "outside": True},
        ]
    },
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.get("name", "mix"))
def test_every_sampler_is_compared_as_mined(
    several: Path, tmp_path: Path, sampler: dict[str, Any]
) -> None:
    filters = {"percent": 0.95, "clusters": 6, "max_per_cluster": 5}
    config = settings(tmp_path, several, filters=filters, sampler=sampler)
    found = suggest(config, encoder=BagOfWords())
    assert found.by_hidden
    rows = rows_of(mine(config, BagOfWords()).folder)
    drawn = [s - r["pos_score"] for r in rows for s in r["scores"]]
    configured = found.outcomes[0]
    assert configured.filled == pytest.approx(len(drawn) / (config.sampler.total * QUERIES))
    assert configured.hardness == pytest.approx(sum(drawn) / len(drawn), abs=1e-6)
    assert all(o.hardness is not None for o in found.outcomes if o.setting.family == "simans")
    assert shown(found)


def test_two_conditions_compares_no_ceilings(several: Path, tmp_path: Path) -> None:
    filters = {"percent": None, "two_conditions": True, "positive_score": "min"}
    config = settings(tmp_path, several, filters=filters)
    found = suggest(config, encoder=BagOfWords())
    assert {o.setting.family for o in found.outcomes} == {"configured", "window", "simans"}
    assert "no ceilings are compared" in shown(found)
    assert len(truth_test(config, BagOfWords()).rows) == len(found.outcomes)
    assert write_plot(found).is_file()


def test_a_limit_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match="--max-false-negatives=7"):
        suggest(settings(tmp_path, tmp_path / "missing"), 7.0, BagOfWords())
