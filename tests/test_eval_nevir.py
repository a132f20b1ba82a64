from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cli_setup import in_process
from fakes import BagOfWords, SharedWords
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from tiny_model import tiny_cross_encoder, tiny_model

from pyrite.core.errors import PyriteError
from pyrite.eval.measures import F64
from pyrite.eval.nevir import (
    Contrast,
    contrast_scores,
    encoder_scores,
    pair_scorer_scores,
    paired_accuracy,
    read_contrasts,
)

ROWS = [
    {"q1": "which drug helps", "q2": "which drug does not help", "doc1": "a, helps", "doc2": "no"},
    {"q1": "who came", "q2": "who stayed away", "doc1": "Ann came", "doc2": "Ann\nstayed away"},
]
WANTED = [Contrast((r["q1"], r["q2"]), (r["doc1"], r["doc2"])) for r in ROWS]


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as handle:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        # other columns, as the published file has them
        names = ["id", *rows[0]]
        writer = csv.DictWriter(handle, names, delimiter=delimiter, restval="7")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_every_kind_of_file_is_read(tmp_path: Path, suffix: str) -> None:
    assert read_contrasts(write(tmp_path / f"pairs{suffix}", ROWS)) == WANTED


def test_a_long_document_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", [{**ROWS[0], "doc1": "word " * 40_000}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    before = csv.field_size_limit()
    assert len(read_contrasts(path)[0].documents[0]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("pairs.csv", "q1,q2,doc1\na,b,c\n", r"pairs\.csv:2: field 'doc2' is empty or missing"),
        ("pairs.csv", "q1,q2,doc1,doc2\na,b, ,d\n", r":2: field 'doc1' is empty"),
        ("pairs.csv", "q1,q2,doc1,doc2\n", "no rows"),
        ("pairs.tsv", "q1\tq2\tdoc1\tdoc2\na\tb\tc\n", r":2: field 'doc2' is empty or missing"),
        ("pairs.jsonl", '{"q1": "a", "q2": "b", "doc1": "c", "doc2": 4}\n', "field 'doc2'"),
        ("pairs.jsonl", "[]\n", "JSON list"),
        ("pairs.jsonl", "", "no rows"),
        ("pairs.txt", "x", "ends in none of"),
    ],
)
def test_a_malformed_file_is_one_sentence(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PyriteError, match=says):
        read_contrasts(path)


def test_no_utf_8_and_no_file_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"q1,q2,doc1,doc2\n\xff,b,c,d\n")
    with pytest.raises(PyriteError, match="not readable"):
        read_contrasts(path)
    with pytest.raises(PyriteError, match="no such file"):
        read_contrasts(tmp_path / "nowhere.csv")


SHAPES = st.tuples(st.integers(1, 8), st.just(2), st.just(2))


@given(arrays(np.float64, SHAPES, elements=st.integers(0, 2)))
def test_a_row_is_right_if_both_queries_are(scores: F64) -> None:
    found = paired_accuracy(scores, "m")
    right = first = second = ties = 0
    for (q1d1, q1d2), (q2d1, q2d2) in scores.tolist():
        first += q1d1 > q1d2
        second += q2d2 > q2d1
        right += q1d1 > q1d2 and q2d2 > q2d1
        ties += q1d1 == q1d2 or q2d1 == q2d2
    assert (found.correct, found.first, found.second, found.ties) == (right, first, second, ties)
    assert found.accuracy == right / len(scores)
    low, high = found.ci95
    assert 0 <= low <= found.accuracy <= high <= 1
    # the documents the other way round: what was right is wrong
    swapped = paired_accuracy(scores[:, :, ::-1], "m")
    assert swapped.correct <= len(scores) - found.correct


