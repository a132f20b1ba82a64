from __future__ import annotations

import json
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cli_setup import in_process, snapshot
from review_setup import (
    HOSTILE,
    finished_run,
    letters,
    people,
    queue_of,
    say,
    session_of,
    write_config,
    write_rows,
)

from pyrite import RelabelConfig, load_config, relabel
from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.case import Case, Verdict
from pyrite.miner.relabel.review.page import page
from pyrite.miner.relabel.review.pair import Opinion, ReviewPair
from pyrite.miner.relabel.review.queue import Choice
from pyrite.miner.relabel.review.review import read_answers, write_page
from pyrite.miner.training_row import Doc


def test_the_undecided_pairs_come_and_the_most_doubtful_first(tmp_path: Path) -> None:
    # probabilities .9, .5, .2: as far as .4, 0, .3 from one half
    found = queue_of(finished_run(tmp_path))
    assert letters(found) == ["gamma", "delta", "alpha"]
    assert (found.all, found.answered, found.left_for_later) == (3, 0, 0)
    gamma = found.pairs[0]
    assert (gamma.row, gamma.negative, gamma.query_id, gamma.unknown) == (2, 1, "q2", "abstained")
    (opinion,) = gamma.opinions
    assert (opinion.judge, opinion.verdict.probability) == ("review_setup:judged", 0.5)


@pytest.mark.parametrize(
    ("said", "doubt"),
    [
        ([], 1.0),
        ([Verdict(None)], 1.0),
        ([Verdict(None, None, 0.5)], 1.0),
        ([Verdict(True), Verdict(False)], 1.0),
        ([Verdict(True)], 0.0),
        ([Verdict(False, "na", 0.25)], 0.5),
        ([Verdict(True), Verdict(None, None, 0.5), Verdict(None)], 0.5),
    ],
)
def test_doubt_is_the_nearness_of_the_mean_to_one_half(said: list[Verdict], doubt: float) -> None:
    case = Case("", "q", (), (Doc(None, "", "d"),))
    pair = ReviewPair(case, 1, 1, None, tuple(Opinion("j", verdict) for verdict in said))
    assert pair.doubt == doubt


def test_a_sitting_has_a_bound_and_says_what_is_left(tmp_path: Path) -> None:
    found = queue_of(finished_run(tmp_path), most=2)
    assert letters(found) == ["gamma", "delta"]
    assert found.left_for_later == 1


