from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import good, prose, serving
from embedding_server import Server
from review_setup import finished_run, queue_of, say
from test_relabel_run import train_file
from test_relabel_run import write_config as chat_config

from pyrite import RelabelConfig, load_config, relabel
from pyrite.miner.relabel.case import Verdict
from pyrite.miner.relabel.people import between_people, decided, read_people
from pyrite.miner.relabel.relabel import Relabelled
from pyrite.miner.relabel.review.queue import Queue

YES, NO, UNSURE = Verdict(True), Verdict(False, "na"), Verdict(None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


def test_the_majority_decides_and_a_tie_decides_nothing() -> None:
    said = [
        *(("ann", pair, YES) for pair in "abcd"),
        *(("bob", pair, NO) for pair in "bc"),
        ("bob", "d", UNSURE),
        ("bob", "e", UNSURE),
        ("cas", "b", NO),
    ]
    found = decided(said)
    assert {pair: (v.relevant, v.why) for pair, v in found.items()} == {
        "a": (True, "ann"),
        "b": (False, "bob, cas against ann"),
        "c": (None, "bob against ann"),
        "d": (True, "ann"),
    }
    assert all(verdict.by_person for verdict in found.values())


def test_reviewers_are_compared_on_what_they_have_in_common() -> None:
    both = [("ann", pair, YES) for pair in "abcd"] + [("ann", pair, NO) for pair in "efg"]
    bob = {"a": YES, "b": YES, "c": NO, "d": UNSURE, "e": NO, "f": YES, "z": YES}
    said = both + [("bob", pair, verdict) for pair, verdict in bob.items()]
    (found,) = between_people([*said, ("cas", "y", NO)])
    assert (found.first, found.second) == ("ann", "bob")
    # [no, yes] by [no, yes]: e | f, c | a and b; d is undecided
    assert (found.table, found.undecided) == ([[1, 1], [1, 2]], 1)


def test_no_store_means_no_people_and_no_file(tmp_path: Path) -> None:
    assert read_people(tmp_path / "none" / "v.sqlite") == {}
    assert not (tmp_path / "none").exists()


def rows_of(done: Relabelled) -> list[tuple[int, int]]:
    """Positives and negatives of each row."""
    lines = (done.folder / "rows.jsonl").read_text("utf-8").strip().split("\n")
    records = [json.loads(line) for line in lines]
    return [(len(r["positive_passages"]), len(r["negative_passages"])) for r in records]


def notes_of(done: Relabelled) -> list[dict[str, Any]]:
    lines = (done.folder / "verdicts.jsonl").read_text("utf-8").strip().split("\n")
    return [json.loads(line) for line in lines]


def test_a_person_outranks_the_judges(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    every = queue_of(config, every=True)
    case_of = {p.case.documents[0].text.split()[0].split("/")[1]: p.case for p in every.pairs}
    # undecided, found by the judge, called clean by it, and one that people disagree about
    say(config, "ann", case_of["alpha"], True)
    say(config, "ann", case_of["epsilon"], False)
    say(config, "ann", case_of["zeta"], True)
    say(config, "ann", case_of["gamma"], True)
    say(config, "bob", case_of["gamma"], False)
    say(config, "bob", case_of["delta"], None)
    done = relabel(config)
    assert rows_of(done) == [(2, 1), (1, 2), (2, 1)]
    assert done.report["by_people"] == {"decided": 3, "disagree": 1}
    assert done.report["states"] == {"clean": 2, "false_negative": 2, "unknown:abstained": 2}
    said = {note["doc_id"]: (note["stage"], note["why"]) for note in notes_of(done)}
    assert said["d1.0"] == said["d3.1"] == ("person", "ann")
    assert said["d2.0"][0] == "review_setup:judged"
    # the judge said: alpha nothing, epsilon false, zeta clean; ann the opposite
    table = done.report["human"][-1]
    assert (table["first"], table["undecided"]) == ("cascade", 1)
    assert (table["only_first"], table["only_second"], table["both"]) == (1, 1, 0)
    assert table["kappa"] == -1.0


def counts(table: dict[str, Any]) -> int:
    names = ("both", "both_clean", "only_first", "only_second", "undecided")
    return sum(table[name] for name in names)


def replace(config: RelabelConfig, dry_run: bool) -> RelabelConfig:
    return config.model_copy(update={"dry_run": dry_run})


def test_a_pair_that_a_person_decided_is_not_paid_for(tmp_path: Path, server: Server) -> None:
    train_file(tmp_path, 3)
    server.default = prose
    config = load_config(RelabelConfig, chat_config(tmp_path, server))
    assert relabel(config).report["states"] == {"unknown:parse_error": 10}
    asked = len(server.asked)
    found = queue_of(config)
    assert len(found.pairs) == 10
    for pair in found.pairs:
        say(config, "ann", pair.case, "better" in pair.case.documents[0].text)
    server.default = good
    done = relabel(config)
    assert len(server.asked) == asked
    assert done.report["by_people"] == {"decided": 10}
    assert set(done.report["states"]) == {"clean", "false_negative"}
    # nobody but the person spoke, so there is nothing to compare, and no kappa of 1
    free, *asked_judges = done.report["human"]
    assert free["undecided"] == 10
    assert [counts(table) for table in asked_judges] == [0] * 3
    more: dict[str, Any] = {"double_judge": 1, "order_check": True}
    twice = load_config(RelabelConfig, chat_config(tmp_path, server, **more))
    assert [one.calls for one in relabel(replace(twice, True)).estimates] == [0, 0, 0]
    done = relabel(replace(twice, False))
    assert len(server.asked) == asked
    tables = [*done.report["between_stages"], *done.report["orders"]]
    assert [counts(table) for table in tables] == [0] * 3


def test_what_a_judge_said_before_is_still_compared(tmp_path: Path, server: Server) -> None:
    train_file(tmp_path, 3)
    config = load_config(RelabelConfig, chat_config(tmp_path, server))
    first = relabel(config)
    asked = len(server.asked)
    before = (first.folder / "rows.jsonl").read_bytes()
    found = queue_of(config, sample=10)
    for pair in found.pairs:
        words = pair.case.documents[0].text.split()
        say(config, "ann", pair.case, bool({"better", "equal"} & set(words)))
    done = relabel(config)
    # the person agrees with the large model: the same rows, and nothing was asked
    assert (done.folder / "rows.jsonl").read_bytes() == before
    assert len(server.asked) == asked
    *_, large, cascade = done.report["human"]
    assert large["kappa"] == cascade["kappa"] == 1.0
    assert sum(cascade[name] for name in ("both", "both_clean", "undecided")) == 10


def test_a_person_s_word_on_one_pair_changes_no_other(tmp_path: Path, server: Server) -> None:
    train_file(tmp_path, 12)
    config = load_config(RelabelConfig, chat_config(tmp_path, server))
    states = {(n["line"], n["negative"]): n["state"] for n in notes_of(relabel(config))}
    asked = len(server.asked)
    every: Queue = queue_of(config, every=True)
    for pair in every.pairs[::5]:
        say(config, "ann", pair.case, (pair.row, pair.negative) not in states)
    after = {(n["line"], n["negative"]): n["state"] for n in notes_of(relabel(config))}
    assert len(server.asked) == asked
    turned = {(pair.row, pair.negative) for pair in every.pairs[::5]}
    assert {place for place in states if place not in turned} == {
        place for place in after if place not in turned
    }
    assert {place for place in after if place in turned} == turned - states.keys()
