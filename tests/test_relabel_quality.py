from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from cli_setup import in_process
from relabel_cases import CLEAN, reader, rows_of

from pyrite import RelabelConfig
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.case import Case, Judgement, Verdict
from pyrite.miner.relabel.human_labels import read_human
from pyrite.miner.relabel.judges.embedding import EmbeddingConfig, EmbeddingJudge
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.relabel.quality import false_negative_rate, sample_pairs, wilson
from pyrite.miner.training_row import Doc, TrainingRow


def config(**changes: object) -> RelabelConfig:
    stage = {"judge": "scripted", "scripted": {"function": "x:y"}}
    return parse_config(RelabelConfig, {"data": {"path": "f"}, "stages": [stage], **changes})


def test_a_sample_is_uniform_repeats_nothing_and_depends_on_the_seed_alone() -> None:
    rows = rows_of(*["a b c d"] * 50, "", "e")
    counts = np.zeros(201)
    places = [(r.line, at) for r in rows for at in range(1, len(r.negatives) + 1)]
    names = {f"line {line}, negative {at}": number for number, (line, at) in enumerate(places)}
    for seed in range(200):
        pairs, cases = sample_pairs(rows, 20, seed)
        assert (pairs, len(cases), len({c.row for c in cases})) == (201, 20, 20)
        for case in cases:
            counts[names[case.row]] += 1
    # 200 x 20 draws of 201 pairs: 19.9 each, +- 5 standard deviations
    assert counts.min() > 0
    assert abs(counts - 4000 / 201).max() < 5 * np.sqrt(20)
    assert sample_pairs(rows, 20, 7) == sample_pairs(iter(rows), 20, 7)
    assert len(sample_pairs(rows, 1000)[1]) == 201


def test_pairs_that_nobody_can_judge_are_not_in_the_sample() -> None:
    good, gone = Doc("p", "", "x"), Doc("d", "", "", known=False)
    rows = [
        TrainingRow(1, None, "q", (), (good,)),
        TrainingRow(2, None, "q", (good,), (gone, good)),
        TrainingRow(3, None, "q", (good,), (good,), known=False),
    ]
    pairs, cases = sample_pairs(rows, 9)
    assert (pairs, [c.row for c in cases]) == (1, ["line 2, negative 2"])
    with pytest.raises(PyriteError, match="nothing to judge"):
        false_negative_rate(rows[:1], config(), 9, reader())


def test_the_rate_counts_what_has_a_verdict() -> None:
    rows = rows_of(*["better"] * 10, *["clean"] * 20, *["worse"] * 5, *["unsure"] * 5)
    found = false_negative_rate(rows, config(), 400, reader())
    assert (found.false, found.decided, found.unknown) == (10, 35, {"abstained": 5})
    assert found.share == pytest.approx(10 / 35)
    assert "10 of 35 sampled negatives are false, 28.6%" in found.sentence()
    assert "5 without a verdict" in found.sentence()
    wider = false_negative_rate(rows, config(counted="relevant"), 400, reader())
    assert wider.false == 15
    none = false_negative_rate(rows_of("!refused"), config(), 9, reader())
    assert (none.share, none.ci95, none.unknown) == (None, None, {"refused": 1})


def test_wilson_s_interval_covers_the_truth_about_19_times_in_20() -> None:
    for share in (0.02, 0.1, 0.4):
        drawn = np.random.default_rng(0).binomial(200, share, 4000)
        bounds = {n: wilson(n, 200) for n in set(drawn.tolist())}
        covered = np.mean([bounds[n][0] <= share <= bounds[n][1] for n in drawn.tolist()])
        assert 0.92 < covered < 0.98
    # by its closed form, z = 1.96
    assert wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-5)
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)


def test_a_judge_that_stops_gives_no_rate() -> None:
    class Stopping(ScriptedJudge):
        @property
        def stopped(self) -> str:
            return "max_calls=1"

    judge = Stopping(lambda case: [CLEAN])
    with pytest.raises(PyriteError, match=r"stopped at max_calls=1: 3 of 3 .*what is judged"):
        false_negative_rate(rows_of("a b c"), config(), 9, judge)


