"""Choosing for one block of queries, apart from all files: here or in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..core.candidates import Candidates, Negatives
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.tables import Qrels
from .choose import Context
from .filters import U16, FilterConfig
from .mix import Pool, choose_mix
from .positives import Positives
from .random_source import random_candidates
from .samplers import SamplerConfig
from .tally import Tally, tally_candidates, tally_negatives

_RANDOM_SPARE = 64
_RESULT_SPARE = 1 << 18  # counts, histograms, names


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings that decide which candidates become negatives."""

    filters: FilterConfig
    sampler: SamplerConfig
    seed: int
    block_queries: int

    @property
    def only_random(self) -> bool:
        """Whether what was retrieved plays no part."""
        alone = all(p.name == "random" and not p.outside for p in self.sampler.parts)
        return alone and "relax" not in self.sampler.on_short

    @property
    def capped(self) -> bool:
        """Whether spares are drawn, of which a cap over the whole run takes some."""
        return self.sampler.max_uses is not None

    @property
    def needs_vectors(self) -> bool:
        """Whether a rule or a sampler looks at vectors, besides the candidates' scores."""
        filters, sampler = self.filters, self.sampler
        by_vectors = filters.two_conditions or filters.cluster_false_negatives
        near = filters.near_positive is not None
        drawn = any(p.name == "saha" or p.cluster != "any" for p in sampler.parts)
        return by_vectors or near or drawn or sampler.needs_random


@dataclass(frozen=True, slots=True)
class Block:
    """Candidates of a block with the positives of its queries, as `Positives.rows` cuts them.

    `pos_scores` float32 [Q] is the score that each row is compared with, `places` int64 [Q] where
    its query stands among the mined ones, `pairs` float32 all scores of the block's positives.
    """

    candidates: Candidates
    pos_scores: F32
    places: I64
    pairs: F32

    @classmethod
    def of(cls, candidates: Candidates, positives: Positives, start: int) -> Block:
        """The block of the queries from place `start` on."""
        stop = start + candidates.query_rows.size
        pairs = positives.pairs[positives.starts[start] : positives.starts[stop]]
        return cls(*positives.rows(candidates, start), pairs)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A block's reasons uint16 [Q, K], its negatives (with spares under a cap), its counts."""

    reasons: U16
    negatives: Negatives
    tally: Tally


@dataclass(frozen=True, slots=True)
class Chooser:
    """All that choosing needs besides the block; it holds no text and no open file.

    `qrels` are the judgements that were read, before equal queries share theirs; `edges` float32
    the bins of the histograms.
    """

    context: Context
    choice: Choice
    qrels: Qrels
    edges: F32

    def __call__(self, block: Block) -> Chosen:
        """Reasons, draw and counts of a block; they depend on nothing but the arguments."""
        context, choice, pos_scores = self.context, self.choice, block.pos_scores
        candidates, places = block.candidates, block.places
        random = random_pool(context, self.qrels, choice, candidates, pos_scores, places)
        if random is not None and choice.only_random:
            retrieved = random
        else:
            retrieved = Pool.of(candidates, pos_scores, context, choice.filters)
        sampler, cap = choice.sampler, choice.capped
        negatives = choose_mix(retrieved, random, pos_scores, context, sampler, choice.seed, cap)
        tally = tally_candidates(retrieved.candidates, retrieved.reasons, block.pairs, self.edges)
        if context.checks is not None:
            tally.denoise = context.checks.tally(retrieved.candidates, retrieved.reasons)
        if not cap:
            tally.merge(tally_negatives(negatives, self.edges))
        return Chosen(retrieved.reasons, negatives, tally)

    def without_vectors(self) -> Chooser:
        """The same, lighter by the vectors, where no rule and no sampler looks at them."""
        if self.choice.needs_vectors:
            return self
        near = self.context.near
        if near is not None:
            near = replace(near, corpus=Embeddings((), 1, ""))
        context = replace(self.context, vectors=None, triangles=None, near=near)
        return replace(self, context=context)

    def result_bytes(self, rows: int, depth: int, documents: int) -> int:
        """A bound of what `Chosen` takes for a block of `rows` rows and `depth` candidates."""
        if self.choice.only_random:
            depth = random_depth(documents, self.qrels, self.choice)
        drawn = self.choice.sampler.total * (2 if self.choice.capped else 1)
        return rows * (2 * depth + 22 * drawn + 20) + _RESULT_SPARE


# the chosen of each block by its number, of so many blocks whose results take so many bytes
Spread = Callable[[Chooser, Iterator[Block], int, int], Iterator[tuple[int, Chosen]]]


def here(
    chooser: Chooser, blocks: Iterator[Block], count: int, result_bytes: int
) -> Iterator[tuple[int, Chosen]]:
    """One block after the other, in this process."""
    return enumerate(map(chooser, blocks))


def random_depth(documents: int, qrels: Qrels, choice: Choice, listed: int = 0) -> int:
    """How many random documents a query gets, out of `documents`, of which `listed` may go."""
    most = int(np.diff(qrels.indptr).max(initial=0))
    wanted = choice.sampler.total * (2 if choice.capped else 1)
    return min(documents, wanted + most + _RANDOM_SPARE + listed)


def random_pool(
    context: Context,
    qrels: Qrels,
    choice: Choice,
    block: Candidates,
    pos_scores_Q: F32,
    places_Q: I64,
) -> Pool | None:
    """Random documents for the queries of a block, which stand at `places_Q` among the mined.

    None where the sampler draws nothing at random. `qrels` decide how many there are.
    """
    if not choice.sampler.needs_random:
        return None
    vectors = context.vectors
    if vectors is None:
        raise ValueError("random documents without vectors")
    # enough are left even where all that was retrieved is drawn
    listed = block.ids.shape[1] if any(p.outside for p in choice.sampler.parts) else 0
    found = random_candidates(
        block.query_rows,
        context.query_ids_Q[block.query_rows],
        vectors.queries.take(places_Q),
        vectors.corpus,
        context.rank_N,
        random_depth(len(vectors.corpus), qrels, choice, listed),
        choice.seed,
    )
    # no cross-encoder reads them: a random document is irrelevant unless it is known not to be
    known = {"allow_unchecked": True, "depth": found.ids.shape[1]}
    denoise = choice.filters.denoise.model_copy(update=known)
    filters = choice.filters.model_copy(update={"denoise": denoise})
    found = replace(found, positive_rows=block.positive_rows)
    return Pool.of(found, pos_scores_Q, context, filters)
