"""What an audit says of the negatives that were mined."""

from __future__ import annotations

from ...miner.audit import audit
from ...miner.audit_checks import Check
from .part import Part, Table
from .run_folder import RunFolder
from .shown import count


def audit_part(run: RunFolder) -> Part:
    """The part of `pyrite audit RUN`: the rows are read twice."""
    found = audit(run.folder)
    errors, warnings = found.count("error"), found.count("warning")
    numbers = {name: value for name, value in found.as_json().items() if name != "path"}
    rows = [
        [
            check.severity,
            check.value,
            count(found.counts[check]),
            ", ".join(f"{e.line} ({e.where})" for e in found.examples[check]),
        ]
        for check in Check
        if found.counts[check]
    ]
    lead = (
        f"{count(found.rows)} rows with {count(found.positives)} positives and"
        f" {count(found.negatives)} negatives: {count(errors)} errors, {count(warnings)} warnings."
        " Errors teach a model something false; warnings may be meant."
    )
    table = Table("findings", ["severity", "finding", "count", "first at row"], rows, left=2)
    return Part(
        "audit",
        "Audit",
        [lead],
        numbers,
        headlines=[("audit: errors, warnings", f"{count(errors)}, {count(warnings)}")],
        tables=[table] if rows else [],
        notes=() if rows else ("Nothing was found.",),
    )