def test_audit_judges_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train: it's.jsonl"
    record = {"query": "q", "pos": ["p"], "neg": ["first", "second"]}
    lines = [json.dumps({**record, "query": f"q{at}"}) for at in range(6)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    stages = [
        {"judge": "duplicates"},
        {"judge": "scripted", "scripted": {"function": "relabel_cases:first_false"}},
    ]
    judge = tmp_path / "judge.yaml"
    judge.write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    given = ["audit", str(path), "--judge", str(judge), "--sample", "99"]
    outcome = in_process(monkeypatch, capfd, *given, "--json")
    found = json.loads(outcome.out)["judged"]
    assert (found["false"], found["decided"], found["pairs"]) == (6, 12, 12)
    assert found["ci95"] == pytest.approx(wilson(6, 12))
    outcome = in_process(monkeypatch, capfd, *given)
    assert "6 of 12 sampled negatives are false, 50.0%" in outcome.out


class Axes:
    """A vector by the first word of a text."""

    dimension = 2
    fingerprint = "axes"
    vectors: ClassVar = {"up": (0.0, 1.0), "right": (1.0, 0.0), "between": (0.6, 0.8)}

    def lengths(self, texts: list[str], role: str) -> np.ndarray:
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        return np.array([self.vectors[t.split()[0]] for t in texts], dtype=np.float32)

    encode_documents = encode_queries


def test_the_embedding_judge_compares_with_the_lowest_positive() -> None:
    truths = (Doc(None, "", "up"), Doc(None, "", "between"))
    documents = tuple(Doc(None, "", word) for word in ("up", "between", "right", "between again"))
    settings = EmbeddingConfig(bias=-0.4, temperature=0.2, low=0.3, high=0.95)
    judge = EmbeddingJudge(Axes(), settings)  # type: ignore[arg-type]
    ((_, found),) = judge.judge([Case("1", "up", truths, documents)])
    logistic = [1 / (1 + np.exp(-(s - 0.8 + 0.4) / 0.2)) for s in (1.0, 0.8, 0.0, 0.8)]
    assert [v.probability for v in found.verdicts] == pytest.approx(logistic)
    assert [v.relevant for v in found.verdicts] == [True, None, False, None]
    absolute = EmbeddingJudge(Axes(), settings.model_copy(update={"relative": False}))  # type: ignore[arg-type]
    ((_, plain),) = absolute.judge([Case("1", "up", truths, documents)])
    assert plain.verdicts[2].probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert judge.key != absolute.key


def test_the_embedding_judge_gives_the_same_in_any_company() -> None:
    judge = EmbeddingJudge(Axes(), EmbeddingConfig())  # type: ignore[arg-type]
    doc = Doc(None, "", "between")
    cases = [Case(str(i), w, (doc,), (doc,) * (i % 3)) for i, w in enumerate(["up", "right"] * 70)]
    together = dict((case.row, found) for case, found in judge.judge(cases))
    for case in cases:
        assert next(iter(judge.judge([case])))[1] == together[case.row]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q\td\t1\nq\td\t0\n", ":2: .* both 0 and 1"),
        ("q\td\t1\nq\td\n", ":2: expected query_id"),
        ("a\tb\tc\n", "no labels"),
        ("q\td\t2\nq\td\t2\n", ":2: expected query_id"),
    ],
)
def test_a_malformed_file_of_labels(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "human.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PyriteError, match=says):
        read_human(path)


def test_labels_may_have_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "human.tsv"
    path.write_text("query_id\tdoc_id\tlabel\nq\td\t1\nq\te\t0\n", encoding="utf-8")
    assert read_human(path) == {("q", "d"): True, ("q", "e"): False}
    path.write_text("q\td\t1\n", encoding="utf-8")
    assert read_human(path) == {("q", "d"): True}


def test_judgements_of_a_state_keep_it() -> None:
    reply = Judgement("truncated", (Verdict(None),))
    judge = ScriptedJudge(lambda case: reply)
    assert false_negative_rate(rows_of("a"), config(), 1, judge).unknown == {"truncated": 1}
