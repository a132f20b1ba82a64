"""`pyrite calibrate`: labels of three kinds, the file that it writes, and judges that use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_setup import in_process
from relabel_cases import rows_of
from test_relabel_judges import Lengths
from tiny_model import tiny_cross_encoder, tiny_model

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.build import built
from pyrite.miner.relabel.calibrate import Calibrated, calibrate
from pyrite.miner.relabel.calibration_report import reliability_table, sentences
from pyrite.miner.relabel.case import Case, Judgement, Verdict
from pyrite.miner.relabel.config import RelabelConfig
from pyrite.miner.relabel.judges.config import CrossConfig
from pyrite.miner.relabel.judges.cross import CrossAnswerer
from pyrite.miner.relabel.judges.embedding import EmbeddingConfig, EmbeddingJudge
from pyrite.miner.relabel.paid_store import STORE
from pyrite.miner.relabel.pair_labels import (
    LabelledCase,
    by_people,
    by_verdicts,
    hidden_positives,
    labelled_by,
    sampled,
)
from pyrite.miner.relabel.platt import F64, Platt
from pyrite.miner.relabel.quality import false_negative_rate
from pyrite.miner.relabel.verdict_store import VerdictStore, human_key, pair_keys
from pyrite.miner.training_file import open_training_file
from pyrite.miner.training_row import Doc, TrainingRow

ROWS, NEGATIVES = 60, 4


class Spelled:
    """A judge whose raw score is the number that a document's text ends with."""

    label, scores_key, platt = "spelled", "spelled-1", Platt(0.0, 1.0)

    def __init__(self) -> None:
        self.asked: list[Case] = []

    def raw_scores(self, cases: Iterable[Case]) -> Iterator[tuple[Case, F64]]:
        for case in cases:
            self.asked.append(case)
            yield case, np.array([float(doc.text.split()[-1]) for doc in case.documents])


def true_label(row: int, at: int, score: float) -> bool:
    """Relevant by a coin that the score weighs: sigmoid((s - 1) / 0.5)."""
    chance = 1 / (1 + np.exp(-(score - 1) / 0.5))
    return bool(np.random.default_rng(row * 100 + at).random() < chance)


