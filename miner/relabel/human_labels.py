"""A person's labels: which pairs of query and document are false negatives."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import PyriteError
from ..formats.text_lines import text_lines

_LABELS = {"0": False, "1": True}


def read_human(path: Path) -> dict[tuple[str, str], bool]:
    """Labels of a file with `query_id<TAB>doc_id<TAB>1 or 0` lines, perhaps below a heading.

    Raises PyriteError with the line of what is malformed or labelled both ways, and for a file
    without labels.
    """
    if not path.is_file():
        raise PyriteError(f"{path}: no such file of labels; set human to a tsv file")
    found: dict[tuple[str, str], bool] = {}
    for line, text in text_lines(path):
        fields = text.split("\t")
        if line == 1 and fields[-1].strip() not in _LABELS:
            continue
        if len(fields) != 3 or fields[2].strip() not in _LABELS:
            raise PyriteError(
                f"{path}:{line}: expected query_id, doc_id and 1 or 0 with tabs between; mend it"
            )
        pair, label = (fields[0], fields[1]), _LABELS[fields[2].strip()]
        if found.setdefault(pair, label) != label:
            raise PyriteError(f"{path}:{line}: {pair} is labelled both 0 and 1; keep one of both")
    if not found:
        raise PyriteError(f"{path}: no labels; one a line is needed")
    return found
