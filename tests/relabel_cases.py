"""Rows whose documents say what they are, and judges that read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyrite.miner.relabel.case import UNKNOWN, Case, Judgement, Verdict, VsTruth
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.training_row import Doc, TrainingRow

CLEAN = Verdict(False, "na")
BETTER, EQUAL, WORSE = (Verdict(True, how) for how in ("better", "equal", "worse"))
WORDS: dict[str, Verdict] = {
    "clean": CLEAN,
    "better": BETTER,
    "equal": EQUAL,
    "worse": WORSE,
    "unsure": Verdict(None, None, 0.5),
}


def rows_of(*texts: str) -> list[TrainingRow]:
    """A row for each text: its words are the texts of the negatives, in order."""
    return [
        TrainingRow(
            line,
            f"q{line}",
            f"query {line}",
            (Doc(f"p{line}", "", f"the positive {line}"),),
            tuple(Doc(f"d{line}.{at}", "", word) for at, word in enumerate(text.split())),
        )
        for line, text in enumerate(texts, start=1)
    ]


def reader(at: int = 0, label: str = "reader") -> ScriptedJudge:
    """Reads its verdict out of the document: the part number `at` between slashes, or the last.

    `!state` makes the whole reply that state.
    """

    def answer(case: Case) -> Sequence[Verdict] | Judgement:
        words = [doc.text.split("/")[min(at, doc.text.count("/"))] for doc in case.documents]
        failed = next((word[1:] for word in words if word.startswith("!")), None)
        if failed is not None:
            return Judgement(failed, (UNKNOWN,) * len(words), 10, 1, 3)  # type: ignore[arg-type]
        return [WORDS[word] for word in words]

    return ScriptedJudge(answer, label)


def asked(judge: ScriptedJudge) -> list[list[str]]:
    return [[doc.text for doc in case.documents] for case in judge.asked]


Answer = Callable[[Case], Sequence[Verdict] | Judgement]
__all__ = ["BETTER", "CLEAN", "EQUAL", "WORSE", "VsTruth", "asked", "reader", "rows_of"]


def nothing(case: Case) -> list[Verdict]:
    """Calls every document clean."""
    return [CLEAN] * len(case.documents)


def first_false(case: Case) -> list[Verdict]:
    """Calls the documents that say `first` false negatives."""
    return [BETTER if "first" in doc.text else CLEAN for doc in case.documents]
