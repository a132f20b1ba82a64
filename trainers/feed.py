"""What feeds the trainer: rows, negatives by generation, and who draws and orders them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformerTrainer
from transformers import TrainerCallback

from ..core.beir import Dataset
from ..core.candidates import PAD_ID
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.mapped import Mapped
from ..core.store import read_array, write_array
from ..core.text_file import JoinedTexts, TextFile, Texts
from .checkpoints import checkpoint_folder
from .collator import ROW, DrawingCollator, ScoreLabels, columns
from .drawer import Drawer
from .epoch_batches import Clock, EpochBatches, steps_in
from .loss import ContrastiveLoss
from .made_pool import MadePool
from .masks import MISSING
from .mixture import MixedBatches
from .pool import Pools
from .processes import is_main, process_count
from .replace import Replacer
from .row_table import RowTable, points_of
from .switches import Switches
from .teacher import Teacher
from .train_config import TrainSection

if TYPE_CHECKING:
    import datasets

    from .logits import Sides
    from .mixed_feed import MixedFeed
    from .step import Step

logger = logging.getLogger(__name__)

GENERATIONS = "generations.npy"


@dataclass(frozen=True, slots=True)
class Feed:
    """Everything between mined negatives and the trainer; see `open_feed`."""

    dataset: datasets.Dataset
    drawer: Drawer
    batches: EpochBatches
    texts: tuple[Texts, Texts]
    replacer: Replacer | None
    labels: ScoreLabels

    @property
    def columns(self) -> list[str]:
        """Names of a row's texts."""
        return columns(self.drawer.width)

    def collator(self, preprocess: Callable[..., Any], prompts: dict[str, str]) -> DrawingCollator:
        """What turns row numbers into batches; `preprocess` is the model's."""
        clock = self.batches.clock
        return DrawingCollator(preprocess, prompts, self.drawer, clock, *self.texts, self.labels)

    def point_to(self, generation: int, since: int) -> None:
        """Draw from `generation` from step `since` on.

        The step must be further ahead than what workers collate in advance. Raises PyriteError if
        the generation is not there.
        """
        _ = self.drawer.pools[generation]
        self.drawer.generations.change(np.zeros(1, dtype=np.int64), [generation], since)

    def watch(self, loss: torch.nn.Module) -> None:
        """Have the loss report each row's negatives to the rule that replaces them."""
        if self.replacer is None:
            return
        replacer = self.replacer

        def observe(step: Step, sides: Sides) -> None:
            numbers, scores = own_scores(step, sides)
            replacer.observe(numbers[:, 0], numbers[:, 1], scores)

        for module in loss.modules():
            if isinstance(module, ContrastiveLoss):
                module.observers.append(observe)


def own_scores(step: Step, sides: Sides) -> tuple[I64, F32]:
    """Numbers of the batch's rows, and the mean similarity of each query and its own negatives.

    NaN for a row without negatives. Raises PyriteError if the batch came without row numbers.
    """
    if step.numbers_B2 is None:
        raise PyriteError("train.draw=replace needs labels['numbers']; use the feed's collator")
    own = sides.own(step.ids, step.rows_B)[:, 1:].detach()
    here = step.ids.docs_M[step.ids.own_columns(step.rows_B)[:, 1:]] != MISSING
    # 0 / 0 is NaN, as it should be
    means = (own * here).sum(dim=1) / here.sum(dim=1)
    return step.numbers_B2.cpu().numpy(), means.float().cpu().numpy()


