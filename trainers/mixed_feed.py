"""What feeds the trainer with several datasets: one feed for each, and batches of one set each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.data_collator import (
    SentenceTransformerDataCollator,
)

from ..core.dataset import open_dataset
from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..miner.mine import Mined, mine
from .collator import ROW, DrawingCollator
from .drawer import Drawer
from .feed import Feed
from .made_pool import key_of
from .make_feed import make_feed
from .masks import MISSING
from .mixture import MixedBatches, Share, Slots, batch_shares
from .processes import process_count
from .run_config import TrainConfig
from .training_set import TrainingSet

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MinedSet:
    """One of `train.datasets`: the run that it would be alone, and what was mined for it."""

    run: TrainConfig
    mined: Mined
    weight: float

    @property
    def key(self) -> list[object]:
        """What of the set decides the weights of a model."""
        encoder = self.run.encoder
        prompts = [encoder.query_prompt, encoder.document_prompt]
        made = key_of(self.run.made)
        return [self.mined.manifest.data["key"], self.weight, *prompts, *made]


@dataclass(frozen=True, slots=True)
class MixedRows:
    """Training rows of S sets, whose query and text numbers never meet.

    The numbers of set s begin at `first_queries[s]` and `first_texts[s]`; `known` and `span` are
    as in `TrainingSet`, in these numbers.
    """

    sets: tuple[TrainingSet, ...]
    first_queries: I64
    first_texts: I64
    known: I64
    span: int

    @classmethod
    def of(cls, sets: Sequence[TrainingSet]) -> MixedRows:
        """From the rows of each set."""
        # a span is above every text's number, and every query of a row has a known positive
        spans = [s.span for s in sets]
        first_queries = np.cumsum([0, *(int(s.known[-1]) // s.span + 1 for s in sets)])[:-1]
        first_texts, span = np.cumsum([0, *spans])[:-1], sum(spans)
        known = [
            (s.known // s.span + q) * span + s.known % s.span + t
            for s, q, t in zip(sets, first_queries, first_texts, strict=True)
        ]
        return cls(tuple(sets), first_queries, first_texts, np.concatenate(known), span)

    def set_of(self, query: int) -> int:
        """The set of a query number."""
        return int(np.searchsorted(self.first_queries, query, side="right")) - 1


class MixedCollator(SentenceTransformerDataCollator):  # type: ignore[misc]
    """Collates slots of one batch as the collator of their set does, in the numbers of all sets."""

    def __init__(
        self,
        parts: Sequence[DrawingCollator],
        slots: Slots,
        rows: Sequence[int],
        first_queries: I64,
        first_texts: I64,
    ) -> None:
        """`rows` counts the rows of each part."""
        super().__init__(preprocess_fn=parts[0].preprocess_fn)
        self.parts = parts
        self.slots = slots
        self.first_rows = np.cumsum([0, *rows])[:-1]
        self.first_queries = first_queries
        self.first_texts = first_texts

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch; its label's `numbers` count the rows of all sets."""
        slots = np.array([feature[ROW] for feature in features], dtype=np.int64)
        rows, part, turn, step = self.slots.read(slots)
        batch = self.parts[part].collate(rows, turn, step)
        ids: torch.Tensor = batch["label"]["ids"]
        ids[:, 0] += int(self.first_queries[part])
        texts = ids[:, 1:]
        texts += int(self.first_texts[part]) * (texts != MISSING)
        batch["label"]["numbers"][:, 0] += int(self.first_rows[part])
        return batch


@dataclass(frozen=True, slots=True)
class MixedFeed:
    """As `Feed`, of several; nothing is replaced, and every set stays at its first generation."""

    dataset: datasets.Dataset
    parts: tuple[Feed, ...]
    batches: MixedBatches
    rows: MixedRows
    prompts: tuple[dict[str, str], ...]
    replacer: None = None

    @property
    def columns(self) -> list[str]:
        """Names of a row's texts, in the set that has the most."""
        return max((part.columns for part in self.parts), key=len)

    @property
    def drawer(self) -> Drawer:
        """The first set's, whose generation stands for all."""
        return self.parts[0].drawer

    def collator(self, preprocess: Callable[..., Any], prompts: dict[str, str]) -> MixedCollator:
        """What turns slots into batches; `prompts` do not count, each set has its own."""
        each = [
            part.collator(preprocess, own)
            for part, own in zip(self.parts, self.prompts, strict=True)
        ]
        sizes = [len(part.dataset) for part in self.parts]
        firsts = self.rows.first_queries, self.rows.first_texts
        return MixedCollator(each, self.batches.slots, sizes, *firsts)

    def watch(self, loss: torch.nn.Module) -> None:
        """Nothing is replaced, so the loss has nothing to report."""