def score_of(row: int, at: int) -> float:
    return round(float(np.random.default_rng(row * 7919 + at).normal(1.0, 1.0)), 3)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A training file whose documents say their scores."""
    flag = [
        {
            "query": f"query {row}",
            "pos": [f"positive {row} of high score 2.5", f"another {row} of score 1.5"],
            "neg": [f"document {row}.{at} {score_of(row, at)}" for at in range(NEGATIVES)],
        }
        for row in range(ROWS)
    ]
    lines = "".join(json.dumps(record) + "\n" for record in flag)
    (tmp_path / "train.jsonl").write_text(lines, "utf-8")
    return tmp_path


def config_of(home: Path, *stages: dict[str, Any], **changes: Any) -> RelabelConfig:
    fields = {
        "runs_dir": str(home / "runs"),
        "cache_dir": str(home / "cache"),
        "data": {"path": str(home / "train.jsonl")},
        "stages": [*stages] or [{"judge": "cross-encoder"}],
        **changes,
    }
    return parse_config(RelabelConfig, fields)


def say(home: Path, key: str = human_key("ann"), rows: int = ROWS) -> None:
    """Put verdicts on the negatives of the first rows into the store."""
    with VerdictStore(home / "cache" / STORE) as store:
        for row in range(rows):
            texts = (f"positive {row} of high score 2.5", f"another {row} of score 1.5")
            truths = tuple(Doc(None, "", text) for text in texts)
            scores = [score_of(row, at) for at in range(NEGATIVES)]
            documents = (Doc(None, "", f"document {row}.{at} {s}") for at, s in enumerate(scores))
            case = Case("x", f"query {row}", truths, tuple(documents))
            labels = [true_label(row, at, score) for at, score in enumerate(scores)]
            verdicts = tuple(Verdict(label, None if label else "na") for label in labels)
            store.put(key, case, Judgement("ok", verdicts))


def test_a_person_s_labels_give_their_curve(home: Path) -> None:
    say(home)
    judge = Spelled()
    done = calibrate(config_of(home), "human", judge=judge)
    assert done.platt.bias == pytest.approx(1.0, abs=0.25)
    assert done.platt.temperature == pytest.approx(0.5, abs=0.2)
    assert done.after.brier < done.before.brier
    assert done.after.ece < done.before.ece
    data = json.loads(done.path.read_text("utf-8"))
    assert data == json.loads(json.dumps(done.data))
    assert data["relevant"] + data["others"] == ROWS * NEGATIVES
    assert data["queries"] == data["rows"] == ROWS == len(judge.asked)
    assert data["labels"]["source"] == "human"
    assert data["labels"]["given"] == ROWS * NEGATIVES
    first = done.path.read_bytes()
    assert calibrate(config_of(home), "human", judge=Spelled()).path.read_bytes() == first
    shown = "\n".join(sentences(done))
    assert f"stages[0].cross_encoder.calibration: {done.path}" in shown
    assert reliability_table(done).row_count == 10


def test_too_few_labels_are_one_sentence(home: Path) -> None:
    say(home, rows=6)
    with pytest.raises(PyriteError, match=r"too few to fit on: at least 30.*pyrite review"):
        calibrate(config_of(home), "human", judge=Spelled())
    assert not (home / "runs").exists()


def test_hidden_positives_are_told_from_negatives_at_even_odds(home: Path) -> None:
    done = calibrate(config_of(home), "positives", judge=Spelled())
    assert (done.data["relevant"], done.data["others"]) == (ROWS, ROWS * NEGATIVES)
    assert done.data["classes_weigh_the_same"] is True
    assert any("even odds" in sentence for sentence in sentences(done))
    few = calibrate(config_of(home), "positives", sample=40, judge=Spelled())
    assert (few.data["rows"], few.data["rows_with_labels"]) == (40, ROWS)
    assert f"40 of {ROWS} rows with labels were scored" in sentences(few)


def test_stored_verdicts_of_the_last_stage_fit_the_first(home: Path) -> None:
    last = {
        "judge": "cross-encoder",
        "cross_encoder": {
            **{"model": str(tiny_cross_encoder(home / "ce")), "max_length": 32},
            **{"low": 0.5, "high": 0.5},
        },
    }
    first = {"judge": "embedding", "embedding": {"encoder": {"model": "x", "max_length": 32}}}
    config = config_of(home, first, last)
    with pytest.raises(PyriteError, match=r"0 relevant and 0 other.*pyrite audit FILE --judge"):
        calibrate(config, stage=0, judge=Spelled())
    # a random sample, judged pair by pair, is found again
    file = open_training_file(home / "train.jsonl")
    assert false_negative_rate(file.rows(), config, 40).sampled == 40
    with pytest.raises(PyriteError) as error:
        calibrate(config, stage=0, judge=Spelled())
    relevant, others = re.findall(r"(\d+) (?:relevant|other)", str(error.value))
    assert int(relevant) + int(others) == 40
    (home / "cache" / STORE).unlink()
    with built(config_of(home, last), None) as (stages, _):
        trusted = stages[0].judge
    say(home, trusted.key, rows=50)
    judge = Spelled()
    done = calibrate(config, judge=judge, stage=0)
    assert len(judge.asked) == done.data["rows"] == 50
    assert done.data["relevant"] + done.data["others"] == 50 * NEGATIVES
    assert done.data["labels"] == {"source": "stored", "judge": trusted.label, "key": trusted.key}
    assert done.platt.bias == pytest.approx(1.0, abs=0.25)
    with pytest.raises(PyriteError, match=r"stages\[1\].*the one to fit"):
        calibrate(config, stage=1)


def test_labels_by_plain_loops() -> None:
    rows = rows_of("a b c", "d e", "f")
    file = {("q1", "d1.0"): True, ("q1", "d1.2"): False, ("q3", "d3.0"): True}
    whole = list(labelled_by(rows, lambda row, case: [None] * len(case.documents)))
    assert whole == []
    second = Case("", rows[1].query, rows[1].positives, rows[1].negatives)
    worse = {pair_keys(second)[1]: Verdict(True, "worse"), pair_keys(second)[0]: Verdict(None)}
    for counted, label in (("better_or_equal", False), ("relevant", True)):
        found = list(labelled_by(rows, by_people(file, worse, counted)))  # type: ignore[arg-type]
        assert [([d.id for d in f.case.documents], f.labels) for f in found] == [
            (["d1.0", "d1.2"], (True, False)),
            (["d2.1"], (label,)),
            (["d3.0"], (True,)),
        ]
    stored = by_verdicts(
        lambda case: [None, *[Verdict(True)] * (len(case.documents) - 1)], "relevant"
    )
    found = list(labelled_by(rows, stored))
    assert [len(f.labels) for f in found] == [2, 1]


def several(line: int, positives: list[str], negatives: list[str]) -> TrainingRow:
    one, other = (tuple(Doc(None, "", text) for text in texts) for texts in (positives, negatives))
    return TrainingRow(line, None, f"query {line}", one, other)


def test_a_hidden_positive_leaves_no_copy_behind() -> None:
    rows = [
        several(1, ["p"], ["n"]),
        several(2, ["Same text", "same  TEXT"], ["n"]),
        *(several(line, ["p1", "p2", "P1"], ["n", "p1", "p2 "]) for line in range(3, 23)),
    ]
    found = list(hidden_positives(rows, seed=1))
    assert [f.case.row for f in found] == [f"line {line}" for line in range(3, 23)]
    hidden = []
    for one in found:
        texts = [doc.text.strip().lower() for doc in one.case.documents]
        truths = {doc.text.lower() for doc in one.case.truths}
        hidden.append(texts[0])
        assert one.labels == (True, *[False] * (len(texts) - 1))
        assert texts[0] not in truths
        assert texts[0] not in texts[1:]
        assert truths == {"p1", "p2"} - {texts[0]}
        assert set(texts) == {"n", "p1", "p2"}
    assert set(hidden) == {"p1", "p2"}
    assert hidden != [f.case.documents[0].text.lower() for f in hidden_positives(rows, seed=2)]


def test_a_sample_does_not_depend_on_the_order_and_keeps_it() -> None:
    cases = [
        LabelledCase(Case(f"line {at}", "q", (), (Doc(None, "", "t"),)), (True,))
        for at in range(50)
    ]
    seen, found = sampled(cases, 20, seed=3)
    assert (seen, len(found)) == (50, 20)
    assert found == [one for one in cases if one in found]
    _, backwards = sampled(cases[::-1], 20, seed=3)
    assert {one.case.row for one in backwards} == {one.case.row for one in found}
    assert sampled(cases, 99, seed=3) == (50, cases)


def fitted(home: Path, scores: str, bias: float = 5.0, temperature: float = 2.0) -> str:
    path = home / "calibration.json"
    fields = {"schema": 1, "kind": "calibration", "bias": bias, "temperature": temperature}
    path.write_text(json.dumps({**fields, "scores": scores, "judge": "it"}), "utf-8")
    return str(path)


def test_a_cross_encoder_takes_its_numbers_from_the_file(tmp_path: Path) -> None:
    named = CrossConfig(calibration=fitted(tmp_path, "lengths"))
    plain = CrossConfig(bias=5.0, temperature=2.0)
    one, other = (CrossAnswerer(section, "stages[1].x", Lengths()) for section in (named, plain))
    assert one.verdict(6.0) == other.verdict(6.0)
    # what decides is the same, so what is stored is too
    assert one.key == other.key
    refitted = CrossConfig(calibration=fitted(tmp_path, "lengths", temperature=3.0))
    assert CrossAnswerer(refitted, "stages[1].x", Lengths()).key != one.key


def test_an_embedding_judge_takes_its_numbers_from_the_file(tmp_path: Path) -> None:
    from fakes import BagOfWords

    plain = EmbeddingConfig(bias=5.0, temperature=2.0)
    key = EmbeddingJudge(BagOfWords(), plain).scores_key
    named = EmbeddingConfig(calibration=fitted(tmp_path, key))
    assert EmbeddingJudge(BagOfWords(), named).key == EmbeddingJudge(BagOfWords(), plain).key
    absolute = EmbeddingConfig(calibration=fitted(tmp_path, key), relative=False)
    with pytest.raises(PyriteError, match=r"emb\.calibration=.* other weights or settings"):
        EmbeddingJudge(BagOfWords(), absolute, "emb")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file"),
        ("{", "no calibration"),
        ("[1]", "no calibration"),
        ('{"kind": "calibration"}', "no calibration"),
        (
            '{"kind": "calibration", "schema": 1, "bias": 0, "temperature": 0, "scores": "lengths",'
            ' "judge": ""}',
            "no calibration of schema 1",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_named(
    tmp_path: Path, text: str | None, says: str
) -> None:
    path = tmp_path / "c.json"
    if text is not None:
        path.write_text(text, "utf-8")
    section = CrossConfig(calibration=str(path))
    with pytest.raises(PyriteError, match=rf"s\.calibration=.*{says}.*pyrite calibrate"):
        _ = CrossAnswerer(section, "s", Lengths()).platt


def test_the_command_fits_real_vectors_and_relabelling_uses_them(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = np.random.default_rng(0).integers(0, 60, (ROWS, 9))
    rows = []
    for row in words.tolist():
        texts = [" ".join(f"w{word}" for word in row[at : at + 3]) for at in (0, 2, 1, 6)]
        others = [" ".join(f"w{w}" for w in words[at, :3].tolist()) for at in (1, 2, 3)]
        rows.append({"query": texts[0], "pos": texts[1:3], "neg": [texts[3], *others]})
    (home / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    model = str(tiny_model(home / "tiny"))
    stage = {"judge": "embedding", "embedding": {"encoder": {"model": model, "max_length": 32}}}
    path = home / "config.yaml"
    config = config_of(home, stage)
    path.write_text(json.dumps(config.model_dump(mode="json")), "utf-8")
    outcome = in_process(monkeypatch, capfd, "calibrate", str(path), "--labels", "positives")
    assert outcome.code == 0, outcome.err
    file = home / "runs" / "run" / "calibration" / "stage-0.json"
    assert f"stages[0].embedding.calibration: {file}" in outcome.out.replace("\n", "")
    data = json.loads(file.read_text("utf-8"))
    plain = f"{data['relevant']:,} relevant and {data['others']:,} other pairs"
    assert plain in outcome.out
    stage["embedding"]["calibration"] = str(file)  # type: ignore[index]
    with built(config_of(home, stage), None) as (stages, _):
        judge = stages[0].judge
        assert isinstance(judge, EmbeddingJudge)
        assert judge.platt == Platt(data["bias"], data["temperature"])
    # fitting anew does not need the earlier fit to be there
    file.unlink()
    assert isinstance(calibrate(config_of(home, stage), "positives"), Calibrated)
