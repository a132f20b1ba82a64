"""A finished relabelling run as a reviewer needs it: who judged, and what was noted about pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ....core.digest import digest_file
from ....core.errors import PyriteError
from ....core.store import Manifest
from ...training_file import TrainingFile, open_training_file
from ...training_row import TrainingRow
from ..config import RelabelConfig
from ..notes import NOTES
from ..relabel import FOLDER

Note = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """The training file, label and key of each stage, and the notes about pairs not clean."""

    file: TrainingFile
    judges: tuple[tuple[str, str], ...]
    notes: Path

    @classmethod
    def open(cls, config: RelabelConfig) -> Finished:
        """The run that `config` made last.

        Raises PyriteError if there is none, or if the training file is another one by now.
        """
        sources = config.data.sources(config.cache)
        file = open_training_file(Path(config.data.path), sources, config.data.format)
        folder = config.run_folder / FOLDER
        manifest = Manifest.read(folder)
        if manifest is None:
            raise PyriteError(
                f"{folder}: no finished run to review; run pyrite relabel with this configuration"
            )
        inputs, counts = manifest.data["inputs"], manifest.data["counts"]
        if inputs["data"] != digest_file(file.path):
            raise PyriteError(
                f"data.path={file.path} has changed since the run in {folder}; run pyrite relabel"
                " again, verdicts that are stored cost nothing"
            )
        labels = [stage["stage"] for stage in counts["stages"]]
        judges = tuple(zip(labels, inputs["judges"], strict=True))
        return cls(file, judges, folder / NOTES)

    def rows(self) -> Iterator[tuple[int, TrainingRow, dict[int, Note]]]:
        """Each row with its number, and the notes about its negatives by number, both from 1.

        Both files are in the same order, and only one row is in memory.
        """
        noted = groupby(_notes(self.notes), key=lambda note: note["row"])
        number, notes = next(noted, (0, iter(())))
        for at, row in enumerate(self.file.rows(), start=1):
            if number != at:
                yield at, row, {}
                continue
            yield at, row, {note["negative"]: note for note in notes}
            number, notes = next(noted, (0, iter(())))


def _notes(path: Path) -> Iterator[Note]:
    with path.open("rb") as lines:
        for raw in lines:
            note = json.loads(raw)
            if "row" not in note:
                raise PyriteError(
                    f"{path}: written by an earlier version, without the numbers of rows; run"
                    " pyrite relabel again, verdicts that are stored cost nothing"
                )
            yield note
