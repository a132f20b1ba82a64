"""Texts and judgements of the dataset that a run was mined from, by id."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.tables import Qrels, TextTable


@dataclass(frozen=True, slots=True)
class RunTexts:
    """What the samples of a report are written from."""

    queries: TextTable
    corpus: TextTable
    qrels: Qrels

    def of_documents(self, ids: list[str]) -> dict[str, str]:
        """Texts of those of the documents that are there."""
        rows = self.corpus.ids.find(ids)
        found = [(name, row) for name, row in zip(ids, rows.tolist(), strict=True) if row >= 0]
        texts = self.corpus.texts([row for _, row in found])
        return {name: text for (name, _), text in zip(found, texts, strict=True)}
