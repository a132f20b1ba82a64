"""The report of a run: its numbers against plain loops, and what it says of what is gone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import made_cases
import numpy as np
import pytest
from cli_setup import in_process, snapshot
from report_setup import HISTORY, HOSTILE, config_of, mined, records, texts, whole_run

from pyrite import make
from pyrite.core.candidates import STRUCTURAL, Reason
from pyrite.core.digest import u64
from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest
from pyrite.trainers.refresh_report import age_line
from pyrite.trainers.run_report.mined_rows import Listed, MinedRows, listed_of
from pyrite.trainers.run_report.report import MOST_QUERIES, Reported, report
from pyrite.trainers.run_report.run_folder import RunFolder
from pyrite.trainers.run_report.sample import Card
from pyrite.trainers.run_report.samples import FIRST, cards_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    whole_run(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return folder / "runs" / "hostile"


@pytest.fixture(scope="module")
def done(run: Path) -> Reported:
    return report(run)


def copy_of(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "run")
    return folder / "run"


def cached(run: Path) -> dict[str, np.ndarray]:
    """The candidates in the cache beside the run, and the reasons."""
    manifest = json.loads((run / "negatives" / "manifest.json").read_text("utf-8"))
    key = manifest["inputs"]["candidates"]
    [home] = run.parent.parent.glob(f"cache/candidates/{key}")
    found = {name: np.load(home / f"{name}.npy") for name in ("ids", "scores", "query_rows")}
    return {**found, "reasons": np.load(run / "negatives" / "reasons.npy")}


def opened(run: Path) -> tuple[RunFolder, MinedRows, Listed]:
    found = RunFolder.open(run)
    rows = MinedRows.read(run / "negatives")
    listed = listed_of(found.config, found.manifests["negatives"], run / "negatives", rows)
    assert isinstance(listed, Listed)
    return found, rows, listed


def cards(run: Path, wanted: int = 100) -> list[Card]:
    found, rows, listed = opened(run)
    assert not isinstance(found.texts, str)
    return cards_of(found, rows, found.texts, listed, wanted)


def test_the_numbers_are_those_of_a_plain_count(run: Path, done: Reported) -> None:
    rows, numbers = records(run), done.numbers["mining"]
    ranks = [rank for row in rows for rank in row["ranks"]]
    uses = Counter(name for row in rows for name in row["negative_ids"])
    assert numbers["drawn"] == len(ranks) > 40
    assert numbers["short"] == sum(len(row["ranks"]) < 3 for row in rows) > 0
    ends = {"1": (1, 1), "2": (2, 2), "3-5": (3, 5), "6-10": (6, 10), "11-20": (11, 20)}
    ends |= {"21-50": (21, 50)}
    bins = dict(zip(numbers["ranks"]["bins"], numbers["ranks"]["by_source"]["dense"], strict=True))
    assert sum(bins.values()) == len(ranks)
    for name, found in bins.items():
        low, high = ends[name]
        assert found == sum(low <= rank <= high for rank in ranks)
    assert numbers["uses"]["documents"] == len(uses)
    assert numbers["uses"]["most"] == max(uses.values())
    once = [name for name, times in uses.items() if times == 1]
    assert numbers["uses"]["by_uses"]["1"] == [len(once), len(once)]
    three = [times for times in uses.values() if 3 <= times <= 5]
    assert numbers["uses"]["by_uses"]["3-5"] == [len(three), sum(three)]


def test_the_margin_curve_is_that_of_plain_loops(run: Path, done: Reported) -> None:
    curve, rows, found = done.numbers["margin"], records(run), cached(run)
    drawn, listed = [], []
    for at, row in enumerate(rows):
        drawn += [row["pos_score"] - score for score in row["scores"]]
        for score, reasons in zip(found["scores"][at], found["reasons"][at], strict=True):
            if not int(reasons) & int(STRUCTURAL):
                listed.append(float(row["pos_score"]) - float(score))
    assert curve["negatives"]["count"] == len(drawn)
    assert curve["candidates"]["count"] == len(listed)
    for name, gaps in (("negatives", drawn), ("candidates", listed)):
        for margin, left in list(zip(curve["margins"], curve[name]["left"], strict=True))[1::7]:
            assert left == pytest.approx(sum(gap > margin for gap in gaps) / len(gaps), abs=2e-3)
    assert curve["margins"][0] == 0
    assert curve["marks"]["margin 0.02"] == 0.02
    mean = sum(abs(row["pos_score"]) for row in rows) / len(rows)
    assert curve["marks"]["percent 0.9 (mean)"] == pytest.approx(0.1 * mean, abs=1e-5)


def test_every_candidate_is_said_to_be_what_it_is(run: Path, folder: Path) -> None:
    rows, found, corpus = records(run), cached(run), texts(folder, "corpus")
    names = list(corpus)
    by_query = {row["query_id"]: at for at, row in enumerate(rows)}
    seen: Counter[str] = Counter()
    shown = cards(run)
    assert sorted(card.query_id for card in shown) == sorted(by_query)
    for card in shown:
        at = by_query[card.query_id]
        drawn = rows[at]["negative_ids"]
        ranks = [candidate.rank for candidate in card.candidates]
        assert ranks[:FIRST] == list(range(1, FIRST + 1))
        assert {names[found["ids"][at, rank - 1]] for rank in ranks} >= set(drawn)
        for candidate in card.candidates:
            name = names[found["ids"][at, candidate.rank - 1]]
            reasons = Reason(int(found["reasons"][at, candidate.rank - 1]))
            assert candidate.id == name
            outcome = "rejected" if reasons else ("drawn" if name in drawn else "kept")
            assert candidate.outcome == outcome
            assert len(candidate.why) == max(1, len(list(reasons)))
            seen[outcome] += 1
        rest = 0 if card.rest is None else int(card.rest.caption.split()[0])
        assert rest + len(card.candidates) == int((found["ids"][at] >= 0).sum())
    assert min(seen[name] for name in ("rejected", "drawn", "kept")) > 20


def test_the_reasons_name_the_numbers_that_decided(run: Path, folder: Path) -> None:
    rows, queries = {row["query_id"]: row for row in records(run)}, texts(folder, "queries")
    told: Counter[str] = Counter()
    for card in cards(run):
        positive = rows[card.query_id]["pos_score"]
        limits = {
            "margin": positive - 0.02,
            "percent": positive - 0.1 * abs(positive),
            "max_score": 0.8,
        }
        for candidate in card.candidates:
            for why in candidate.why:
                rule, _, rest = why.partition(": ")
                if rule in limits:
                    score, limit = rest.split(",")[0].split(" is not below ")
                    assert score == candidate.score
                    assert float(limit) == pytest.approx(limits[rule], abs=6e-5)
                    assert float(score) >= float(limit) - 1e-4
                    told[rule] += 1
                told["copy"] += why.startswith("same text as candidate ")
                told["query"] += why == "same text as the query"
                told["positive"] += why.startswith("same text as the positive ")
    assert set(told) == {"margin", "percent", "max_score", "copy", "query", "positive"}
    assert min(told.values()) > 0, told
    assert len(queries) == 24


def test_the_refreshes_are_told_generation_by_generation(done: Reported) -> None:
    found = done.numbers["refresh"]
    first, second, third = found["generations"]
    assert (first["swapped"], first["age"], first["churn"]) == (6, 2, 0.25)
    assert (first["ndcg"], first["false_negatives"], first["adopted"]) == (0.41, 0.125, True)
    assert (second["adopted"], second["reasons"]) == (False, [HOSTILE[0]])
    assert (third["ndcg"], third["churn"], third["swapped"]) == (None, None, 13)
    assert found["age"] == list(zip(*age_line(HISTORY), strict=True))
    assert (found["stalled_seconds"], found["trained_seconds"]) == (0.5, 20.0)
    assert found["mined_seconds"] == 3.75


def test_queries_that_turned_and_what_judges_took(done: Reported, run: Path) -> None:
    turned = done.numbers["training"]["queries_turned"]
    assert turned["in_batch - base"] == {"better": 1, "alike": 1, "worse": 1}
    assert turned["mined - base"] == {"better": 2, "alike": 1, "worse": 0}
    states = done.numbers["relabelling"]["states"]
    assert states["false_negative"] > 3
    assert sum(states.values()) == done.numbers["mining"]["drawn"]
    manifest = Manifest.read(run / "negatives")
    assert manifest is not None
    size = sum(f["bytes"] for f in manifest.data["files"].values())
    assert done.numbers["cost"]["disk"]["negatives"] == size
    assert done.numbers["audit"]["negatives"] == done.numbers["mining"]["drawn"]


def test_the_same_run_gives_the_same_bytes_and_nothing_else_changes(
    run: Path, done: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {k: v for k, v in snapshot(run).items() if "report.html" not in str(k)}
    page = done.path.read_bytes()
    monkeypatch.chdir(tmp_path)
    again = report(run)
    assert again.path == run / "report.html"
    assert again.path.read_bytes() == page
    assert again.as_json() == done.as_json()
    assert {k: v for k, v in snapshot(run).items() if "report.html" not in str(k)} == before
    # a moved run is the same run
    assert report(copy_of(run, tmp_path)).path.read_bytes() == page


def test_fewer_queries_are_some_of_the_same(run: Path) -> None:
    every = [card.query_id for card in cards(run)]
    few = [card.query_id for card in cards(run, 7)]
    assert len(few) == 7
    assert [name for name in every if name in few] == few
    # not the first of the file
    assert few != every[:7]


def test_what_is_missing_is_left_out_and_named(tmp_path: Path) -> None:
    run = mined(tmp_path)
    (run / "eval").mkdir()
    done = report(run, with_audit=False)
    assert list(done.numbers) == ["mining", "margin", "cost"]
    assert [sentence.partition(":")[0] for sentence in done.missing] == [
        "Training",
        "Evaluation",
        "Relabelling",
        "Refreshed negatives",
        "Audit",
    ]
    assert "begun and not finished; pyrite eval" in done.missing[1]
    assert "not there; pyrite train" in done.missing[0]


def test_without_the_cache_it_is_said_that_reasons_are_gone(tmp_path: Path) -> None:
    run = mined(tmp_path)
    whole = report(run)
    shutil.rmtree(tmp_path / "cache" / "candidates")
    done = report(run)
    [sentence] = [s for s in done.missing if s.startswith("Why candidates were rejected")]
    assert "pyrite mine finds them again" in sentence
    assert "candidates" not in done.numbers["margin"]
    assert done.numbers["margin"]["negatives"] == whole.numbers["margin"]["negatives"]
    page = done.path.read_text("utf-8")
    assert 'class="candidates"' not in page
    assert page.count('class="card"') == 24


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_without_its_dataset_a_run_shows_no_texts(tmp_path: Path, how: str) -> None:
    run = mined(tmp_path)
    if how == "gone":
        shutil.rmtree(tmp_path / "data")
    else:
        path = tmp_path / "data" / "queries.jsonl"
        path.write_text(path.read_text("utf-8").replace("w1 ", "w2 "), encoding="utf-8")
    done = report(run)
    said = "cannot be read" if how == "gone" else "was changed"
    sentences = [s for s in done.missing if said in s]
    assert [s.partition(":")[0] for s in sentences] == ["Sampled queries", "Audit"]
    assert 'class="card"' not in done.path.read_text("utf-8")


def test_random_negatives_have_no_list_to_choose_from(tmp_path: Path) -> None:
    run = mined(tmp_path, sampler={"name": "random", "n": 2})
    done = report(run)
    assert any("random documents" in sentence for sentence in done.missing)
    assert done.numbers["mining"]["ranks"]["bins"] == ["no rank"]


def test_a_row_for_each_positive_meets_its_own_candidates(tmp_path: Path) -> None:
    filters = {"percent": 0.9, "positive_score": "each"}
    run = mined(tmp_path, filters=filters)
    rows = {(row["query_id"], row["positive_id"]): row for row in records(run)}
    assert len(rows) > 24
    shown = cards(run)
    assert len(shown) == len(rows)
    drawn = 0
    for card in shown:
        own = card.facts[1].removeprefix("row of the positive ")
        row = rows[card.query_id, own]
        limit = row["pos_score"] - 0.1 * abs(row["pos_score"])
        for candidate in card.candidates:
            assert (candidate.outcome == "drawn") == (candidate.id in row["negative_ids"]), (
                candidate
            )
            drawn += candidate.outcome == "drawn"
            if candidate.outcome != "rejected":
                assert float(candidate.score) < limit + 1e-4
    assert drawn == sum(len(row["negative_ids"]) for row in rows.values())


@pytest.mark.parametrize("method", ["ecdf", "zscore"])
def test_calibrated_scores_are_named_by_their_scale(tmp_path: Path, method: str) -> None:
    filters = {"percent": None, "margin": 0.1, "calibrate": method}
    run = mined(tmp_path, filters=filters)
    said = [why for card in cards(run) for c in card.candidates for why in c.why]
    margins = [why for why in said if why.startswith("margin")]
    assert margins
    if method == "ecdf":
        assert all("the run does not keep" in why for why in margins)
        return
    for why in margins:
        assert why.startswith("margin (zscore): ")
        score, rest = why.removeprefix("margin (zscore): ").split(" is not below ")
        limit, positive = rest.split(", the positive's ")
        assert float(positive.split(" less ")[0]) - 0.1 == pytest.approx(float(limit), abs=2e-4)
        assert float(score) >= float(limit) - 2e-4


def test_negatives_of_an_earlier_version_have_no_score_plot(tmp_path: Path) -> None:
    run = mined(tmp_path)
    path = run / "negatives" / "manifest.json"
    data = json.loads(path.read_text("utf-8"))
    del data["score_range"]
    path.write_text(json.dumps(data), encoding="utf-8")
    page = report(run).path.read_text("utf-8")
    assert "The score distributions are left out" in page
    assert "Scores of query and document" not in page


def test_a_changed_file_is_refused(run: Path, tmp_path: Path) -> None:
    copy = copy_of(run, tmp_path)
    with (copy / "negatives" / "reasons.npy").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(PyriteError, match=r"reasons.npy was changed .* pyrite mine again"):
        report(copy)


@pytest.mark.parametrize("queries", [-1, MOST_QUERIES + 1])
def test_too_many_queries_are_refused(run: Path, queries: int) -> None:
    with pytest.raises(PyriteError, match="from 0 to 2000 fit"):
        report(run, queries)


def test_a_run_that_only_refreshes_is_shown(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "refresh", tmp_path / "in-training" / "refresh")
    done = report(tmp_path / "in-training")
    assert list(done.numbers) == ["refresh", "cost"]
    assert "<bdi>in-training</bdi>" in done.path.read_text("utf-8")


def test_the_command_prints_numbers_or_what_it_left_out(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    call = (monkeypatch, capfd, "report", str(run), "--no-audit", "--queries=3")
    outcome = in_process(*call)
    assert (outcome.code, outcome.errors) == (0, [])
    assert outcome.out.splitlines()[-1] == f"wrote {run / 'report.html'}"
    assert "left out: Evaluation: not there; pyrite eval makes it." in outcome.out
    printed: dict[str, Any] = json.loads(in_process(*call, "--json").out)
    assert printed["mining"]["drawn"] == report(run).numbers["mining"]["drawn"]
    assert printed["missing"][-1] == "Audit: left out by --no-audit."


def test_the_configuration_is_the_one_that_mined(tmp_path: Path) -> None:
    run = mined(tmp_path)
    assert RunFolder.open(run).config == config_of(tmp_path)


def test_made_texts_are_counted_and_shown(tmp_path: Path) -> None:
    made = make(made_cases.config(tmp_path))
    done = report(tmp_path / "runs" / "toy")
    assert list(done.numbers) == ["made", "cost"]
    found = done.numbers["made"]
    assert found == {**made.report, "spent": made.spent}
    page = done.path.read_text("utf-8")
    rows = made_cases.lines(tmp_path)
    assert f"{len(rows):,} of {found['written']:,} written" in page
    shown = [row for row in rows if row["text"] in page]
    assert 0 < len(shown) == min(50, len(rows))
    assert "passed by made_cases:judge" in page
    few = report(tmp_path / "runs" / "toy", queries=2).path.read_text("utf-8")
    by_hash = sorted(rows, key=lambda r: u64(f"{r['anchor']}\0{r['id']}", salt="report"))
    assert [r for r in rows if r["text"] in few] == [r for r in rows if r in by_hash[:2]]
    # a run without them is not asked for them
    assert not any(sentence.startswith("Made") for sentence in done.missing)
