"""Cross-encoder scores on disk: keyed by content, computed in parts, copied where known already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.candidates import STRUCTURAL, Candidates
from ..core.cross_encoder import PairScorer, score_pairs
from ..core.digest import digest_array, digest_json
from ..core.donors import text_digests
from ..core.encoder import F32
from ..core.ids import I64
from ..core.progress import progress
from ..core.rng import U64
from ..core.run import Prepared
from ..core.store import (
    Manifest,
    discard,
    join_arrays,
    part_done,
    read_array,
    remove_parts,
    write_array,
    write_part,
)
from .filters import allowed_rank, structural_reasons

logger = logging.getLogger(__name__)

SCHEMA = 1
FOLDER = "pair-scores"
_PART_PAIRS = 4096
_COLUMNS: dict[str, str] = {"pairs": "<i8", "texts": "S16", "scores": "<f4"}


@dataclass(frozen=True, slots=True)
class PairScores:
    """Log-odds of P (query, document) pairs.

    `pairs` int64 [P] ascending holds `place * documents + document row`; `place_Q` int64 is the
    place of each row of the query table among the scored queries, -1 for the others; `scores`
    float32 [P]. Both are mapped. `content` covers their bytes.
    """

    pairs: I64
    scores: F32
    place_Q: I64
    documents: int
    content: str = ""

    def find(self, query_rows: I64, ids_QK: I64) -> F32:
        """Log-odds of documents `ids_QK` [Q, K] for the query rows [Q]; NaN where unknown."""
        place_Q = self.place_Q[query_rows]
        wanted = place_Q[:, None] * self.documents + ids_QK
        if not self.pairs.size:
            return np.full(ids_QK.shape, np.nan, dtype=np.float32)
        at = np.minimum(np.searchsorted(self.pairs, wanted), self.pairs.size - 1)
        known = (self.pairs[at] == wanted) & (ids_QK >= 0) & (place_Q >= 0)[:, None]
        return np.where(known, self.scores[at], np.float32(np.nan))


@dataclass(frozen=True, slots=True)
class PairInputs:
    """Candidates whose first `depth` allowed are scored, and the positives of their queries.

    `key` is the candidates' own; the arrays are hashes of normalised texts.
    """

    prepared: Prepared
    candidates: Candidates
    key: str
    query_texts_Q: U64
    doc_texts_N: U64
    depth: int

    def digest(self) -> str:
        """Digest of everything that decides which pairs there are."""
        qrels = self.prepared.qrels
        arrays = (qrels.indptr, qrels.docs, qrels.grades)
        return digest_json(
            {
                "candidates": self.key,
                "dataset": self.prepared.dataset.digest(),
                "qrels": [digest_array(array) for array in arrays],
                "min_grade": qrels.min_grade,
                "depth": self.depth,
            }
        )

    def pairs(self, start: int, stop: int) -> I64:
        """Pairs of the queries at the places `start` to `stop`, int64 ascending."""
        block = self.candidates.block(start, stop)
        query_texts = self.query_texts_Q[block.query_rows]
        reasons = structural_reasons(block, self.prepared.qrels, query_texts, self.doc_texts_N)
        allowed = (reasons & np.uint16(STRUCTURAL)) == 0
        rows, columns = np.nonzero(allowed & (allowed_rank(reasons) < self.depth))
        size = len(self.prepared.dataset.corpus)
        chosen = [(start + rows) * size + block.ids[rows, columns]]
        for places, docs in self.prepared.qrels.positives_in_turn(block.query_rows):
            chosen.append((start + places) * size + docs)
        return np.unique(np.concatenate(chosen)).astype(np.int64)

    def texts(self, pairs_P: I64) -> tuple[list[str], list[str]]:
        """Query texts and document texts of pairs."""
        dataset = self.prepared.dataset
        places, docs = np.divmod(pairs_P, len(dataset.corpus))
        return dataset.queries.texts(self.candidates.query_rows[places]), dataset.corpus.texts(docs)


def score_candidates(
    scorer: PairScorer, inputs: PairInputs, max_tokens: int, cache: Path
) -> PairScores:
    """Score the pairs of `inputs`, or map what is in the cache.

    A killed run goes on at the part of about 4,096 pairs it was in. A pair whose two texts a
    finished store of the same model holds is copied, not scored. Memory: one part of texts, one
    batch of at most `max_tokens` padded tokens, and while scoring 20 bytes for each pair that is
    known from before (about 60 while those are sorted).
    """
    recipe = digest_json({"schema": SCHEMA, "scorer": scorer.fingerprint, "max_tokens": max_tokens})
    folder = cache / FOLDER / digest_json([recipe, inputs.digest()])
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        logger.warning("%s does not match its manifest: scoring again", folder)
        discard(folder)
        manifest = None
    if manifest is None:
        _Job(scorer, inputs, max_tokens, folder, _known(cache / FOLDER, recipe)).run()
        manifest = Manifest.write(
            folder,
            schema=SCHEMA,
            kind="pair-scores",
            recipe=recipe,
            scorer=scorer.fingerprint,
            counts={"pairs": int(read_array(folder / "pairs.npy").size)},
        )
    remove_parts(folder)
    rows = np.asarray(inputs.candidates.query_rows)
    place_Q = np.full(len(inputs.prepared.dataset.queries), -1, dtype=np.int64)
    place_Q[rows] = np.arange(rows.size)
    pairs, scores = (read_array(folder / f"{name}.npy") for name in ("pairs", "scores"))
    content = digest_json(manifest.data["files"])
    return PairScores(pairs, scores, place_Q, len(inputs.prepared.dataset.corpus), content)


@dataclass(frozen=True, slots=True)
class _Known:
    """Scores of earlier stores by the digest of both texts; `keys` ascend."""

    keys: npt.NDArray[np.bytes_]
    scores: F32

    def find(self, keys: npt.NDArray[np.bytes_]) -> F32:
        """Scores float32 [len(keys)], NaN where there is none."""
        if not self.keys.size:
            return np.full(keys.size, np.nan, dtype=np.float32)
        at = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return np.where(self.keys[at] == keys, self.scores[at], np.float32(np.nan))


def _known(folder: Path, recipe: str) -> _Known:
    """What the finished stores of a recipe hold, in the order of their names."""
    keys: list[npt.NDArray[np.bytes_]] = [np.empty(0, dtype="S16")]
    scores: list[F32] = [np.empty(0, dtype=np.float32)]
    for store in sorted(folder.glob("*")):
        manifest = Manifest.read(store)
        if manifest is None or manifest.data.get("recipe") != recipe or not manifest.intact(store):
            continue
        keys.append(np.asarray(read_array(store / "texts.npy")))
        scores.append(np.asarray(read_array(store / "scores.npy")))
    ordered, first = np.unique(np.concatenate(keys), return_index=True)
    return _Known(ordered, np.concatenate(scores)[first])


@dataclass(frozen=True, slots=True)
class _Job:
    """Pairs on their way into the store."""

    scorer: PairScorer
    inputs: PairInputs
    max_tokens: int
    folder: Path
    known: _Known

    def run(self) -> None:
        """Write all parts, then the three columns."""
        sizes = [self.inputs.pairs(start, stop).size for start, stop in self._parts()]
        total = int(sum(sizes))
        queries = self.inputs.candidates.query_rows.size
        logger.info("cross-encoder: %d pairs of %d queries to score", total, queries)
        copied = 0
        with progress("cross-encoder", total=total, unit="pairs") as bar:
            for (start, stop), size in zip(self._parts(), sizes, strict=True):
                if part_done(self._part(start, "scores")):
                    bar.update(size)
                else:
                    copied += self._score(start, stop, bar.update)
        if copied:
            logger.info("cross-encoder: %d of them were known from earlier runs", copied)
        for name, kind in _COLUMNS.items():
            files = [self._part(start, name) for start, _ in self._parts()]
            join_arrays(files, self.folder / f"{name}.npy", kind, (total,))

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Places of the first query of each part and of the next: of the depth alone."""
        queries = self.inputs.candidates.query_rows.size
        step = max(1, _PART_PAIRS // self.inputs.depth)
        return ((start, min(start + step, queries)) for start in range(0, queries, step))

    def _part(self, start: int, name: str) -> Path:
        return self.folder / f"part-{_PART_PAIRS}-{start:09d}.{name}.npy"

    def _score(self, start: int, stop: int, done: Callable[[int], object]) -> int:
        pairs = self.inputs.pairs(start, stop)
        queries, documents = self.inputs.texts(pairs)
        # the length first: no two pairs are the same string
        both = [f"{len(q)} {q}{d}" for q, d in zip(queries, documents, strict=True)]
        texts = text_digests(both)
        scores = self.known.find(texts)
        new = np.flatnonzero(np.isnan(scores))
        done(pairs.size - new.size)
        scores[new] = score_pairs(
            self.scorer,
            [queries[i] for i in new],
            [documents[i] for i in new],
            self.max_tokens,
            done,
        )
        write_array(self._part(start, "pairs"), pairs)
        write_array(self._part(start, "texts"), texts)
        # sealed last: the scores' seal stands for the whole part
        write_part(self._part(start, "scores"), scores)
        return int(pairs.size - new.size)
