"""Records of ids: NeMo, scored lists, triplets, MS MARCO's negatives by system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import PyriteError
from ...core.tables import TextTable
from ..training_row import Record, id_value, list_field, rest, score_value, text_field
from .by_id import (
    IdFormat,
    IdRow,
    Named,
    id_list,
    needed_id,
    unscored,
    with_scores,
    written_list,
)
from .format import take

_MISSING = -1.0


@dataclass(frozen=True)
class NemoById(IdFormat):
    """`question`, `pos_doc` and `neg_doc`: ids, or objects with `id` and perhaps `score`."""

    corpus: TextTable
    queries: None = None
    name = "NeMo"

    def ids(self, record: Record, where: str) -> IdRow:
        question_id = id_value(record.get("question_id"), "question_id", where)
        positives, negatives = (
            [_entry(value, key, where) for value in list_field(record, key, where)]
            for key in ("pos_doc", "neg_doc")
        )
        question = text_field(record, "question", where)
        extra = rest(record, ("question_id", "question", "pos_doc", "neg_doc", "corpus_id"))
        good, bad = (
            [rest(v, ("id", "score")) if isinstance(v, dict) else {} for v in record[key]]
            for key in ("pos_doc", "neg_doc")
        )
        return IdRow(question_id, question, positives, negatives, extra, bad, good)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "neg_doc": take(record["neg_doc"], keep)}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        positives = [*record["pos_doc"], *take(record["neg_doc"], places)]
        return {**self.prune(record, keep), "pos_doc": positives}


def _entry(value: Any, key: str, where: str) -> Named:
    if not isinstance(value, dict):
        return needed_id(value, key, where), None
    score = score_value(value.get("score"), "score", where)
    return needed_id(value.get("id"), f"{key}.id", where), score


@dataclass(frozen=True)
class ScoredList(IdFormat):
    """`query_id`, `document_ids` and `scores`: first the positive; a score of -1 is none.

    PyLate's distillation files, and sentence-transformers' lists of ids.
    """

    corpus: TextTable
    queries: TextTable
    name = "PyLate"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id = needed_id(record.get("query_id"), "query_id", where)
        names = id_list(record, "document_ids", where)
        scores: list[Any] = [None] * len(names)
        if record.get("scores") is not None:
            scores = written_list(record, "scores", where)
        docs = [
            (name, None if score == _MISSING else score)
            for name, score in with_scores(names, scores, where)
        ]
        extra = rest(record, ("query_id", "document_ids", "scores"))
        return IdRow(query_id, None, docs[:1], docs[1:], extra)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        places = [0, *(at + 1 for at in keep)]
        pruned = dict(record)
        for key in ("document_ids", "scores"):
            if record.get(key) is not None:
                values = take(written_list(record, key, ""), places)
                pruned[key] = repr(values) if isinstance(record[key], str) else values
        return pruned


@dataclass(frozen=True)
class IdTriplet(IdFormat):
    """`query_id`, `positive_id`, `negative_id`, as sentence-transformers resolves them."""

    corpus: TextTable
    queries: TextTable
    name = "sentence-transformers ids"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id, positive, negative = (
            needed_id(record.get(key), key, where)
            for key in ("query_id", "positive_id", "negative_id")
        )
        extra = rest(record, ("query_id", "positive_id", "negative_id"))
        return IdRow(query_id, None, [(positive, None)], [(negative, None)], extra)

    def prune(self, record: Record, keep: Sequence[int]) -> None:
        """None: the row has one negative."""


@dataclass(frozen=True)
class BySystem(IdFormat):
    """`qid`, `pos`, and `neg` with a list for each system that found them.

    A negative that several systems found counts once, at the first.
    """

    corpus: TextTable
    queries: TextTable
    name = "MS MARCO hard negatives"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id = needed_id(record.get("qid"), "qid", where)
        positives = unscored(id_list(record, "pos", where))
        found = self._systems(record, where)
        beside = [{"systems": systems} for systems in found.values()]
        extra = rest(record, ("qid", "pos", "neg"))
        return IdRow(query_id, None, positives, unscored(list(found)), extra, beside)

    @classmethod
    def _found(cls, record: Record, where: str) -> list[str]:
        return list(cls._systems(record, where))

    @staticmethod
    def _systems(record: Record, where: str) -> dict[str, list[str]]:
        systems = record["neg"]
        if not isinstance(systems, dict):
            raise PyriteError(
                f"{where}: field 'neg' is a {type(systems).__name__}; it must be an object with a"
                " list of ids for each system"
            )
        found: dict[str, list[str]] = {}
        for system in systems:
            # a parquet struct has every system's column
            if systems[system] is not None:
                for name in id_list(systems, system, f"{where}: neg"):
                    found.setdefault(name, []).append(system)
        return found

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        names = self._found(record, "")
        kept = {names[at] for at in keep}
        systems = {
            system: values if values is None else [v for v in values if str(v) in kept]
            for system, values in record["neg"].items()
        }
        return {**record, "neg": systems}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        names = self._found(record, "")
        wanted = {names[at] for at in places}
        # as the systems wrote them: ids may be numbers
        written = {str(v): v for values in record["neg"].values() for v in values or []}
        new = [written[name] for name in names if name in wanted]
        return {**self.prune(record, keep), "pos": [*record["pos"], *new]}
