"""From row numbers to a batch: draws, texts from memory maps, tokens, and the loss's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.data_collator import (
    SentenceTransformerDataCollator,
)

from ..core.candidates import PAD_ID
from ..core.ids import I64
from ..core.text_file import Texts
from .drawer import Drawer
from .epoch_batches import Clock
from .teacher import Teacher

ROW = "row"


@dataclass(frozen=True, slots=True)
class ScoreLabels:
    """Which of a cross-encoder's scores a batch carries beside its numbers."""

    teacher: Teacher | None
    for_teaching: bool
    for_doubts: bool

    def of(self, query_rows_B: I64, docs_BC: I64) -> dict[str, torch.Tensor]:
        """`teacher` float32 [B, 1 + n] and `doubt` float32 [B, n], where they are asked for."""
        found: dict[str, torch.Tensor] = {}
        if self.teacher is not None and self.for_teaching:
            found["teacher"] = torch.from_numpy(self.teacher.scores(query_rows_B, docs_BC))
        if self.teacher is not None and self.for_doubts:
            negatives = docs_BC[:, 1:]
            found["doubt"] = torch.from_numpy(self.teacher.doubts(query_rows_B, negatives))
        return found


class DrawingCollator(SentenceTransformerDataCollator):  # type: ignore[misc]
    """Collates rows `{"row": number}`; the label is the mapping that `step.step_of` reads."""

    def __init__(
        self,
        preprocess_fn: Callable[..., Any],
        prompts: dict[str, str],
        drawer: Drawer,
        clock: Clock,
        queries: Texts,
        corpus: Texts,
        scores: ScoreLabels,
    ) -> None:
        super().__init__(preprocess_fn=preprocess_fn, prompts=prompts)
        self.drawer = drawer
        self.clock = clock
        self.queries = queries
        self.corpus = corpus
        self.scores = scores

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch as sentence-transformers' own collator makes it of text columns."""
        rows = np.array([feature[ROW] for feature in features], dtype=np.int64)
        return self.collate(rows, *self.clock.read(int(rows[0])))

    def collate(self, rows: I64, epoch: int, step: int) -> dict[str, Any]:
        """The batch of `rows` int64 [B] in `step` of `epoch`, both from 0."""
        drawn = self.drawer.examples(rows, epoch, step)
        docs = np.column_stack((drawn.positives_B, drawn.negatives_Bn))
        query_rows = self.drawer.rows.queries.array[rows]
        texts = [self.queries.texts(query_rows)]
        texts += [self.corpus.texts(column) for column in docs.T]
        names = columns(self.drawer.width)
        batch: dict[str, Any] = super().__call__(
            [dict(zip(names, row, strict=True)) for row in zip(*texts, strict=True)]
        )
        text_of = self.drawer.rows.text_of_N.array[np.maximum(docs, 0)]
        ids = np.column_stack((query_rows, np.where(docs == PAD_ID, PAD_ID, text_of)))
        batch["label"] = {
            "ids": torch.from_numpy(ids),
            "numbers": torch.from_numpy(np.column_stack((rows, drawn.turns_B))),
            **self.scores.of(query_rows, docs),
        }
        return batch


def columns(n: int) -> list[str]:
    """Names of a row's texts, in the order of the loss."""
    return ["query", "positive", *(f"negative_{at + 1}" for at in range(n))]
