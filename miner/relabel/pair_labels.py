"""Which pairs of a training file are known to be relevant or not, to fit probabilities on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Literal, get_args

import numpy as np

from ...core.digest import u64
from ...core.errors import PyriteError
from ...core.rng import combine, stream
from ...core.text import normalise
from ..training_row import TrainingRow
from .case import Case, Verdict
from .ruling import Counted, is_false_negative
from .verdict_store import pair_keys

Source = Literal["human", "stored", "positives"]
SOURCES: tuple[Source, ...] = get_args(Source)
_SAMPLE, _HIDE = 53, 59


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """A case whose documents have labels, in order: True for relevant."""

    case: Case
    labels: tuple[bool, ...]


Label = Callable[[TrainingRow, Case], Sequence[bool | None]]


def labelled_by(rows: Iterable[TrainingRow], label: Label) -> Iterator[LabelledCase]:
    """The negatives of each row that `label` has a label for, beside the row's positives."""
    for row in rows:
        case = _case(row)
        if case is None:
            continue
        labels = label(row, case)
        known = [at for at, found in enumerate(labels) if found is not None]
        if known:
            documents = tuple(case.documents[at] for at in known)
            yield LabelledCase(
                replace(case, documents=documents), tuple(bool(labels[at]) for at in known)
            )


def by_people(
    file: Mapping[tuple[str, str], bool], people: Mapping[str, Verdict], counted: Counted
) -> Label:
    """Labels of persons: of a `file` by ids, else those of `people` in the store, by pair."""

    def label(row: TrainingRow, case: Case) -> list[bool | None]:
        found = []
        for doc, key in zip(case.documents, pair_keys(case), strict=True):
            said = file.get((row.query_id or "", doc.id or "")) if row.query_id else None
            if said is None and key in people:
                said = is_false_negative(people[key], counted)
            found.append(said)
        return found

    return label


def by_verdicts(verdicts: Callable[[Case], Sequence[Verdict | None]], counted: Counted) -> Label:
    """Labels of a judge, as far as `verdicts` has some."""

    def label(row: TrainingRow, case: Case) -> list[bool | None]:
        return [None if v is None else is_false_negative(v, counted) for v in verdicts(case)]

    return label


def hidden_positives(rows: Iterable[TrainingRow], seed: int) -> Iterator[LabelledCase]:
    """One positive of each row that has several of different texts, hidden among its negatives.

    It is drawn by `seed` and counts as relevant, the negatives do not, though nobody has judged
    them; copies of the hidden one are left out.
    """
    root = stream(seed, 0, _HIDE)
    for row in rows:
        case = _case(row)
        if case is None:
            continue
        texts = [normalise(doc.full) for doc in case.truths]
        if len(set(texts)) < 2:
            continue
        key = combine(root, np.asarray(u64(_name(row)), dtype=np.uint64))
        hidden = int(key % np.uint64(len(texts)))
        truths = (d for d, text in zip(case.truths, texts, strict=True) if text != texts[hidden])
        others = (d for d in case.documents if normalise(d.full) != texts[hidden])
        documents = (case.truths[hidden], *others)
        labels = (True, *(False for _ in documents[1:]))
        yield LabelledCase(replace(case, truths=tuple(truths), documents=documents), labels)


def sampled(cases: Iterable[LabelledCase], count: int, seed: int) -> tuple[int, list[LabelledCase]]:
    """How many cases there are, and `count` of them at most, in their order.

    Kept are those with the smallest hashes of name and query.
    """
    root, seen = stream(seed, 0, _SAMPLE), 0

    def keys() -> Iterator[tuple[int, int, LabelledCase]]:
        nonlocal seen
        for at, found in enumerate(cases):
            seen += 1
            name = u64(f"{found.case.row}\0{found.case.query}")
            yield int(combine(root, np.asarray(name, dtype=np.uint64))), at, found

    kept = nsmallest(count, keys(), key=lambda entry: entry[:2])
    return seen, [found for _, _, found in sorted(kept, key=lambda entry: entry[1])]


def source_of(name: str) -> Source:
    """The source called `name`; raises PyriteError, with all names, if there is none."""
    for source in SOURCES:
        if source == name:
            return source
    raise PyriteError(f"--labels {name}: no such labels; name one of {', '.join(SOURCES)}")


def _case(row: TrainingRow) -> Case | None:
    """The row's known texts; None without a query, a positive or a negative."""
    truths = tuple(doc for doc in row.positives if doc.known)
    documents = tuple(doc for doc in row.negatives if doc.known)
    known = row.known and truths and documents
    return Case(f"line {row.line}", row.query, truths, documents) if known else None


def _name(row: TrainingRow) -> str:
    return f"{row.line}\0{row.query}"
