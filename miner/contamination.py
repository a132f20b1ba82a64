"""Queries of a training file that an evaluation asks too."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import PyriteError
from ..core.text import normalise
from .near_text import NearIndex
from .training_file import json_records
from .training_row import id_value, text_field


class HeldOutQueries:
    """The queries of one split of a BEIR folder; the corpus is not read."""

    def __init__(self, texts: dict[str, str]) -> None:
        """`texts` maps query ids to texts."""
        self._exact = {normalise(text): key for key, text in texts.items()}
        self._near = NearIndex(texts)

    @classmethod
    def read(cls, folder: Path, split: str) -> HeldOutQueries:
        """Read `queries.jsonl` and `qrels/<split>.tsv`; raises PyriteError if one is missing."""
        qrels, queries = folder / "qrels" / f"{split}.tsv", folder / "queries.jsonl"
        if not queries.is_file():
            queries = folder / "queries.jsonl.gz"
        if not queries.is_file():
            raise PyriteError(f"{folder}: no queries.jsonl; --against takes a BEIR folder")
        if not qrels.is_file():
            found = ", ".join(sorted(p.stem for p in qrels.parent.glob("*.tsv"))) or "none"
            raise PyriteError(f"{qrels}: no such split; the folder has {found}; set --split")
        asked = _query_ids(qrels)
        texts = {}
        for line, record in json_records(queries):
            where = f"{queries}:{line}"
            key = id_value(record.get("_id"), "_id", where)
            if key in asked:
                texts[key] = text_field(record, "text", where)
        missing = asked - texts.keys()
        if missing:
            raise PyriteError(
                f"{qrels}: unknown query id {min(missing)!r} ({len(missing)} such ids); every id"
                f" must stand in {queries.name}"
            )
        return cls(texts)

    def holds(self, query: str) -> bool:
        """True if a test query has the same normalised text or nearly the same words."""
        return normalise(query) in self._exact or self._near.find(query) is not None


def _query_ids(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise PyriteError(f"{path}: not UTF-8 ({error})") from error
    ids = {line.split("\t")[0] for line in lines if line.strip()}
    return ids - {"query-id"}
