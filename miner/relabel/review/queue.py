"""Which pairs a reviewer is shown, and in which order."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ....core.errors import PyriteError
from ....core.rng import combine, stream
from ...training_row import TrainingRow
from ..case import Case, Verdict
from ..verdict_store import VerdictStore
from .finished import Finished, Note
from .pair import Opinion, ReviewPair
from .reviewer import reviewer_name

_PURPOSE = 47
_NOT_ASKED = ("no_text", "no_positives")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is reviewed, and by whom.

    Without `every` and `sample`: what the run left undecided. `sample`: so many random pairs, the
    same for the same seed whoever asks. `most` bounds the pairs of one sitting.
    """

    reviewer: str
    every: bool = False
    sample: int | None = None
    most: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every and self.sample is not None:
            raise PyriteError("--all with --sample: all pairs or some of them; leave one out")
        reviewer_name(self.reviewer, "--reviewer")
        for name, value in (("--sample", self.sample), ("--most", self.most)):
            if value is not None and value < 1:
                raise PyriteError(f"{name}={value}: must be at least 1")

    @property
    def shared(self) -> bool:
        """Whether one person's decision spares the others the pair."""
        return not self.every and self.sample is None


@dataclass(frozen=True, slots=True)
class Queue:
    """The pairs of a sitting, in order; `answered` of all `pairs` to review are done already."""

    pairs: tuple[ReviewPair, ...]
    answered: int
    all: int

    @property
    def left_for_later(self) -> int:
        return self.all - self.answered - len(self.pairs)


def queue(finished: Finished, store: VerdictStore, choice: Choice) -> Queue:
    """The undecided pairs, the most doubtful first; a sample is in random order.

    Answered pairs are left out: those that anybody decided, but of a sample or of all pairs only
    those that the reviewer answered, so that people can be compared. Memory: at most `most` pairs
    with their texts, or the sample.
    """
    said = store.said_by_people()
    own = {pair for name, pair, _ in said if name == choice.reviewer}
    if choice.sample is not None:
        drawn = _smallest(_pairs(finished, store, False), choice.sample, _random(choice.seed))
        pairs = _distinct(drawn)
        left = [pair for pair in pairs if pair.key not in own]
        return Queue(tuple(left[: choice.most]), len(pairs) - len(left), len(pairs))
    anybodys = {pair for _, pair, verdict in said if verdict.relevant is not None}
    done = own | anybodys if choice.shared else own
    seen: Counter[bool] = Counter()

    def still_open() -> Iterator[ReviewPair]:
        for pair in _pairs(finished, store, choice.shared):
            is_done = pair.key in done
            seen[is_done] += 1
            if not is_done:
                yield pair

    drawn = _smallest(still_open(), choice.most, _doubtful)
    found = _distinct(drawn)
    # one answer does for all that are equal
    return Queue(tuple(found), seen[True], seen.total() - len(drawn) + len(found))


def _is_undecided(note: Note) -> bool:
    return note.get("state") == "unknown" and note.get("unknown") not in _NOT_ASKED


def _pairs(finished: Finished, store: VerdictStore, undecided: bool) -> Iterator[ReviewPair]:
    """The pairs that a judge could be asked about, all or those without a verdict."""
    for number, row, notes in finished.rows():
        if not row.known or not any(doc.known for doc in row.positives):
            continue
        places = [at for at, doc in enumerate(row.negatives) if doc.known]
        if undecided:
            places = [at for at in places if _is_undecided(notes.get(at + 1, {}))]
        if places:
            yield from _of_row(finished, store, number, row, places, notes)


def _of_row(
    finished: Finished,
    store: VerdictStore,
    number: int,
    row: TrainingRow,
    places: list[int],
    notes: dict[int, Note],
) -> Iterator[ReviewPair]:
    truths = tuple(doc for doc in row.positives if doc.known)
    whole = Case("", row.query, truths, tuple(row.negatives[at] for at in places))
    said = [(label, store.get(key, whole)) for label, key in finished.judges]
    for nth, at in enumerate(places):
        note = notes.get(at + 1, {})
        stored = ((label, verdicts[nth]) for label, verdicts in said)
        opinions = [Opinion(label, verdict) for label, verdict in stored if verdict is not None]
        # judges without a store are known by the note of the pair alone
        stage = note.get("stage")
        if any(label == stage for label, _ in said) and all(o.judge != stage for o in opinions):
            opinions.append(Opinion(str(stage), _noted(note)))
        case = Case("", row.query, truths, (row.negatives[at],))
        unknown = note.get("unknown", "") if note.get("state") == "unknown" else ""
        yield ReviewPair(case, number, at + 1, row.query_id, tuple(opinions), unknown)


def _noted(note: Note) -> Verdict:
    relevant = True if note["state"] == "false_negative" else None
    return Verdict(relevant, note.get("vs_truth"), note.get("probability"), note.get("why", ""))


def _doubtful(pair: ReviewPair) -> float:
    return -pair.doubt


def _random(seed: int) -> Callable[[ReviewPair], float]:
    root = stream(seed, 0, _PURPOSE)

    def key(pair: ReviewPair) -> float:
        row, place = (np.asarray(at, dtype=np.uint64) for at in (pair.row, pair.negative))
        return int(combine(combine(root, row), place))

    return key


def _smallest(
    pairs: Iterator[ReviewPair], most: int, key: Callable[[ReviewPair], float]
) -> list[ReviewPair]:
    return heapq.nsmallest(most, pairs, key=lambda pair: (key(pair), pair.row, pair.negative))


def _distinct(pairs: list[ReviewPair]) -> list[ReviewPair]:
    """The same texts may stand in several rows: one answer is enough."""
    return list({pair.key: pair for pair in reversed(pairs)}.values())[::-1]
