"""From row numbers to a batch: draws, texts from memory maps, tokens, and the loss's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.data_collator import (
    SentenceTransformerDataCollator,
)

from ..core.candidates import PAD_ID
from ..core.text_file import TextFile
from .drawer import Drawer
from .epoch_batches import Clock

ROW = "row"


class DrawingCollator(SentenceTransformerDataCollator):  # type: ignore[misc]
    """Collates rows `{"row": number}`; the label is the mapping that `step.step_of` reads."""

    def __init__(
        self,
        preprocess_fn: Callable[..., Any],
        prompts: dict[str, str],
        drawer: Drawer,
        clock: Clock,
        queries: TextFile,
        corpus: TextFile,
    ) -> None:
        super().__init__(preprocess_fn=preprocess_fn, prompts=prompts)
        self.drawer = drawer
        self.clock = clock
        self.queries = queries
        self.corpus = corpus

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch as sentence-transformers' own collator makes it of text columns."""
        rows = np.array([feature[ROW] for feature in features], dtype=np.int64)
        drawn = self.drawer.examples(rows, *self.clock.read(int(rows[0])))
        docs = np.column_stack((drawn.positives_B, drawn.negatives_Bn))
        query_rows = self.drawer.rows.queries.array[rows]
        texts = [self.queries.texts(query_rows)]
        texts += [self.corpus.texts(column) for column in docs.T]
        names = columns(self.drawer.n)
        batch: dict[str, Any] = super().__call__(
            [dict(zip(names, row, strict=True)) for row in zip(*texts, strict=True)]
        )
        text_of = self.drawer.rows.text_of_N.array[np.maximum(docs, 0)]
        ids = np.column_stack((query_rows, np.where(docs == PAD_ID, PAD_ID, text_of)))
        batch["label"] = {
            "ids": torch.from_numpy(ids),
            "numbers": torch.from_numpy(np.column_stack((rows, drawn.turns_B))),
        }
        return batch


def columns(n: int) -> list[str]:
    """Names of a row's texts, in the order of the loss."""
    return ["query", "positive", *(f"negative_{at + 1}" for at in range(n))]
