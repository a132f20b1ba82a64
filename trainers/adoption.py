"""Taking a generation into a running training: its pool, the swap, and what that frees."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np

from ..core.dataset import open_dataset
from ..core.digest import digest_json
from ..core.store import read_array
from ..miner.negatives_file import FILE, read_scored
from .checkpoints import KEPT
from .feed import GENERATIONS, Feed
from .generations import Generation, Generations
from .pool import SCHEMA, pool_folder, write_pool
from .row_table import asked_of
from .run_config import TrainConfig
from .swaps import Swaps
from .switches import numbers_in
from .training_set import TrainingSet

logger = logging.getLogger(__name__)

_ONLY = np.zeros(1, dtype=np.int64)


class Adoption:
    """The generations of a feed: the one in use, those that are still needed, and the next."""

    def __init__(
        self, config: TrainConfig, feed: Feed, rows: TrainingSet, store: Generations
    ) -> None:
        self._config, self._feed, self._store = config, feed, store
        self._asked = asked_of(rows, config.filters.positive_score == "each")
        self._dataset = open_dataset(config.dataset, config.cache)

    @property
    def latest(self) -> int:
        """The generation that was swapped to last, in force or about to be."""
        return int(self._feed.drawer.generations.latest(_ONLY)[0])

    @property
    def since(self) -> int:
        """The step from which on it is in force."""
        return int(self._feed.drawer.generations.since(_ONLY)[0])

    def write_pools(self) -> None:
        """Lay out what a restored checkpoint draws from."""
        for number in sorted(self._in_use()):
            generation = self._store.get(number)
            # without one the pool of before the kill is there, or the feed says that it is not
            if generation is not None and generation.manifest.intact(generation.folder):
                self.write(generation)

    def write(self, generation: Generation) -> None:
        """Lay a generation out as training maps it, or keep what is there."""
        tables = (self._dataset.queries, self._dataset.corpus)
        total = self._config.sampler.total
        scored = read_scored(generation.folder / FILE, *tables, total)
        key = digest_json([SCHEMA, generation.key, self._asked.query_rows.size, total])
        write_pool(self._folder, generation.number, scored, self._asked, key)

    def swap(self, number: int, since: int) -> None:
        """Draw from a generation that is laid out, from step `since` on."""
        self._feed.point_to(number, since)

    def remove(self, checkpoints: Path, swaps: Swaps, keep: int) -> None:
        """Remove generations that neither this training nor a resume of it can ask for."""
        needed, steps = self._in_use(), []
        for path in sorted(checkpoints.glob("checkpoint-*")):
            steps.append(int(path.name.rpartition("-")[2]))
            if (path / GENERATIONS).exists():
                needed |= numbers_in(np.asarray(read_array(path / GENERATIONS)))
        # a resume begins at one of the last checkpoints, and repeats what came after it
        needed |= swaps.after(min(sorted(steps)[-KEPT:], default=-1))
        used = self._store.get(self.latest)
        needed |= {g.number for g in self._store.all() if used is None or g.step > used.step}
        for number in self._store.remove(needed, keep):
            shutil.rmtree(pool_folder(self._folder, number), ignore_errors=True)

    def _in_use(self) -> set[int]:
        return numbers_in(self._feed.drawer.generations.words)

    @property
    def _folder(self) -> Path:
        return self._feed.drawer.pools.folder