def check_sets(config: TrainConfig) -> None:
    """Raise PyriteError, before anything is mined, for a dataset that fills no batch."""
    section, batches = config.train, []
    for at, run in enumerate(config.set_runs()):
        dataset = open_dataset(run.dataset, run.cache)
        qrels = dataset.qrels(run.dataset.train_split, run.dataset.min_grade)
        one = section.positives == "one"
        size = qrels.with_positives().size if one else qrels.pairs()[0].size
        if size < section.batch_size:
            raise PyriteError(
                f"train.batch_size={section.batch_size}, but train.datasets.{at}"
                f" ({run.dataset.path}) has {size} training pairs; set train.batch_size to at most"
                f" {size} or remove the dataset"
            )
        batches.append(size // section.batch_size)
    if batches:
        batch_shares([entry.weight for entry in section.datasets], sum(batches))


def mine_sets(config: TrainConfig, own: Mined, encoder: Encoder) -> list[MinedSet]:
    """Mine what is not mined yet for every item of `train.datasets`, in their order.

    `own` was mined for the run itself with `encoder`: sets with the same settings take it.
    """
    found = []
    for entry, run in zip(config.train.datasets, config.set_runs(), strict=True):
        if run.run_folder == config.run_folder:
            mined = own
        else:
            mined = mine(run, encoder if run.encoder == config.encoder else None)
        found.append(MinedSet(run, mined, entry.weight))
    return found


def make_mixed_feed(
    config: TrainConfig,
    sets: Sequence[MinedSet],
    n: int,
    system: str,
    prompts: Callable[[TrainConfig, list[str]], dict[str, str]],
) -> tuple[MixedRows, MixedFeed]:
    """Rows and negatives of the training named `system`, with `prompts` of a run's columns.

    With `n` 0 no row has a negative, else each has as many as its set's own run would give it.

    Raises PyriteError as `make_feed`, or if a set's share of the epoch is no batch.
    """
    import datasets

    section = config.train
    parts: list[Feed] = []
    rows: list[TrainingSet] = []
    for one in sets:
        own = n and (section.negatives or one.run.sampler.total)
        pairs, part = make_feed(one.run, one.run.train, one.mined, system, own, one.run.made)
        rows.append(pairs)
        parts.append(part)
    whole, processes = section.batch_size, process_count()
    passes = [len(part.dataset) // whole for part in parts]
    shares = batch_shares([one.weight for one in sets], sum(passes))
    rank = torch.distributed.get_rank() if processes > 1 else 0
    folder = config.run_folder / "feed" / f"mixture-{system}-{rank}"
    batches = MixedBatches(
        [Share(p.batches.points, b) for p, b in zip(parts, shares, strict=True)],
        Slots.create(folder, sum(shares), whole),
        whole // processes,
        config.seed,
        processes,
        section.gradient_accumulation,
    )
    _report(system, sets, parts, shares, passes)
    slots = datasets.Dataset.from_dict({ROW: np.arange(sum(shares) * whole)})
    each = tuple(prompts(one.run, part.columns) for one, part in zip(sets, parts, strict=True))
    mixed = MixedRows.of(rows)
    return mixed, MixedFeed(slots, tuple(parts), batches, mixed, each)


def _report(
    system: str,
    sets: Sequence[MinedSet],
    parts: Sequence[Feed],
    shares: Sequence[int],
    passes: Sequence[int],
) -> None:
    for one, part, share, whole in zip(sets, parts, shares, passes, strict=True):
        if share == whole:
            use = "every row once"
        elif share > whole:
            use = f"its rows {share / whole:.2f} times, each time in another order"
        else:
            use = f"{share / whole:.0%} of its rows, the next epoch goes on with the others"
        logger.info(
            "training %s: %d of an epoch's %d batches are of %s (%d rows, %d batches): %s",
            system,
            share,
            sum(shares),
            one.run.dataset.path,
            len(part.dataset),
            whole,
            use,
        )
