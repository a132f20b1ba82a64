"""InfoNCE with explicit hard negatives, masked by what the labels know.

van den Oord et al., arXiv 1807.03748; with hard negatives: Karpukhin et al., arXiv 2004.04906.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MISSING = -1


def info_nce(logits_BM: Tensor, target_B: Tensor, allowed_BM: Tensor) -> Tensor:
    """Mean over rows of `logsumexp(allowed logits) - target logit`, computed in float32.

    A column that is not allowed has no weight and no gradient; the target always counts.
    """
    logits = logits_BM.float()
    target = nn.functional.one_hot(target_B, logits.shape[1]).bool()
    masked = logits.masked_fill(~(allowed_BM | target), -torch.inf)
    own = logits.gather(1, target_B[:, None]).squeeze(1)
    return (masked.logsumexp(dim=1) - own).mean()


def allowed_columns(query_B: Tensor, docs_M: Tensor, known_P: Tensor, span: int) -> Tensor:
    """Which documents are negatives of which query, bool [B, M].

    `docs_M` int64 are text numbers of the batch's documents: equal texts have equal numbers, -1 is
    a missing negative. `known_P` holds `query * span + text` of every known positive, ascending.
    Not allowed: missing documents, every known positive of the query, and repeats of a text that
    an earlier column already has.
    """
    asked = query_B[:, None] * span + docs_M[None, :]
    at = torch.searchsorted(known_P, asked).clamp(max=max(known_P.numel() - 1, 0))
    positive = known_P[at] == asked if known_P.numel() else torch.zeros_like(asked).bool()
    return ~positive & (docs_M != MISSING)[None, :] & first_copies(docs_M)[None, :]


def first_copies(docs_M: Tensor) -> Tensor:
    """True at the first column of each text, bool [M]."""
    ordered, order = torch.sort(docs_M, stable=True)
    first = torch.ones_like(docs_M, dtype=torch.bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return first


class InfoNCE(nn.Module):
    """A sentence-transformers loss: every document of the batch is a negative of every query.

    Columns are (query, positive, negative_1 .. negative_n). `labels` int64 [B, 2 + n] holds the
    query's number and the documents' text numbers, -1 for a missing negative; positives that the
    judgements know are masked by these numbers, never by comparing vectors.
    """

    known: Tensor

    def __init__(
        self, model: SentenceTransformer, known_P: Tensor, span: int, temperature: float = 0.05
    ) -> None:
        """`known_P` int64 [P], ascending: `query * span + text` of every known positive."""
        super().__init__()
        self.model = model
        self.span = span
        self.temperature = temperature
        self.register_buffer("known", known_P, persistent=False)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The batch's loss, a float32 scalar."""
        vectors = [
            nn.functional.normalize(self.model(features)["sentence_embedding"].float(), dim=-1)
            for features in sentence_features
        ]
        queries_BD, docs_MD = vectors[0], torch.cat(vectors[1:])
        labels = labels.to(queries_BD.device)
        docs_M = labels[:, 1:].T.reshape(-1)
        allowed = allowed_columns(labels[:, 0], docs_M, self.known, self.span)
        target = torch.arange(queries_BD.shape[0], device=queries_BD.device)
        # autocast would multiply the float32 vectors in its own, coarser dtype
        with torch.autocast(queries_BD.device.type, enabled=False):
            logits_BM = queries_BD @ docs_MD.T / self.temperature
        return info_nce(logits_BM, target, allowed)
