"""Trainings of a toy model without what takes longer than their steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer


@contextlib.contextmanager
def quick(kind: type[CrossEncoder | SentenceTransformer] = SentenceTransformer) -> Iterator[None]:
    """One thread, and no README for each checkpoint of such a model."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "_create_model_card", lambda *args, **kwargs: None)
        yield
