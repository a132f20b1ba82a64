"""Judges whose models stand in a pool of workers; what they say is kept where they are asked.

The store, the budget and the order of the rows stay with the process that asks. A worker gets one
call at a time and answers it from the texts in it alone, so which worker answers, and how many
there are, changes nothing; one that dies costs the call that it was at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ....core.encoder import Encoder
from ....core.encoders.build import build_encoder
from ....core.errors import PyriteError
from ....core.sbert import EncoderConfig
from ..budget import Budget
from ..case import Case, Estimate, Judgement
from ..platt import F64, Platt
from ..price import Price
from .answerer import Answerer
from .build import answerer_of
from .config import CrossConfig, LocalConfig
from .cross import CrossAnswerer
from .embedding import EmbeddingConfig, EmbeddingJudge

# a case for a model that reads, several at once for one that compares vectors
Asked = Case | Sequence[Case]
S = TypeVar("S", CrossConfig, EmbeddingConfig)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker makes a judge from; `key` is that of the judge it must be."""

    section: CrossConfig | LocalConfig | EmbeddingConfig
    seed: int
    knob: str
    key: str


class Pool(Protocol):
    """Workers that answer."""

    @property
    def slots(self) -> int:
        """Calls that can be under way at once."""

    def call(self, item: tuple[Recipe, Asked]) -> list[Any]:
        """What a worker answers; from several threads at once."""

    def map(self, items: Iterable[tuple[Recipe, Asked]]) -> Iterator[list[Any]]:
        """What workers answer, in the order of the items, which are drawn as they are needed."""


class JudgeWorker:
    """The judges of one worker; each loads its model at its first call."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], Answerer | EmbeddingJudge] = {}
        self._never = threading.Event()

    def __call__(self, item: tuple[Recipe, Asked]) -> list[Any]:
        """The judgements of a call, all replies of it, or the scores of each of several cases.

        Raises PyriteError if the worker's model is not that of the process that asks.
        """
        recipe, asked = item
        judge = self._judge(recipe)
        if isinstance(asked, Case):
            if isinstance(judge, EmbeddingJudge):
                raise TypeError("an embedding judge is asked about several cases at once")
            return list(judge.answers(asked, self._never))
        if not isinstance(judge, EmbeddingJudge):
            raise TypeError("a model that reads is asked about one case at a time")
        return [scores for _, scores in judge.raw_scores(asked)]

    def _judge(self, recipe: Recipe) -> Answerer | EmbeddingJudge:
        name = (recipe.key, recipe.seed)
        if name not in self._made:
            judge = _made(recipe)
            if judge.key != recipe.key:
                raise PyriteError(
                    f"{recipe.knob}: the model on a worker is not the one on the machine that asks;"
                    " put the same files under this path on every node, or name a hub id with its"
                    " revision"
                )
            self._made[name] = judge
        return self._made[name]


def _made(recipe: Recipe) -> Answerer | EmbeddingJudge:
    section = recipe.section
    if isinstance(section, EmbeddingConfig):
        return EmbeddingJudge(_encoder(section), section, recipe.knob)
    return answerer_of(section, Budget(), recipe.seed, recipe.knob)


def _encoder(section: EmbeddingConfig) -> Encoder:
    # the kinds that may stand in a pool keep nothing in a cache
    return build_encoder(section.encoder, Path())


def why_not_pooled(encoder: EncoderConfig) -> str | None:
    """Why an encoder's judge stays where it is asked; None: it may stand in a pool."""
    if encoder.kind not in ("sentence-transformers", "callable"):
        return f"encoder.kind={encoder.kind} is no model that a worker could load"
    if "," in encoder.device:
        return f"encoder.device={encoder.device} names devices of this machine"
    return None


def pooled_embedding(section: EmbeddingConfig, knob: str, pool: Pool) -> EmbeddingJudge:
    """The judge of a section, its vectors made and compared by the workers.

    The model is loaded here as well, on the CPU, for its fingerprint.
    """
    here = section.encoder.model_copy(update={"device": "cpu"})
    encoder = _encoder(section.model_copy(update={"encoder": here}))
    judge = EmbeddingJudge(encoder, section, knob)
    recipe = Recipe(_fitted(section, judge.platt), 0, knob, judge.key)
    return EmbeddingJudge(encoder, section, knob, PooledScores(recipe, pool))


def pooled_answerer(
    section: CrossConfig | LocalConfig, seed: int, knob: str, pool: Pool
) -> PooledAnswerer:
    """The answerer of a section, its model with the workers and, for its key, on the CPU here."""
    inner = answerer_of(section.model_copy(update={"device": "cpu"}), Budget(), seed, knob)
    if isinstance(inner, CrossAnswerer) and isinstance(section, CrossConfig):
        section = _fitted(section, inner.platt)
    return PooledAnswerer(inner, Recipe(section, seed, knob, inner.key), pool)


def _fitted(section: S, platt: Platt) -> S:
    """The section with the numbers of the file that it names, which a worker need not have."""
    numbers = {"bias": platt.bias, "temperature": platt.temperature, "calibration": None}
    return section.model_copy(update=numbers)


class PooledAnswerer:
    """An `Answerer` that has its parts answered by a pool; all else is the `inner` one's."""

    def __init__(self, inner: Answerer, recipe: Recipe, pool: Pool) -> None:
        self._inner = inner
        self._recipe = recipe
        self._pool = pool

    @property
    def label(self) -> str:
        return self._inner.label

    @property
    def key(self) -> str:
        return self._recipe.key

    @property
    def price(self) -> Price:
        return self._inner.price

    @property
    def concurrency(self) -> int:
        return self._pool.slots

    def parts(self, case: Case) -> list[Case]:
        return self._inner.parts(case)

    def cut_texts(self, case: Case) -> int:
        return self._inner.cut_texts(case)

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        if stop.is_set():
            raise CancelledError
        yield from self._pool.call((self._recipe, part))

    def estimate(self, part: Case) -> Estimate:
        return self._inner.estimate(part)


@dataclass(frozen=True, slots=True)
class PooledScores:
    """Scores of blocks of cases by a pool, for an `EmbeddingJudge`."""

    recipe: Recipe
    pool: Pool

    def __call__(self, blocks: Iterable[Sequence[Case]]) -> Iterator[list[F64]]:
        return self.pool.map((self.recipe, block) for block in blocks)
