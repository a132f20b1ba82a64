"""A cleaned copy of a training file: the findings that a machine may settle are taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import PyriteError
from .audit_checks import Check, Checker, Flag
from .training_file import TrainingFile
from .training_row import Record

# long texts, inverted scores and short rows may be meant, so they stay
_NEVER_REMOVED = frozenset(
    {Check.LONG_TEXT, Check.INVERTED_SCORE, Check.SHORT_ROW, Check.NONE_MINED}
)


@dataclass(slots=True)
class Removed:
    """What a cleaned copy lacks.

    `rows` went for a fault of their own, `emptied` had no good negative, `fixed_width` had a bad
    negative in a file with one column for each; `negatives` went out of the rows that stayed.
    """

    kept: int = 0
    rows: int = 0
    emptied: int = 0
    fixed_width: int = 0
    negatives: int = 0

    def as_json(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


def write_clean(file: TrainingFile, out: Path, checker: Checker) -> Removed:
    """Write the good part of `file` to `out` atomically, in the same format.

    Raises PyriteError if `out` exists or no row would be left; nothing is written then.
    """
    removed = Removed()
    file.write(out, _clean(file, out, checker, removed))
    return removed


def _clean(file: TrainingFile, out: Path, checker: Checker, removed: Removed) -> Iterator[Record]:
    for block in file.blocks():
        flagged = checker.check([row for row, _ in block])
        for (row, record), flags in zip(block, flagged, strict=True):
            kept = _settle(file, record, len(row.negatives), flags, removed)
            if kept is not None:
                removed.kept += 1
                yield kept
    if not removed.kept:
        raise PyriteError(f"{out}: not written, since no row of {file.path} is without a fault")


def _settle(
    file: TrainingFile, record: Record, negatives: int, flags: list[Flag], removed: Removed
) -> Record | None:
    faults = [flag for flag in flags if flag.check not in _NEVER_REMOVED]
    if any(flag.part != "negative" for flag in faults):
        removed.rows += 1
        return None
    bad = {flag.at for flag in faults}
    if not bad:
        return record
    keep = [at for at in range(negatives) if at not in bad]
    if not keep:
        removed.emptied += 1
        return None
    pruned = file.format.prune(record, keep)
    if pruned is None:
        removed.fixed_width += 1
        return None
    removed.negatives += len(bad)
    return pruned
