"""The verb `audit`: what is wrong with a training file, whoever wrote it.

The file is streamed twice, once to learn which documents are positives of which query text and
once to check each row. See `audit_checks` for what stays in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.progress import progress
from .audit_checks import Check, Checker, Flag, Known, Severity
from .audit_fix import Removed, write_clean
from .contamination import HeldOutQueries
from .training_file import open_training_file

MAX_WORDS = 512
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

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(n for check, n in self.counts.items() if check.severity == severity)

    def passes(self, max_warnings: int | None = None) -> bool:
        """True without errors and with at most `max_warnings` warnings; None: any number."""
        many = max_warnings is not None and self.count("warning") > max_warnings
        return not (self.count("error") or many)

    def add(self, line: int, flag: Flag) -> None:
        """Count a finding and keep its place if it is among the first."""
        self.counts[flag.check] += 1
        places = self.examples.setdefault(flag.check, [])
        if len(places) < _EXAMPLES:
            numbered = flag.part in ("positive", "negative")
            places.append(Example(line, f"{flag.part} {flag.at + 1}" if numbered else flag.part))

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
        }


def audit(
    path: Path,
    *,
    fix: Path | None = None,
    against: Path | None = None,
    split: str = "test",
    max_words: int = MAX_WORDS,
) -> Audit:
    """Audit a training file or run folder; `fix` names a cleaned copy to write.

    `against` is a BEIR folder whose queries of `split` must not be trained on. Raises PyriteError
    for a malformed file, and before anything is read if `fix` exists.
    """
    file = open_training_file(path)
    if fix is not None:
        file.check_out(fix)
    tests = None if against is None else HeldOutQueries.read(against, split)
    known = Known.gather(file.rows())
    found = Audit(file.path, file.format.name, known.usual_negatives, known.rows)
    checker = Checker(known, max_words, tests)
    with progress("check", total=known.rows, unit="rows") as bar:
        for row in file.rows():
            bar.update()
            found.positives += len(row.positives)
            found.negatives += len(row.negatives)
            for flag in checker.check(row):
                found.add(row.line, flag)
    if fix is not None:
        # a fresh checker: the first one has seen every row already
        found.removed = write_clean(file, fix, Checker(known, max_words, tests))
    return found
