"""The verb `audit`: what is wrong with a training file, whoever wrote it.

The file is streamed twice, once to learn which documents are positives of which query text and
once to check each row. See `audit_checks` for what stays in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import PyriteError
from ..core.progress import progress
from ..core.store import MANIFEST, Manifest
from .audit_checks import Check, Checker, Flag, Known, Severity
from .audit_fix import Removed, write_clean
from .audit_sets import Sizes, check_set
from .contamination import HeldOut
from .formats.run import RunFormat
from .formats.sets import SetFolder
from .formats.sources import Sources
from .training_file import TrainingFile, holds_rows, open_training_file

if TYPE_CHECKING:
    from .relabel.config import RelabelConfig
    from .relabel.quality import Rate

MAX_WORDS = 512
SAMPLE = 400
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Example:
    """Where something was found: the line from 1, and for a document its position from 1."""

    line: int
    where: str


@dataclass(slots=True)
class Audit:
    """Counts of an audit, and the first few places of each finding."""

    path: Path
    format: str
    usual_negatives: int
    rows: int = 0
    positives: int = 0
    negatives: int = 0
    counts: Counter[Check] = field(default_factory=Counter)
    examples: dict[Check, list[Example]] = field(default_factory=dict)
    removed: Removed | None = None
    judged: Rate | None = None

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(n for check, n in self.counts.items() if check.severity == severity)

    def passes(self, max_warnings: int | None = None) -> bool:
        """True without errors and with at most `max_warnings` warnings; None: any number."""
        many = max_warnings is not None and self.count("warning") > max_warnings
        return not (self.count("error") or many)

    def add(self, line: int, flag: Flag) -> None:
        """Count a finding and keep its place if it is among the first."""
        numbered = flag.part in ("positive", "negative")
        self.note(flag.check, line, f"{flag.part} {flag.at + 1}" if numbered else flag.part)

    def note(self, check: Check, line: int, where: str) -> None:
        """Count a finding at a place that is already in words."""
        self.counts[check] += 1
        places = self.examples.setdefault(check, [])
        if len(places) < _EXAMPLES:
            places.append(Example(line, where))

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; checks that found nothing are left out."""
        findings = [
            {
                "check": check.name.lower(),
                "severity": check.severity,
                "count": self.counts[check],
                "examples": [{"line": e.line, "where": e.where} for e in self.examples[check]],
            }
            for check in Check
            if self.counts[check]
        ]
        return {
            "path": str(self.path),
            "format": self.format,
            "rows": self.rows,
            "positives": self.positives,
            "negatives": self.negatives,
            "usual_negatives": self.usual_negatives,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "findings": findings,
            "removed": None if self.removed is None else self.removed.as_json(),
            "judged": None if self.judged is None else self.judged.as_json(),
        }


def audit(
    path: Path,
    *,
    sources: Sources | None = None,
    wanted: str | None = None,
    fix: Path | None = None,
    against: Path | None = None,
    split: str = "test",
    max_words: int = MAX_WORDS,
    judge: RelabelConfig | None = None,
    sample: int = SAMPLE,
) -> Audit:
    """Audit a training file, a run folder, a BEIR or MTEB folder; `fix` names a cleaned copy.

    `sources` are the texts and judgements of a file that holds ids; `wanted` is a format's name in
    place of the guess. `against` is such a folder, whose queries of `split` must not be trained on.
    The last stage of `judge` says of `sample` random negatives whether they are false. Raises
    PyriteError for a malformed file, and before anything is read if `fix` exists.
    """
    files = SetFolder.find(path) if path.is_dir() and not holds_rows(path) else None
    if files is not None and files.corpus:
        if fix is not None:
            raise PyriteError(f"{path}: a BEIR folder is never rewritten; leave --fix out")
        if judge is not None:
            raise PyriteError(f"{path}: a BEIR folder has no negatives to judge; leave --judge out")
        return _audit_set(files, max_words, _held_out(against, split))
    file = open_training_file(path, sources, wanted)
    if fix is not None:
        file.check_out(fix)
    found = _audit_file(file, max_words, _held_out(against, split), fix)
    if judge is not None:
        # the judges' libraries are for those who ask for one
        from .relabel.quality import false_negative_rate

        found.judged = false_negative_rate(file.rows(), judge, sample)
    return found


def audit_file(file: TrainingFile) -> Audit:
    """The findings in a file that is open."""
    return _audit_file(file, MAX_WORDS, None, None)


def _held_out(against: Path | None, split: str) -> HeldOut | None:
    return None if against is None else HeldOut.read(against, split)


def _audit_set(files: SetFolder, max_words: int, tests: HeldOut | None) -> Audit:
    found, sizes = Audit(files.folder, files.name, 0), Sizes()
    for place in check_set(files, max_words, tests, sizes):
        found.note(place.check, place.line, place.where)
    found.rows = sizes.queries
    found.positives, found.negatives = sizes.positives, sizes.negatives
    return found


def _audit_file(
    file: TrainingFile, max_words: int, tests: HeldOut | None, fix: Path | None
) -> Audit:
    known, sides = Known.gather(file.rows()), file.format.sides
    found = Audit(file.path, file.format.name, known.usual_negatives, known.rows)
    checker = Checker(known, max_words, tests, sides)
    empty = 0
    with progress("check", total=known.rows, unit="rows") as bar:
        for block in file.blocks():
            rows = [row for row, _ in block]
            for row, flags in zip(rows, checker.check(rows), strict=True):
                bar.update()
                found.positives += len(row.positives)
                found.negatives += len(row.negatives)
                empty += not row.negatives
                for flag in flags:
                    found.add(row.line, flag)
    if isinstance(file.format, RunFormat):
        _check_manifest(file.path, empty, found)
    if fix is not None:
        # a fresh checker: the first one has seen every row already
        found.removed = write_clean(file, fix, Checker(known, max_words, tests, sides))
    return found


def _check_manifest(path: Path, empty: int, found: Audit) -> None:
    """A run counts its queries without negatives itself; a copy of its file is not compared."""
    manifest = Manifest.read(path.parent)
    if manifest is None or path.name not in manifest.data.get("files", {}):
        return
    if manifest.data.get("kind") != "negatives":
        return
    counted = int(manifest.data["counts"]["negatives_per_query"].get("0", 0))
    if counted != empty:
        places = f"{MANIFEST} counts {counted}, the file has {empty}"
        found.note(Check.MANIFEST, found.rows, places)
