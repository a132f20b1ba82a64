"""The negatives of a mining run as training rows: ids in the file, texts in the run's dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ..core.beir import Dataset
from ..core.config import parse_config
from ..core.dataset import DatasetConfig, open_dataset
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.tables import Qrels, TextTable
from .training_formats import Format
from .training_row import (
    Doc,
    Record,
    TrainingRow,
    as_text,
    list_field,
    parallel_field,
    score_value,
    text_field,
)

_CACHE = "runs/.cache"


@dataclass(frozen=True)
class RunFormat(Format):
    """`negatives.parquet` with the dataset it was mined from; the positives are all judged ones."""

    dataset: Dataset
    qrels: Qrels
    name = "Pyrite run"

    @classmethod
    def open(cls, negatives: Path) -> RunFormat:
        """Open the dataset that the run's `config.yaml` names.

        The file lies in the folder above the negatives or beside them. Raises PyriteError if it
        does not, or if the dataset cannot be opened.
        """
        places = (negatives.parent.parent / "config.yaml", negatives.parent / "config.yaml")
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise PyriteError(
                f"{negatives}: holds ids, and without {places[0]} there are no texts for them;"
                " audit the run folder"
            )
        settings = _read(path)
        config = parse_config(DatasetConfig, settings.get("dataset") or {}, f"{path}: dataset")
        dataset = open_dataset(config, Path(str(settings.get("cache_dir", _CACHE))))
        return cls(dataset, dataset.qrels(config.train_split, config.min_grade))

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        """One row; `parse_block` looks up many at once."""
        return next(self._rows([(line, record, where)]))

    def parse_block(self, block: Sequence[tuple[int, Record]], path: Path) -> Iterator[TrainingRow]:
        return self._rows([(line, record, f"{path}:{line}") for line, record in block])

    def _rows(self, block: Sequence[tuple[int, Record, str]]) -> Iterator[TrainingRow]:
        query_ids = [text_field(record, "query_id", where) for _, record, where in block]
        rows = self.dataset.queries.ids.find(query_ids)
        judged = [self.qrels.positives(int(row)) if row >= 0 else rows[:0] for row in rows]
        negatives = [self._negatives(record, where) for _, record, where in block]
        corpus = self.dataset.corpus
        texts = _texts(corpus, np.concatenate([*judged, *(found for found, _, _ in negatives)]))
        queries = _texts(self.dataset.queries, rows)
        for at, (line, record, where) in enumerate(block):
            score = score_value(record.get("pos_score"), "pos_score", where)
            names = corpus.id_strings(judged[at])
            found, ids, scores = negatives[at]
            known = int(rows[at])
            yield TrainingRow(
                line,
                query_ids[at],
                queries.get(known, ""),
                _docs(names, judged[at], texts, [score] * len(names)),
                _docs(ids, found, texts, scores),
                known >= 0,
            )

    def _negatives(self, record: Record, where: str) -> tuple[I64, list[str], list[float | None]]:
        values = list_field(record, "negative_ids", where)
        ids = [as_text(value, "negative_ids", where) for value in values]
        scores = parallel_field(record, "scores", len(ids), where)
        numbers = [score_value(score, "scores", where) for score in scores]
        return self.dataset.corpus.ids.find(ids), ids, numbers

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        before = len(record["negative_ids"])
        return {
            key: [value[at] for at in keep]
            if isinstance(value, list) and len(value) == before
            else value
            for key, value in record.items()
        }


def _docs(
    ids: list[str], rows: I64, texts: dict[int, str], scores: Sequence[float | None]
) -> tuple[Doc, ...]:
    return tuple(
        Doc(doc_id, "", texts.get(row, ""), score, row >= 0)
        for doc_id, row, score in zip(ids, rows.tolist(), scores, strict=True)
    )


def _texts(table: TextTable, rows: I64) -> dict[int, str]:
    wanted = np.unique(rows[rows >= 0])
    return dict(zip(wanted.tolist(), table.texts(wanted), strict=True))


def _read(path: Path) -> Record:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise PyriteError(f"{path}: not readable as YAML: {detail}") from error
    if not isinstance(data, dict):
        raise PyriteError(f"{path}: a YAML {type(data).__name__}, expected keys and values")
    return data
