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
    rest,
    score_value,
    text_field,
)
from .format import Format, has_length, take

_BESIDE = ("id", "scores")
_KNOWN = (
    "query_id",
    "query",
    *(f"{side}{k}" for side in ("pos", "neg") for k in ("", *(f"_{w}" for w in _BESIDE))),
)


class FlagEmbedding(Format):
    """`query`, `pos`, `neg`, and lists beside them: `pos_scores`, `neg_scores`, ids."""

    name = "FlagEmbedding"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, "query", where)
        positives, negatives = (self._docs(record, key, where) for key in ("pos", "neg"))
        # not FlagEmbedding's own, which passes over it
        query_id = id_value(record.get("query_id"), "query_id", where)
        return TrainingRow(line, query_id, query, positives, negatives, extra=rest(record, _KNOWN))

    @staticmethod
    def _docs(record: Record, key: str, where: str) -> tuple[Doc, ...]:
        texts = [as_text(text, key, where) for text in list_field(record, key, where)]
        ids, scores = (
            parallel_field(record, f"{key}_{what}", len(texts), where) for what in _BESIDE
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
