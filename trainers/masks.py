"""Which columns of a batch are negatives of which row: decided by ids and judgements alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MISSING = -1


@dataclass(frozen=True, slots=True)
class Known:
    """Every known (query, text) positive: int64 [P], ascending `query * span + text`."""

    pairs_P: Tensor
    span: int

    def holds(self, queries: Tensor, texts: Tensor) -> Tensor:
        """Whether the text is a known positive of the query; the shapes broadcast to bool."""
        asked = queries * self.span + texts
        if not self.pairs_P.numel():
            return torch.zeros_like(asked, dtype=torch.bool)
        at = torch.searchsorted(self.pairs_P, asked).clamp(max=self.pairs_P.numel() - 1)
        return (self.pairs_P[at] == asked) & (texts != MISSING)


@dataclass(frozen=True, slots=True)
class BatchIds:
    """Numbers of a batch's texts on all devices, G rows of (query, positive, n negatives).

    `queries_G` int64 query numbers; `docs_M` int64 text numbers, M = (1 + n) * G, the G positives
    first, then the G first negatives and so on; equal texts have equal numbers, -1 is a missing
    negative.
    """

    queries_G: Tensor
    docs_M: Tensor

    @classmethod
    def of(cls, ids_GC: Tensor) -> BatchIds:
        """From rows of (query, positive, negatives) numbers, int64 [G, 2 + n]."""
        return cls(ids_GC[:, 0], ids_GC[:, 1:].T.reshape(-1))

    @property
    def positives_G(self) -> Tensor:
        """Text numbers of the rows' positives, int64 [G]."""
        return self.docs_M[: self.queries_G.numel()]

    def own_columns(self, rows_R: Tensor) -> Tensor:
        """Columns of each row's own documents, positive first, int64 [R, 1 + n]."""
        size = self.queries_G.numel()
        each = torch.arange(self.docs_M.numel() // size, device=rows_R.device) * size
        return rows_R[:, None] + each[None, :]


def query_to_doc(ids: BatchIds, known: Known, rows_R: Tensor) -> Tensor:
    """Documents that are negatives of each row's query, bool [R, M].

    Not: missing ones, known positives of the query (its own, a sibling row's, any other), and
    repeats of a text that an earlier column has.
    """
    usable_M = (ids.docs_M != MISSING) & first_copies(ids.docs_M)
    return usable_M[None, :] & ~relevant(ids, known, rows_R)


def doc_to_query(ids: BatchIds, known: Known, rows_R: Tensor) -> Tensor:
    """Queries that each row's positive is not known to answer, bool [R, G]; each query once."""
    answered = known.holds(ids.queries_G[None, :], ids.positives_G[rows_R, None])
    # a row of the batch is a judgement too
    same_text = ids.positives_G[None, :] == ids.positives_G[rows_R, None]
    rows_own = _of_copies(same_text, ids.queries_G)
    other = ids.queries_G[None, :] != ids.queries_G[rows_R, None]
    return ~answered & ~rows_own & other & first_copies(ids.queries_G)[None, :]


def query_to_query(ids: BatchIds, known: Known, rows_R: Tensor) -> Tensor:
    """Queries that each row's query has no known text in common with, bool [R, G]; each once.

    The texts are the row's positive and all positives that the other query has in the batch.
    """
    theirs = relevant(ids, known, rows_R)[:, : ids.queries_G.numel()]
    return doc_to_query(ids, known, rows_R) & ~_of_copies(theirs, ids.queries_G)


def doc_to_doc(ids: BatchIds, known: Known, rows_R: Tensor) -> Tensor:
    """Documents that do not belong to each row's query, bool [R, M]: neither known positives nor
    the row's own negatives.
    """
    out = query_to_doc(ids, known, rows_R)
    own = first_columns(ids.docs_M)[ids.own_columns(rows_R)]
    return out.scatter(1, own, torch.zeros_like(own, dtype=torch.bool))


def first_copies(numbers_M: Tensor) -> Tensor:
    """True at the first column of each number, bool [M]."""
    ordered, order = torch.sort(numbers_M, stable=True)
    first = torch.ones_like(numbers_M, dtype=torch.bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return first


def first_columns(numbers_M: Tensor) -> Tensor:
    """For each column the first one with the same number, int64 [M]."""
    _, inverse = torch.unique(numbers_M, return_inverse=True)
    places = torch.arange(numbers_M.numel(), device=numbers_M.device)
    first = torch.full_like(places, numbers_M.numel())
    first.scatter_reduce_(0, inverse, places, "amin")
    return first[inverse]


def relevant(ids: BatchIds, known: Known, rows_R: Tensor) -> Tensor:
    """Documents known to answer each row's query, by judgement or by a row of the batch [R, M]."""
    same_query = ids.queries_G[None, :] == ids.queries_G[rows_R, None]
    extra = ids.docs_M.numel() - ids.queries_G.numel()
    paired = torch.nn.functional.pad(same_query, (0, extra))
    judged = known.holds(ids.queries_G[rows_R, None], ids.docs_M[None, :])
    return judged | _of_copies(paired, ids.docs_M)


def _of_copies(flags_RN: Tensor, numbers_N: Tensor) -> Tensor:
    """True in every column whose number has a True in some column of the row, bool [R, N]."""
    first = first_columns(numbers_N).expand(flags_RN.shape)
    found = torch.zeros(flags_RN.shape, device=flags_RN.device)
    return found.scatter_add(1, first, flags_RN.float()).gather(1, first) > 0
