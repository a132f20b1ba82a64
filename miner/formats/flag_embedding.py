"""FlagEmbedding's lists of positives and negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..training_row import (
    Doc,
    Record,
    TrainingRow,
    as_text,
    id_value,
    list_field,
    parallel_field,
    score_value,
    text_field,
)
from .format import Format, has_length, take


class FlagEmbedding(Format):
    """`query`, `pos`, `neg`, and lists beside them: `pos_scores`, `neg_scores`, ids."""

    name = "FlagEmbedding"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, "query", where)
        positives, negatives = (self._docs(record, key, where) for key in ("pos", "neg"))
        return TrainingRow(line, None, query, positives, negatives)

    @staticmethod
    def _docs(record: Record, key: str, where: str) -> tuple[Doc, ...]:
        texts = [as_text(text, key, where) for text in list_field(record, key, where)]
        ids, scores = (
            parallel_field(record, f"{key}_{what}", len(texts), where) for what in ("id", "scores")
        )
        return tuple(
            Doc(
                id_value(doc_id, f"{key}_id", where),
                "",
                text,
                score_value(score, f"{key}_scores", where),
            )
            for text, doc_id, score in zip(texts, ids, scores, strict=True)
        )

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        promoted = self.prune(record, keep)
        positives, negatives = len(record["pos"]), len(record["neg"])
        for key in ("pos", *(key for key in record if key.startswith("pos_"))):
            if has_length(record[key], positives):
                beside: Any = record.get(f"neg{key.removeprefix('pos')}")
                known = has_length(beside, negatives)
                new = take(beside, places) if known else [None] * len(places)
                promoted[key] = [*record[key], *new]
        return promoted

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        before = len(record["neg"])
        return {
            key: take(value, keep)
            if (key == "neg" or key.startswith("neg_")) and has_length(value, before)
            else value
            for key, value in record.items()
        }
