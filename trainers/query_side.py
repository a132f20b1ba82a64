"""Query-side training: each step searches a frozen index with the query encoder as it is now.

ADORE, Zhan et al., arXiv 2104.08051.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..core.candidates import PAD_ID
from ..core.embeddings import Embeddings
from ..core.errors import PyriteError
from ..indexes.dense import DenseIndex
from .estimators.lambda_loss import lambda_loss
from .loss_config import LossSection
from .query_lists import Judgements

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# differences, weights and costs of all pairs of a list, and what their gradient keeps
_BYTES_A_PAIR = 32


class QuerySideLoss(nn.Module):
    """LambdaLoss over the positives and the top documents of an exact search, for
    `SentenceTransformerTrainer`; the one column is the query.

    Documents are vectors that never change, and only the query's vector has a gradient. `labels`
    int64 [B] are the queries' rows in the table. `search_seconds` adds up the time of searches,
    `unranked` the queries without a negative, which are left out of the mean.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        index: DenseIndex,
        corpus: Embeddings,
        judgements: Judgements,
        config: LossSection,
        neg_topk: int = 200,
        normalized: bool = True,
    ) -> None:
        """`index` is an exact one of `corpus`; `normalized` makes unit vectors of the queries.

        Raises PyriteError if `neg_topk` exceeds the corpus, or the dimensions differ.
        """
        super().__init__()
        check_depth(neg_topk, len(corpus))
        self.model = model
        self.config = config
        self.neg_topk = neg_topk
        self.normalized = normalized
        self.search_seconds = 0.0
        self.unranked = 0
        self._index, self._corpus, self._judgements = index, corpus, judgements

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """The batch's loss, a float32 scalar."""
        (features,) = sentence_features
        return self.of_queries(self.model(features)["sentence_embedding"], labels)

    def of_queries(self, queries_BD: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of queries from their vectors [B, D], before they are made unit vectors."""
        # autocast would multiply the float32 vectors in its own, coarser dtype
        with torch.autocast(queries_BD.device.type, enabled=False):
            queries_BD = queries_BD.float()
            if self.normalized:
                queries_BD = normalize(queries_BD, dim=1)
            start = time.perf_counter()
            asked_BD = queries_BD.detach().cpu().numpy()
            found_BK, _ = self._index.search(asked_BD, self.neg_topk)
            self.search_seconds += time.perf_counter() - start
            lists = self._judgements.lists(labels_B.cpu().numpy().astype(np.int64), found_BK)
            docs_BLD = torch.from_numpy(self._corpus.take(np.maximum(lists.docs_BL, 0)))
            scores_BL = torch.einsum("bd,bld->bl", queries_BD, docs_BLD.to(queries_BD.device))
            ranked = lambda_loss(
                scores_BL / self.config.temperature,
                torch.from_numpy(lists.relevant_BL).to(queries_BD.device),
                torch.from_numpy(lists.docs_BL != PAD_ID).to(queries_BD.device),
                self.config.metric or "mrr",
                self.config.cut,
                self.config.sigma or 1.0,
            )
            count = ranked.counts_B.sum()
            self.unranked += labels_B.numel() - int(count)
            return ranked.loss_B.sum() / count.clamp(min=1)

    def memory_bytes(self, batch: int, positives: int) -> int:
        """Bound of one step beside the encoder and the mapped vectors, in bytes.

        `positives` is the most that one query has.
        """
        length = self.neg_topk + positives
        lists = batch * length * (8 * self._corpus.dimension + 64)
        pairs = _BYTES_A_PAIR * batch * length * length
        return self._index.memory_bytes(batch, self.neg_topk) + lists + pairs

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card shows of the loss."""
        shown = self.config.model_dump(mode="json", exclude_none=True)
        return {**shown, "neg_topk": self.neg_topk}


def check_depth(neg_topk: int, documents: int) -> None:
    """Raise PyriteError if more documents are to be searched than there are."""
    if neg_topk > documents:
        raise PyriteError(
            f"train.neg_topk={neg_topk}, but the corpus has {documents} documents; set"
            f" train.neg_topk to at most {documents}"
        )
