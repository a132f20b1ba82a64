"""A sentence for every reason, also for those that a toy run does not have."""

from __future__ import annotations

import pytest

from pyrite.core.candidates import Reason
from pyrite.miner.filters import FilterConfig
from pyrite.trainers.run_report.why import Explainer, copies

FILTERS = FilterConfig(
    margin=0.1,
    percent=0.9,
    max_score=0.7,
    max_per_cluster=3,
    near_positive=0.97,
    near_text=0.8,
)
PAIR = ("q", "d")


def why(reasons: Reason, explainer: Explainer | None = None, copy_of: str = "") -> list[str]:
    return (explainer or Explainer(FILTERS)).why(int(reasons), 0.75, 0.8, PAIR, copy_of)


@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.PAD])
def test_each_reason_has_one_sentence_of_its_own(reason: Reason) -> None:
    [sentence] = why(reason)
    others = {text for other in Reason if other not in (reason, Reason.PAD) for text in why(other)}
    assert sentence not in others
    assert why(Reason.PAD) == []


def test_sentences_hold_the_limits_and_the_numbers() -> None:
    [margin, percent, score] = why(Reason.MARGIN | Reason.PERCENT | Reason.MAX_SCORE)
    assert margin == "margin: 0.7500 is not below 0.7000, the positive's 0.8000 less 0.1"
    assert percent == "percent: 0.7500 is not below 0.7200, the positive's 0.8000 less 10%"
    assert score == "max_score: 0.7500 is not below 0.7000"
    kept = Explainer(FILTERS.model_copy(update={"ties": "keep"}))
    assert "is not at most 0.7000" in why(Reason.MARGIN, kept)[0]
    assert "3 candidates" in why(Reason.CLUSTER)[0]
    near = why(Reason.NEAR_DUPLICATE)[0]
    assert "positive of 0.97 or a Jaccard similarity of words of 0.8" in near


def test_a_cross_encoder_is_quoted_where_it_has_read_the_pair() -> None:
    read = Explainer(FILTERS, denoised={PAIR: 0.25}, threshold=0.1)
    assert why(Reason.DENOISED, read) == ["cross-encoder: 0.2500 is not below 0.1000"]
    for unread in ({}, {PAIR: float("nan")}):
        [sentence] = why(Reason.DENOISED, Explainer(FILTERS, denoised=unread, threshold=0.1))
        assert "not among the first 50" in sentence


def test_a_copy_names_the_first_that_has_its_text() -> None:
    texts = ["a  B", "q", "c", "A b", "p", "d"]
    found = copies("Q", [("p1", "P"), ("p2", "p")], texts)
    assert found == ["", "the query", "", "candidate 1", "the positive p1", ""]
    assert why(Reason.DUPLICATE, copy_of=found[3]) == ["same text as candidate 1"]
    assert why(Reason.SAME_TEXT, copy_of=found[4]) == ["same text as the positive p1"]
