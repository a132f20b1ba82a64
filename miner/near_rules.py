"""The near-duplicate rules of a run: by cosine to a positive, and by words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.candidates import Candidates
from ..core.embeddings import Embeddings
from ..core.rng import U64
from ..core.run import Prepared
from ..core.tables import Qrels
from .filters import FilterConfig
from .near_duplicates import Bool, copies_by_group, near_duplicate_groups, near_positives


@dataclass(frozen=True, slots=True)
class Near:
    """What the rules need of a dataset: vectors, and each document's group, uint64 [N]."""

    corpus: Embeddings
    groups: U64 | None


def near_of(filters: FilterConfig, prepared: Prepared, seed: int) -> Near | None:
    """What `filters` asks for; None without a near-duplicate rule.

    Groups are made anew for each run that draws: texts are read once, and again for each pair that
    is checked. Raises MissingExtraError if `near_text` is set without the extra `dedup`.
    """
    if filters.near_positive is None and filters.near_text is None:
        return None
    groups = None
    if filters.near_text is not None:
        found = near_duplicate_groups(prepared.dataset.corpus, filters.near_text, seed)
        groups = found.astype(np.uint64)
    return Near(prepared.corpus, groups)


def near_duplicates(
    candidates: Candidates, qrels: Qrels, near: Near | None, filters: FilterConfig
) -> Bool:
    """Candidates that the near-duplicate rules of `filters` reject, bool [Q, K].

    A positive, padding and a copy of an equal text may be marked as well. Raises ValueError if
    `near` lacks what a rule needs.
    """
    out = np.zeros(candidates.ids.shape, dtype=bool)
    if filters.near_positive is not None:
        if near is None:
            raise ValueError("near_positive without vectors")
        rows, ids = candidates.query_rows, candidates.ids
        out |= near_positives(ids, rows, qrels, near.corpus, filters.near_positive)
    if filters.near_text is not None:
        if near is None or near.groups is None:
            raise ValueError("near_text without groups")
        out |= copies_by_group(candidates, qrels, near.groups)
    return out
