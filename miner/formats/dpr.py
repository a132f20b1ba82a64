"""DPR's questions with passages: one JSON list, positives, negatives and hard negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...core.errors import PyriteError
from ..training_row import (
    Doc,
    Record,
    TrainingRow,
    id_value,
    list_field,
    rest,
    score_value,
    text_field,
)
from .format import Format, take, titled

_NEGATIVES = ("negative_ctxs", "hard_negative_ctxs")


class Dpr(Format):
    """`question`, `positive_ctxs`, then `negative_ctxs` and `hard_negative_ctxs` as negatives."""

    name = "DPR"
    # the published files hold questions without negatives, which DPR passes over
    sides = "mined"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        question = text_field(record, "question", where)
        positives = _passages(record, "positive_ctxs", where)
        easy, hard = (_passages(record, key, where) for key in _NEGATIVES)
        # which list a negative stood in
        easy = [replace(doc, extra={**doc.extra, "hard": False}) for doc in easy]
        record = {**record, "answers": record.get("answers") or None}
        extra = rest(record, ("query_id", "question", "positive_ctxs", *_NEGATIVES))
        name = id_value(record.get("query_id"), "query_id", where)
        return TrainingRow(line, name, question, tuple(positives), (*easy, *hard), extra=extra)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        pruned, start = dict(record), 0
        for key in _NEGATIVES:
            values = record.get(key) or []
            stop = start + len(values)
            if key in record:
                pruned[key] = take(values, [at - start for at in keep if start <= at < stop])
            start = stop
        return pruned

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        negatives = [value for key in _NEGATIVES for value in record.get(key) or []]
        positives = [*record["positive_ctxs"], *take(negatives, places)]
        return {**self.prune(record, keep), "positive_ctxs": positives}


def _passages(record: Record, key: str, where: str) -> list[Doc]:
    if key in _NEGATIVES and key not in record:
        return []
    return [_passage(value, key, f"{where}: {key}") for value in list_field(record, key, where)]


def _passage(value: object, key: str, where: str) -> Doc:
    if not isinstance(value, dict):
        raise PyriteError(f"{where} holds a {type(value).__name__}; each must be an object")
    id_key = "passage_id" if "passage_id" in value else "psg_id"
    score = score_value(value.get("score"), "score", where)
    known = ("passage_id", "psg_id", "score")
    return titled(value, where, id_value(value.get(id_key), id_key, where), score, known)