def test_what_someone_decided_is_done_and_what_someone_left_open_is_not(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    gamma, delta, alpha = (pair.case for pair in queue_of(config).pairs)
    say(config, "ann", gamma, True)
    say(config, "ann", delta, None)
    say(config, "bob", alpha, None)
    assert letters(queue_of(config, "ann")) == ["alpha"]
    assert letters(queue_of(config, "bob")) == ["delta"]
    assert letters(queue_of(config, "cas")) == ["delta", "alpha"]
    # all pairs, or a sample, are each one's own to answer
    assert len(queue_of(config, "bob", every=True).pairs) == 5
    left = queue_of(config, "ann", sample=6)
    assert (len(left.pairs), left.answered, left.all) == (4, 2, 6)


def test_a_sample_is_random_by_the_seed_alone_and_stays_the_same(tmp_path: Path) -> None:
    config = finished_run(tmp_path, ["clean/a clean/b clean/c"] * 20)
    sample = [p.key for p in queue_of(config, sample=12).pairs]
    assert len(set(sample)) == 12
    assert [p.key for p in queue_of(config, "bob", sample=12).pairs] == sample
    assert [p.key for p in queue_of(config, sample=60).pairs][:12] == sample
    assert [p.key for p in queue_of(config, sample=12, seed=1).pairs] != sample
    # answers take out pairs, and bring in none
    say(config, "ann", queue_of(config, sample=12).pairs[3].case, True)
    assert [p.key for p in queue_of(config, sample=12).pairs] == sample[:3] + sample[4:]
    rows = [p.row for p in queue_of(config, sample=60).pairs]
    assert rows != sorted(rows)


def test_equal_texts_are_read_once(tmp_path: Path) -> None:
    config = finished_run(tmp_path, ["unsure-5/a", "clean/b", "clean/c"])
    path = tmp_path / "train.jsonl"
    path.write_text((path.read_text("utf-8").split("\n")[0] + "\n") * 3, encoding="utf-8")
    with pytest.raises(PyriteError, match="has changed since the run"):
        queue_of(config)
    relabel(config)
    found = queue_of(config)
    assert (letters(found), found.all, found.left_for_later) == (["a"], 1, 0)


def test_nothing_is_reviewed_before_a_run_or_by_nobody(tmp_path: Path) -> None:
    write_rows(tmp_path)
    config = load_config(RelabelConfig, write_config(tmp_path))
    with pytest.raises(PyriteError, match="no finished run to review; run pyrite relabel"):
        queue_of(config)
    for name in ("", " ", "a\nb", "x" * 65):
        with pytest.raises(PyriteError, match="a reviewer needs a name"):
            Choice(name)


def test_notes_without_rows_are_refused(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    path = config.run_folder / "relabel" / "verdicts.jsonl"
    path.write_text(re.sub(r'"row": \d+, ', "", path.read_text("utf-8")), encoding="utf-8")
    with pytest.raises(PyriteError, match="written by an earlier version"):
        queue_of(config)


def test_an_answer_is_in_the_store_at_once_and_an_undo_takes_it_out(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    with session_of(config) as session:
        session.answer(0, "relevant")
        session.answer(1, "not_relevant")
        session.answer(2, "unsure")
        # another connection sees it, so a kill cannot take it back
        assert sorted(people(config)["ann"], key=str) == [False, None, True]
        session.answer(1, "relevant")
        session.answer(2, None)
        assert session.answers() == ["relevant", "relevant", None]
        assert session.given() == {"relevant": 2}
    assert people(config) == {"ann": [True, True]}
    log = sqlite3.connect(config.cache / "verdicts.sqlite")
    (calls,) = log.execute("SELECT SUM(attempts) FROM calls WHERE judge = 'human:ann'").fetchone()
    assert calls == 0


def test_blind_reviewers_hear_the_judges_afterwards(tmp_path: Path) -> None:
    with session_of(finished_run(tmp_path), blind=True) as session:
        before = session.pair(0)
        assert (before["judges"], before["unknown"]) == (None, "")
        session.answer(0, "unsure")
        (judge,) = session.pair(0)["judges"]
        assert judge["why"].startswith("torn about it")


def test_the_page_tells_what_others_decided_meanwhile(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    with session_of(config, "ann") as ann, session_of(config, "bob") as bob:
        ann.answer(1, "relevant")
        ann.answer(2, "unsure")
        assert [bob.pair(at)["others"] for at in range(3)] == [[], ["ann"], []]
        assert ann.pair(1)["others"] == []
    with session_of(config, "cas", every=True) as cas:
        assert all(cas.pair(at)["others"] == [] for at in range(len(cas.pairs)))


class Elements(HTMLParser):
    """Names of the elements, what scripts hold, and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag == "script":
            self.scripts.append("")
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "action", "srcset", "data"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.names[-1:] == ["script"] and self.scripts:
            self.scripts[-1] += data


def test_no_text_becomes_markup_and_nothing_is_loaded(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    out = tmp_path / "page.html"
    write_page(config, Choice("ann"), False, out, lambda _: None)
    text = out.read_text("utf-8")
    plain = Elements(page({"mode": "file"}))
    found = Elements(text)
    assert found.names == plain.names
    assert found.addresses == ["data:,"]
    data, script = found.scripts
    assert script == plain.scripts[1].replace("\r\n", "\n")
    shown = json.loads(data)["pairs"][0]
    assert HOSTILE in shown["query"]
    assert HOSTILE in shown["candidate"]["title"]
    assert HOSTILE in shown["candidate"]["text"]
    assert HOSTILE in shown["judges"][0]["why"]
    assert not set("<>&") & set(data)
    assert data.isascii()
    for word in ("http:", "https:", "//", "import ", "@import", "url(", "innerHTML", "eval("):
        code = re.sub(r"(?m)^\s*//.*$|//.*$", "", script) if word == "//" else script
        assert word not in code


def test_the_policy_lets_nothing_in_but_our_own_code() -> None:
    text = page({"mode": "file"})
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[\w+/=]{44}'", rules[name])


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_file_of_answers_goes_into_the_store(tmp_path: Path) -> None:
    config = finished_run(tmp_path)
    first, second, _ = (pair.key for pair in queue_of(config).pairs)
    yes = {"pair": first, "answer": "relevant", "reviewer": " ann "}
    done = read_answers(
        config,
        written(tmp_path, yes, yes, {"pair": second, "answer": "unsure", "reviewer": "bob"}),
    )
    assert people(config) == {"ann": [True], "bob": [None]}
    assert done.sentence().startswith("2 answered: 1 relevant, 0 not relevant, 1 unsure")
    again = read_answers(config, written(tmp_path, {**yes, "answer": "not_relevant"}))
    assert people(config)["ann"] == [False]
    assert again.people == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pair": "0" * 32}, "answers.jsonl:2: this pair is not in"),
        ({"answer": "yes"}, "answers.jsonl:2: expected pair, reviewer and an answer out of"),
        ({"answer": None}, "expected pair, reviewer"),
        ({"answer": ["relevant"]}, "expected pair, reviewer"),
        ({"pair": 7}, "expected pair, reviewer"),
        ({"reviewer": "a\tb"}, "a reviewer needs a name"),
        ({"reviewer": None}, "expected pair, reviewer"),
        ({"answer": "not_relevant"}, "this pair has two answers by ann"),
    ],
)
def test_of_a_bad_file_nothing_is_taken(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    config = finished_run(tmp_path)
    good = {"pair": queue_of(config).pairs[0].key, "answer": "relevant", "reviewer": "ann"}
    with pytest.raises(PyriteError, match=says):
        read_answers(config, written(tmp_path, good, {**good, **change}))
    assert people(config) == {}


def test_the_command_writes_and_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = finished_run(tmp_path)
    monkeypatch.setenv("USER", "dora")
    call = ("review", str(tmp_path / "review.yaml"))
    out = tmp_path / "out.html"
    done = in_process(monkeypatch, capfd, *call, "--write", str(out))
    assert done.code == 0
    assert "3 pairs to review, 0 of 3 are answered" in done.out
    data = json.loads(Elements(out.read_text("utf-8")).scripts[0])
    assert (data["reviewer"], len(data["pairs"])) == ("dora", 3)
    assert data["pairs"][0]["judges"]
    before = snapshot(tmp_path)
    again = in_process(monkeypatch, capfd, *call, "--write", str(out))
    assert (again.code, snapshot(tmp_path)) == (2, before)
    assert "is never overwritten" in again.err
    # a sample is blind: the file does not even hold what the judges said
    hidden = tmp_path / "hidden.html"
    assert in_process(monkeypatch, capfd, *call, "--sample", "6", "--write", str(hidden)).code == 0
    assert "torn about it" not in hidden.read_text("utf-8")
    lines = [
        {"pair": pair.key, "answer": "not_relevant", "reviewer": name}
        for pair in queue_of(config).pairs
        for name in ("ann", "bob")
    ]
    read = in_process(monkeypatch, capfd, *call, "--read", str(written(tmp_path, *lines)))
    assert read.code == 0
    assert "6 answered: 0 relevant, 6 not relevant, 0 unsure" in read.out
    assert "agreement" in read.out
    empty = in_process(monkeypatch, capfd, *call)
    assert empty.code == 2
    assert "nothing to review: 3 pairs, 3 of them answered; --all takes" in empty.err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--all", "--sample", "3"), "--all with --sample"),
        (("--sample", "0"), "--sample=0"),
        (("--most", "0"), "--most=0"),
        (("--reviewer", ""), "--reviewer=''"),
        (("--port", "70000"), "--port=70000"),
        (("--port", "-1"), "--port=-1"),
        (("--write", "a.html", "--read", "b"), "--write with --read"),
        (("--read", "nope.jsonl"), "nope.jsonl: no such file of answers"),
    ],
)
def test_mistakes_of_the_command_are_one_sentence(
    flags: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    finished_run(tmp_path)
    monkeypatch.setenv("USER", "ann")
    done = in_process(monkeypatch, capfd, "review", str(tmp_path / "review.yaml"), *flags)
    assert (done.code, len(done.errors)) == (2, 1)
    assert says in done.errors[0]
