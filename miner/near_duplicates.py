"""Near duplicates: by words (MinHash of shingles) among documents, by cosine to a positive.

MinHash and banding: Broder, "On the resemblance and containment of documents", 1997; Leskovec,
Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3. LSH only proposes pairs: the Jaccard
similarity that decides is the exact one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from ..core.candidates import PAD_ID, Candidates, Reason
from ..core.digest import u64_array
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import MissingExtraError, PyriteError
from ..core.ids import I64
from ..core.rng import U64, stream
from ..core.tables import Qrels, TextTable
from ..core.text import normalise
from ..indexes.topk import exact_scores
from .filters import structural_reasons

Bool = npt.NDArray[np.bool_]

_PURPOSE = 7
_BLOCK = 4096
_PAIRS = 256
# misses cost more than proposals, which are checked: at the threshold 9 pairs in 10 are found
_WEIGHTS = (0.05, 0.95)


def shingles(text: str, words: int = 5) -> frozenset[str]:
    """Runs of `words` words of the normalised text; a shorter text is one shingle."""
    tokens = normalise(text).split()
    last = max(len(tokens) - words, 0)
    return frozenset(" ".join(tokens[at : at + words]) for at in range(last + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared shingles over all shingles; 0 to 1."""
    return len(left & right) / len(left | right)


def near_duplicate_groups(
    table: TextTable, threshold: float = 0.8, seed: int = 0, words: int = 5, permutations: int = 128
) -> I64:
    """Group of each document, int64 [N]: the smallest row of its group.

    Two documents are linked if their texts are equal once normalised, or if LSH proposes them and
    their shingles have a Jaccard similarity of at least `threshold`; groups are the connected
    components. The row order does not change which documents are together. Memory: the LSH tables,
    about `permutations` x 4 bytes and some hundred bytes of Python objects for each distinct text;
    pairs that are checked read their texts again. Raises MissingExtraError without the extra
    `dedup`, PyriteError on a setting out of range.
    """
    if not 0 < threshold <= 1 or words < 1 or permutations < 16:
        raise PyriteError(
            f"near duplicates: threshold={threshold} must be in (0, 1], words={words} at least 1"
            f" and permutations={permutations} at least 16"
        )
    hashes = np.concatenate(
        [np.empty(0, dtype=np.uint64)]
        + [
            u64_array([normalise(t) for t in table.texts(slice(s, min(s + _BLOCK, len(table))))])
            for s in range(0, len(table), _BLOCK)
        ]
    )
    _, first, copy_of = np.unique(hashes, return_index=True, return_inverse=True)
    linked = _linked(table, np.sort(first), threshold, seed, words, permutations)
    label_N = np.arange(len(table))
    for group in linked.subsets():
        label_N[list(group)] = min(group)
    return label_N[first[copy_of]].astype(np.int64)


def _linked(
    table: TextTable, rows: I64, threshold: float, seed: int, words: int, permutations: int
) -> DisjointSet:
    """Connected components among `rows`, the first rows of each distinct text."""
    sketch, lsh = _lsh(threshold, seed, permutations)
    sets = DisjointSet(rows.tolist())
    for start in range(0, rows.size, _BLOCK):
        block = rows[start : start + _BLOCK]
        for row, text in zip(block.tolist(), table.texts(block), strict=True):
            mine = shingles(text, words)
            found = sketch.copy()
            found.update_batch(s.encode("utf-8", "surrogatepass") for s in mine)
            for other in sorted(lsh.query(found)):
                if sets.connected(row, other):
                    continue
                if jaccard(mine, shingles(table.texts([other])[0], words)) >= threshold:
                    sets.merge(row, other)
            lsh.insert(row, found, check_duplication=False)
    return sets


def _lsh(threshold: float, seed: int, permutations: int) -> tuple[Any, Any]:
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise MissingExtraError("near-duplicate groups", "datasketch", "dedup") from error
    # 32 bits: what the library's generator of permutations takes
    root = int(stream(seed, 0, _PURPOSE)) >> 32
    sketch = MinHash(num_perm=permutations, seed=root, scheme="affine32")
    return sketch, MinHashLSH(threshold=threshold, num_perm=permutations, weights=_WEIGHTS)


def copies_by_group(candidates: Candidates, qrels: Qrels, groups_N: I64 | U64) -> Bool:
    """Candidates in the group of a positive of the query or of an earlier candidate: bool [Q, K].

    What `structural_reasons` does with equal texts, done with near-equal ones. A positive is
    marked only where an earlier candidate has its group.
    """
    no_text = np.full(candidates.query_rows.size, np.iinfo(np.uint64).max, dtype=np.uint64)
    reasons = structural_reasons(candidates, qrels, no_text, groups_N.astype(np.uint64, copy=False))
    return np.asarray((reasons & np.uint16(Reason.SAME_TEXT | Reason.DUPLICATE)) != 0)


def near_positives(
    ids_QK: I64, query_rows_Q: I64, qrels: Qrels, corpus: Embeddings, threshold: float
) -> Bool:
    """Candidates whose cosine to a positive of the query is at least `threshold`: bool [Q, K].

    Exact: from correctly rounded products of the stored vectors, a block of positives at a time. A
    candidate that is itself a positive is marked as well; a zero vector has the cosine 0. Raises
    PyriteError unless -1 <= threshold <= 1.
    """
    if not -1 <= threshold <= 1:
        raise PyriteError(f"near positives: threshold={threshold} must be in [-1, 1]")
    out = np.zeros(ids_QK.shape, dtype=bool)
    docs = [qrels.positives(int(row)) for row in query_rows_Q]
    owner = np.repeat(np.arange(len(docs)), [d.size for d in docs])
    flat = np.concatenate([np.empty(0, dtype=np.int64), *docs])
    for start in range(0, flat.size, _PAIRS):
        at = owner[start : start + _PAIRS]
        cosines = _cosines(flat[start : start + _PAIRS], ids_QK[at], corpus)
        np.logical_or.at(out, at, (cosines >= threshold) & (ids_QK[at] != PAD_ID))
    return out


def _cosines(rows_P: I64, ids_PK: I64, corpus: Embeddings) -> npt.NDArray[np.float64]:
    products = exact_scores(corpus.take(rows_P), corpus, ids_PK).astype(np.float64)
    used, place = np.unique(np.maximum(ids_PK, 0), return_inverse=True)
    squares = _squares(used, corpus)[place.reshape(ids_PK.shape)]
    norms = np.sqrt(_squares(rows_P, corpus)[:, None] * squares)
    return np.asarray(np.where(norms > 0, products / np.where(norms > 0, norms, 1.0), 0.0))


def _squares(rows: I64, corpus: Embeddings) -> npt.NDArray[np.float64]:
    """Squared norms, correctly rounded, float64 [len(rows)]."""
    vectors: F32 = corpus.take(rows)
    own = exact_scores(vectors, corpus, rows[:, None])[:, 0]
    return np.asarray(own, dtype=np.float64)
