"""A pair that a person reads, and the answers that it can get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...training_row import Doc
from ..case import Case, Verdict
from ..verdict_store import pair_keys

Answer = Literal["relevant", "not_relevant", "unsure"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
VERDICTS: dict[Answer, Verdict] = {
    "relevant": Verdict(True),
    "not_relevant": Verdict(False, "na"),
    "unsure": Verdict(None),
}


def answer_of(verdict: Verdict | None) -> Answer | None:
    """What a person answered, from what the store has of it."""
    if verdict is None:
        return None
    if verdict.relevant is None:
        return "unsure"
    return "relevant" if verdict.relevant else "not_relevant"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge said about a pair."""

    judge: str
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """The verdict by name."""
        names = ("relevant", "vs_truth", "probability", "why")
        return {"judge": self.judge, **{name: getattr(self.verdict, name) for name in names}}


@dataclass(frozen=True, slots=True)
class ReviewPair:
    """A query with its positives and one candidate, the only document of `case`.

    `row` and `negative` count from 1; `unknown` says why the cascade has no verdict, "" if it has.
    """

    case: Case
    row: int
    negative: int
    query_id: str | None
    opinions: tuple[Opinion, ...]
    unknown: str = ""

    @property
    def key(self) -> str:
        """The store's name of the pair."""
        return pair_keys(self.case)[0]

    @property
    def doubt(self) -> float:
        """From 0 to 1: 1 where the judges' mean probability is 1/2, or where none said anything."""
        said = [_probability(opinion.verdict) for opinion in self.opinions]
        known = [probability for probability in said if probability is not None]
        return 1 - abs(2 * sum(known) / len(known) - 1) if known else 1.0

    def as_json(self, blind: bool) -> dict[str, Any]:
        """What the page shows; no word of the judges if `blind`."""
        return {
            "pair": self.key,
            "row": self.row,
            "negative": self.negative,
            "query_id": self.query_id,
            "query": self.case.query,
            "positives": [_doc(doc) for doc in self.case.truths],
            "candidate": _doc(self.case.documents[0]),
            "unknown": "" if blind else self.unknown,
            "judges": None if blind else [opinion.as_json() for opinion in self.opinions],
        }


def _probability(verdict: Verdict) -> float | None:
    if verdict.probability is not None or verdict.relevant is None:
        return verdict.probability
    return float(verdict.relevant)


def _doc(doc: Doc) -> dict[str, Any]:
    return {"id": doc.id, "title": doc.title, "text": doc.text}
