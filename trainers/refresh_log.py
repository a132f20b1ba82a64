"""What happened to the negatives while a model was trained: durable rows in `log.jsonl`."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import PyriteError
from ..core.store import sync_folder, write_bytes

logger = logging.getLogger(__name__)

FILE = "log.jsonl"
# what a row of each kind holds beside `kind` and `step`; more may stand in it
KINDS: dict[str, tuple[str, ...]] = {
    "published": (),
    "generation": ("generation", "seconds"),
    "refused": ("generation", "reasons"),
    "swap": ("generation", "age", "churn"),
    "stall": ("seconds",),
    "trained": ("seconds",),
    "dev": ("ndcg",),
}
Row = dict[str, Any]


class RefreshLog:
    """Rows of JSON, one a line, in the order in which things happened.

    `step` is the trainer's step, for `published`, `generation`, `refused` and `dev` that of the
    weights, for `swap` the first step that draws from the generation; `decided`, where a row has
    it, is the step at which that was settled. `seconds` of `trained` are those since the row of
    that kind before it, or since a process went on with the training. One process writes, any may
    read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._whole = False

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row that outlasts a kill once this returns.

        Numbers that are not finite are written by their name, as JSON has none. Raises ValueError
        if the row is not of a known kind, or lacks what its kind holds.
        """
        _check(row)
        line = json.dumps(_named(dict(row)), ensure_ascii=False, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mend()
        new = not self.path.exists()
        # until it is through: a full disk cuts a line off too
        self._whole = False
        with self.path.open("ab") as handle:
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
        self._whole = True
        if new:
            sync_folder(self.path.parent)

    def rows(self) -> list[Row]:
        """All rows; a last line that a kill has cut off is left out, and said.

        Raises PyriteError if another line is no row.
        """
        data = self.path.read_bytes() if self.path.exists() else b""
        *lines, torn = data.split(b"\n")
        if torn:
            logger.warning("%s: the last line was cut off and is left out", self.path)
        return [self._row(line, number) for number, line in enumerate(lines, start=1)]

    def rewind(self, step: int) -> list[Row]:
        """Remove what was settled after `step`, at which a training goes on; returns those rows."""
        rows = self.rows()
        later = [row for row in rows if _settled(row) > step]
        if later:
            kept = [json.dumps(r, ensure_ascii=False) + "\n" for r in rows if _settled(r) <= step]
            write_bytes(self.path, "".join(kept).encode())
            logger.info("%s: %d rows after step %d are removed", self.path, len(later), step)
        return later

    def _mend(self) -> None:
        """Cut off what a kill has left of a line, before anything is written behind it."""
        if self._whole or not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            logger.warning("%s: the last line was cut off and is removed", self.path)
            os.truncate(self.path, whole)

    def _row(self, line: bytes, number: int) -> Row:
        try:
            row = json.loads(line)
            _check(row)
        except (ValueError, TypeError) as error:
            raise PyriteError(
                f"{self.path}: line {number} is no row of a refresh log ({error}); delete this line"
            ) from error
        return dict(row)


def _settled(row: Row) -> int:
    return int(row["decided"] if "decided" in row else row["step"])


def _check(row: Mapping[str, Any]) -> None:
    if not isinstance(row, Mapping) or row.get("kind") not in KINDS:
        raise ValueError(f"no kind among {', '.join(KINDS)}")
    missing = [name for name in ("step", *KINDS[row["kind"]]) if name not in row]
    if missing:
        raise ValueError(f"a row of kind {row['kind']} without {', '.join(missing)}")
    if not isinstance(row["step"], int) or isinstance(row["step"], bool) or row["step"] < 0:
        raise ValueError(f"step {row['step']!r} is no step")


def _named(value: Any) -> Any:
    """The value with every number that is not finite replaced by its name."""
    if isinstance(value, Mapping):
        return {key: _named(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_named(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