def open_feed(
    folder: Path,
    rows: RowTable,
    dataset: Dataset,
    vectors_RD: F32 | None,
    config: TrainSection,
    n: int,
    seed: int,
    system: str = "mined",
    teacher: Teacher | None = None,
    made: MadePool | None = None,
) -> Feed:
    """Feed `n` negatives a row out of the generations below `folder`, beginning with number 0.

    `vectors_RD` float32 [R, D] are the rows' queries, for NGAME batches. `system` names the files
    that this training's processes share. `made` negatives come beside the `n`. Raises PyriteError
    for what cannot be combined.
    """
    import datasets

    size, processes = len(rows), process_count()
    if dataset.queries.path is None or dataset.corpus.path is None:
        raise PyriteError("a feed needs text tables in files; open the dataset with open_dataset")
    shared = folder / f"{system}-{torch.distributed.get_rank() if processes > 1 else 0}"
    steps = steps_in(size, config.batch_size, config.gradient_accumulation)
    clock = Clock(Mapped.zeros(shared / "step_of_row.npy", np.int64, (size,)), steps)
    generations = Switches.create(shared / "generation.npy", 1)
    pools, replacer = Pools(folder), None
    if config.draw == "replace" and n:
        check_replace(config, processes)
        replacer = Replacer(
            config.replace,
            Switches.create(shared / "turns.npy", size),
            (pools[0].ids != PAD_ID).sum(axis=1)[rows.places.array],
            n,
        )
    turns = replacer.turns if replacer else None
    drawer = Drawer(rows, pools, generations, turns, config.draw, n, seed, made)
    ngame = config.batches == "ngame"
    if ngame and vectors_RD is None:
        raise ValueError("ngame batches without vectors")
    none = np.empty((size, 0), dtype=np.float32)
    batches = EpochBatches(
        points_of(rows, dataset, vectors_RD if ngame else none),
        clock,
        config.batch_size // processes,
        seed,
        config.ngame.double_at if ngame else None,
        processes,
        config.gradient_accumulation,
    )
    numbers = datasets.Dataset.from_dict({ROW: np.arange(size)})
    corpus: Texts = TextFile(dataset.corpus.path)
    if made is not None:
        corpus = JoinedTexts(corpus, made.first, TextFile(made.texts))
    labels = ScoreLabels(teacher, config.loss.needs_teacher, config.doubt != "none")
    return Feed(
        numbers, drawer, batches, (TextFile(dataset.queries.path), corpus), replacer, labels
    )


def check_replace(config: TrainSection, processes: int) -> None:
    """Raise PyriteError for what Conan's rule cannot be combined with."""
    ahead = 2 * config.num_workers + 2
    if config.replace.every < ahead:
        raise PyriteError(
            f"train.replace.every={config.replace.every}, but {config.num_workers} workers collate"
            f" up to {ahead} steps ahead; raise it to {ahead} or lower train.num_workers"
        )
    if processes > 1:
        raise PyriteError(
            f"train.draw=replace with {processes} processes: each sees its own rows' scores only;"
            " train in one process or set train.draw=rotate"
        )


class KeepFeed(TrainerCallback):  # type: ignore[misc]
    """Saves with a checkpoint which generation and which replacements are in force."""

    def __init__(self, feed: Feed | MixedFeed) -> None:
        self._feed = feed

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step:
            folder = checkpoint_folder(Path(args.output_dir), state.global_step)
            self._feed.drawer.generations.restore(np.asarray(read_array(folder / GENERATIONS)))
            if self._feed.replacer is not None:
                self._feed.replacer.load(folder)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # with several processes a resumed epoch's number does not get through to the sampler
        batches = self._feed.batches
        batches.set_epoch(state.global_step // batches.clock.steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        replacer = self._feed.replacer
        if replacer is not None and state.global_step % replacer.config.every == 0:
            replacer.check(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not is_main():
            return
        folder = checkpoint_folder(Path(args.output_dir), state.global_step)
        write_array(folder / GENERATIONS, self._feed.drawer.generations.words)
        if self._feed.replacer is not None:
            self._feed.replacer.save(folder)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._feed.replacer is not None:
            logger.info("%d lists of negatives were replaced", self._feed.replacer.replaced)


class FeedTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The trainer with a feed's rows, batches and draws."""

    def __init__(self, feed: Feed | MixedFeed, prompts: dict[str, str], **options: Any) -> None:
        self._feed = feed
        model = options["model"]
        super().__init__(
            train_dataset=feed.dataset,
            data_collator=feed.collator(model.preprocess, prompts),
            callbacks=[KeepFeed(feed)],
            **options,
        )

    def get_batch_sampler(self, *args: Any, **kwargs: Any) -> EpochBatches | MixedBatches:
        """The feed's batches, whatever the trainer's own arguments say."""
        return self._feed.batches
