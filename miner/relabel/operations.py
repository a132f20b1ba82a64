"""What is done to a row once its false negatives are known: pure functions, nothing is changed.

RLHN (arXiv 2505.16967): a false negative becomes a positive, goes, or takes its row along; a row
with more than `k` of them is dropped, because its query asks for too much or its judge is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..text_keys import doc_keys
from ..training_row import Doc, TrainingRow

Operation = Literal["relabel", "remove_negative", "remove_row", "weight"]
Dropped = Literal["", "has_false_negative", "too_many", "emptied"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Places of a row's negatives, ascending, that stay, that become positives, and that go.

    `copies` are false negatives that the positives hold already, so they go as well. `dropped`
    says why the whole row goes; the places are those of a row that does not go.
    """

    keep: tuple[int, ...]
    promoted: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    dropped: Dropped = ""

    @property
    def changes(self) -> bool:
        """Whether the row is not as it was."""
        return bool(self.dropped or self.promoted or self.copies or self.removed)


def edit_of(
    row: TrainingRow,
    operation: Operation,
    false: Sequence[int],
    unwanted: Sequence[int] = (),
    k: int = 7,
    may_be_empty: bool = False,
) -> Edit:
    """What to do with a row whose negatives at the places `false` are false.

    Those at `unwanted` are removed whatever the operation but `weight`, which removes nothing. More
    than `k` false negatives drop the row (`relabel`, `remove_negative`), any does for `remove_row`.
    A row that loses its last negative is dropped unless it `may_be_empty`.
    """
    places = range(len(row.negatives))
    found, gone = set(false), set(unwanted) - set(false)
    if operation == "weight":
        return Edit(tuple(places))
    if operation == "remove_row" and found:
        return Edit(tuple(places), dropped="has_false_negative")
    if len(found) > k:
        return Edit(tuple(places), dropped="too_many")
    promoted, copies = _new_positives(row, sorted(found)) if operation == "relabel" else ([], [])
    keep = tuple(at for at in places if at not in found | gone)
    removed = sorted(gone | (found - set(promoted) - set(copies)))
    emptied = bool(row.negatives) and not keep and not may_be_empty
    return Edit(keep, tuple(promoted), tuple(copies), tuple(removed), "emptied" if emptied else "")


def _new_positives(row: TrainingRow, false: Sequence[int]) -> tuple[list[int], list[int]]:
    """Those that no positive equals in id or text, and the others."""
    known = {key for doc in row.positives for key in doc_keys(doc)}
    promoted: list[int] = []
    copies: list[int] = []
    for at in false:
        keys = doc_keys(row.negatives[at])
        (copies if known.intersection(keys) else promoted).append(at)
        known.update(keys)
    return promoted, copies


def edited(row: TrainingRow, edit: Edit) -> TrainingRow | None:
    """The row after an edit: new positives stand last, in the order of the file; None: dropped."""
    if edit.dropped:
        return None
    return replace(
        row,
        positives=(*row.positives, *_at(row.negatives, edit.promoted)),
        negatives=_at(row.negatives, edit.keep),
    )


def _at(docs: Sequence[Doc], places: Sequence[int]) -> tuple[Doc, ...]:
    return tuple(docs[at] for at in places)
