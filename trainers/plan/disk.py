"""Bytes of the files that the stages write, without what each file has around its rows."""

from __future__ import annotations

from .sizes import TextFacts

# int64 id, float32 score, uint8 source, int32 rank
CANDIDATE = 8 + 4 + 1 + 4
REASON = 2
_OFFSETS, _DIGEST, HASH = 16, 16, 8
_ADAM = 2 * 4


def texts_bytes(rows: float, facts: TextFacts) -> float:
    """Ids and texts as Arrow, with an offset for each."""
    return rows * (facts.text_bytes + facts.id_bytes + _OFFSETS)


def vectors_bytes(rows: float, dimension: int, each: int) -> float:
    """Vectors, and a digest of each text."""
    return rows * (dimension * each + _DIGEST)


def candidates_bytes(queries: float, depth: int) -> float:
    """The columns of the candidates, and the rows of their queries."""
    return queries * (CANDIDATE * depth + 8)


def negatives_bytes(queries: float, n: int, query_id: float, document_id: float) -> float:
    """Negatives with ids, scores, ranks, probabilities and tiers: at most about so much."""
    return queries * (query_id + 12 + n * (document_id + 4 + 4 + 4 + 4 + 1))


def feed_bytes(pairs: float, documents: float, queries: float, n: int) -> float:
    """Training rows, numbers of texts and hashes of ids, and the negatives that are drawn from."""
    return 40.0 * pairs + 16.0 * documents + 20.0 * queries * n


def checkpoint_bytes(weights: float, trained: int) -> float:
    """Weights, and the two moments of AdamW for each trained one."""
    return weights + _ADAM * trained