def test_random_scores_are_right_in_a_quarter_of_the_rows() -> None:
    scores = np.random.default_rng(0).normal(size=(20_000, 2, 2))
    found = paired_accuracy(scores, "m")
    assert found.accuracy == pytest.approx(0.25, abs=0.012)
    assert found.as_json()["random"] == 0.25
    wanted = stats.norm.ppf(0.975) * np.sqrt(found.accuracy * (1 - found.accuracy) / 20_000)
    assert np.subtract(*found.ci95[::-1]) / 2 == pytest.approx(wanted, rel=0.01)


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(PyriteError, match="not finite"):
        paired_accuracy(np.array([[[1.0, np.nan], [0.0, 1.0]]]), "m")


def test_scores_stand_where_their_query_and_document_do() -> None:
    def score(queries: Sequence[str], documents: Sequence[str]) -> F64:
        pairs = zip(queries, documents, strict=True)
        return np.array([10 * len(q) + len(d) for q, d in pairs], dtype=np.float64)

    found = contrast_scores([Contrast(("a", "bb"), ("ccc", "dddd"))], score)
    assert found.tolist() == [[[13, 14], [23, 24]]]


def loop(score: Callable[[str, str], float]) -> int:
    return sum(
        score(c.queries[0], c.documents[0]) > score(c.queries[0], c.documents[1])
        and score(c.queries[1], c.documents[1]) > score(c.queries[1], c.documents[0])
        for c in CASES
    )


WORDS = "no not never helps harms came stayed drug Ann water".split()
CASES = [
    Contrast(
        (" ".join(generator.choice(WORDS, 3)), " ".join(generator.choice(WORDS, 4))),
        (" ".join(generator.choice(WORDS, 6)), " ".join(generator.choice(WORDS, 7))),
    )
    for generator in map(np.random.default_rng, range(40))
]


@pytest.mark.parametrize("tokens", [1, 20, 10_000])
def test_an_encoder_is_measured_as_a_loop_would(tokens: int) -> None:
    encoder = BagOfWords()
    found = paired_accuracy(contrast_scores(CASES, encoder_scores(encoder, tokens)), "bow")

    def score(query: str, document: str) -> float:
        left, right = encoder.encode_queries([query])[0], encoder.encode_documents([document])[0]
        return float((left.astype(np.float64) * right.astype(np.float64)).sum())

    assert found.correct == loop(score)
    assert 0 < found.correct < 40


def test_a_cross_encoder_is_measured_as_a_loop_would() -> None:
    scores = pair_scorer_scores(SharedWords(), 50)
    found = paired_accuracy(contrast_scores(CASES, scores), "shared")
    assert found.correct == loop(SharedWords.score)
    assert 0 < found.correct < 40


def test_equal_documents_tie_and_ties_are_wrong() -> None:
    alike = [Contrast(("a b", "not a b"), ("same text", "same text"))]
    for scores in (encoder_scores(BagOfWords(), 100), pair_scorer_scores(SharedWords(), 100)):
        found = paired_accuracy(contrast_scores(alike, scores), "m")
        assert (found.correct, found.ties) == (0, 1)


def test_the_command_prints_a_sentence_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(tmp_path / "tiny")
    config = tmp_path / "config.yaml"
    config.write_text(f"encoder: {{model: {model}, max_length: 32}}\n", encoding="utf-8")
    pairs = str(write(tmp_path / "pairs.csv", ROWS))
    done = in_process(monkeypatch, capfd, "nevir", pairs, "--config", str(config), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["pairs"] == 2
    assert found["model"] == str(model)
    given = ["nevir", pairs, f"encoder={{model: {model}, max_length: 32}}"]
    said = in_process(monkeypatch, capfd, *given)
    assert said.code == 0, said.err
    assert f"{found['correct']} of 2 pairs right" in said.out
    assert "chance is 25%" in said.out
    reader = tiny_cross_encoder(tmp_path / "reader")
    section = f"cross_encoder={{model: {reader}, max_length: 32}}"
    read = in_process(monkeypatch, capfd, "nevir", pairs, section, "--json")
    assert read.code == 0, read.err
    assert json.loads(read.out)["model"] == str(reader)
