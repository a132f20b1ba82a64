"""Exact search over shards that workers hold; merged under the total order, so the same bytes.

Scores are correctly rounded inner products, whoever computes them, and every shard gives its true
top k. What the shards give together holds the true top k of all, in the one order there is.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from ..core.digest import digest_array
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.engine.session import MIB, Session
from ..core.errors import PyriteError
from ..core.ids import I64
from .config import KEY, IndexConfig
from .flat import check_search
from .shard import Piece, Shard
from .topk import order_rows

_SENT_BYTES = 8 * MIB
_PATIENCE_S = 30.0
_AT_ONCE = 2
_SENDERS = 4


def cut(corpus: Embeddings, shards: int) -> list[list[Piece]]:
    """Row ranges of nearly equal length, each cut where the files of the corpus end.

    Whole files that follow each other stay together: they are one index.
    """
    borders = [len(corpus) * at // shards for at in range(shards + 1)]
    files = [at * corpus.shard_rows for at in range(len(corpus.shards))] + [len(corpus)]
    found = []
    for start, stop in itertools.pairwise(borders):
        inside = [f for f in files if start <= f <= stop]
        edges = sorted({start, stop, *inside[:1], *inside[-1:]})
        found.append([Piece(a, b) for a, b in itertools.pairwise(edges)])
    return found


def shards_of(
    config: IndexConfig, corpus: Embeddings, rank_N: I64, session: Session, key: str = KEY
) -> ShardedIndex:
    """The shards of a corpus: those that another source of the same run has, or new ones.

    The cluster has room for one set of them, and every backend gives the same bytes.
    """
    of = "shards", corpus.identity or id(corpus), digest_array(rank_N)
    index: ShardedIndex | None = session.holders.get(of)
    if index is None:
        index = session.holders[of] = ShardedIndex(config, corpus, rank_N, session, key)
    return index


class ShardedIndex:
    """A `DenseIndex` whose parts are held by actors, one for each worker.

    Where the workers see the files of the corpus they map them; otherwise a part is sent in blocks,
    never more than a few of them at a time. The actors start with the first search. A part whose
    actor died is built again from the driver's files, by a new actor or, if there is no room for
    one, by another that lives; a search that it was at is asked again.
    """

    at_once = _AT_ONCE

    def __init__(
        self,
        config: IndexConfig,
        corpus: Embeddings,
        rank_N: I64,
        session: Session,
        key: str = KEY,
    ) -> None:
        self._config, self._key = config, key
        self._corpus, self._rank_N = corpus, rank_N
        self._session = session
        self._parts = cut(corpus, min(session.room(), len(corpus)))
        self._actors: dict[int, Any] = {}
        # searches come from several threads
        self._lock = threading.Lock()
        self._sending = threading.Semaphore(_SENDERS)

    def __len__(self) -> int:
        return len(self._corpus)

    def search(self, queries_BD: F32, k: int) -> tuple[I64, F32]:
        """The true top `k`: ids int64 [B, k] and scores float32 [B, k], in the total order.

        Raises PyriteError if k > N, the dimensions differ or a part cannot be held by any worker.
        """
        import ray

        check_search(len(self), self._corpus.dimension, queries_BD, k)
        self._check_store(len(queries_BD), k)
        self._start()
        queries = ray.put(np.ascontiguousarray(queries_BD))
        asked = [self._ask(part, queries, k) for part in range(len(self._parts))]
        found = [self._answer(part, *asked[part], queries, k) for part in range(len(asked))]
        ids, scores = (np.concatenate(columns, axis=1) for columns in zip(*found, strict=True))
        return order_rows(ids, scores, self._rank_N, k)

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of the searches under way here, beside what the workers hold, in bytes."""
        pieces = sum(len(part) for part in self._parts)
        return self.at_once * batch * (8 * self._corpus.dimension + 4 * 12 * pieces * k)

    def _check_store(self, batch: int, k: int) -> None:
        each = batch * (4 * self._corpus.dimension + 12 * k * sum(map(len, self._parts)))
        needed, free = self.at_once * each, self._session.store_bytes - self._session.shared_bytes
        if needed > free:
            raise PyriteError(
                f"ray.object_store_mib={self._session.config.object_store_mib}: {self.at_once}"
                f" blocks of {batch} queries take {needed / MIB:.0f} MiB with what the shards find;"
                " set retrieve.block_queries lower or ray.object_store_mib higher"
            )

    def actors(self) -> dict[int, Any]:
        """The actor of each part; empty before the first search."""
        return dict(self._actors)

    def _start(self) -> None:
        with self._lock:
            if self._actors:
                return
            parts = self._parts
            size = max(sum(p.stop - p.start for p in part) for part in parts)
            row = self._corpus.shards[0].dtype.itemsize * self._corpus.dimension
            how = "mapped by" if self._mapped() else "sent to"
            self._session.plan(
                f"search: {len(self):,} documents in {len(parts)} shards of"
                f" {size * row / MIB:.0f} MiB, {how} one worker each; {self.at_once} blocks of"
                " queries under way"
            )
            with ThreadPoolExecutor(len(parts)) as pool:
                actors = list(pool.map(self._held, range(len(parts))))
            self._actors = dict(enumerate(actors))

    def _held(self, part: int, patient: bool = True) -> Any:
        """A new actor that holds a part, or None if there is no room and one is not `patient`."""
        import ray

        config = self._session.config
        options = {"num_cpus": config.cpus_per_worker, "num_gpus": config.gpus_per_worker}
        start = ray.remote(Shard).options(**options, max_restarts=0).remote
        reason = ""
        for _ in range(config.tries):
            actor = start(self._config, self._session.threads, self._key)
            try:
                if not self._started(actor, patient):
                    return None
                self._load(part, actor)
            except ray.exceptions.RayActorError as error:
                reason = str(error)
                continue
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            return actor
        raise self._given_up("a shard could not be held", reason)

    def _started(self, actor: Any, patient: bool) -> bool:
        import ray

        ready = actor.about.remote()
        while not ray.wait([ready], timeout=_PATIENCE_S)[0]:
            if not patient:
                return False
            self._session.plan("search: waiting for room for the workers that hold the shards")
        ray.get(ready)
        return True

    def _ask(self, part: int, queries: Any, k: int) -> tuple[Any, Any]:
        actor = self._actors[part]
        return actor, actor.search.remote(part, queries, k)

    def _answer(self, part: int, actor: Any, ref: Any, queries: Any, k: int) -> tuple[I64, F32]:
        import ray

        reason = ""
        for _ in range(self._session.config.tries):
            try:
                found: tuple[I64, F32] = ray.get(ref)
                return found
            except ray.exceptions.RayActorError as error:
                reason = str(error)
                # the one that was to take the shard over may be dead too: then that is the next
                with contextlib.suppress(ray.exceptions.RayActorError):
                    self._replace(part, actor)
                actor, ref = self._ask(part, queries, k)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
        raise self._given_up("a block of queries could not be searched", reason)

    def _given_up(self, what: str, reason: str) -> PyriteError:
        last = reason.strip().rpartition("\n")[2]
        return PyriteError(
            f"search: {what} in {self._session.config.tries} tries (ray.tries), its worker died"
            f" each time ({last}); for want of memory set ray.workers higher or"
            " retrieve.block_queries lower"
        )

    def _replace(self, part: int, dead: Any) -> None:
        """Have the part held by another actor than `dead`, unless a thread did so already."""
        with self._lock:
            if self._actors[part] is not dead:
                return
            self._session.plan(f"search: a worker died; its shard {part} is built again")
            new = self._held(part, patient=False)
            if new is None:
                self._session.plan(f"search: no room for a new worker; another holds shard {part}")
                new = self._other(dead)
                self._load(part, new)
            self._actors[part] = new

    def _other(self, dead: Any) -> Any:
        actors = list(self._actors.values())
        living = [actor for actor in actors if actor is not dead]
        if not living:
            raise PyriteError(
                "search: no worker is left to hold the shards; add nodes to the cluster and run"
                " again"
            )
        return min(living, key=lambda actor: sum(actor is other for other in actors))

    def _mapped(self) -> bool:
        # a slice of a map is no file
        whole = all(isinstance(f.base, mmap.mmap) for f in self._corpus.shards)
        return self._session.sees_files and whole

    def _load(self, part: int, actor: Any) -> None:
        """Have `actor` hold a part."""
        import ray

        files = self._corpus.shards
        ray.get(actor.forget.remote(part))
        for piece in self._parts[part]:
            rank = ray.put(self._rank_N[piece.start : piece.stop])
            if self._mapped():
                inside = piece.of(self._corpus)
                paths = [(str(cast(Any, files[at]).filename), rows) for at, rows in inside]
                ray.get(actor.map.remote(part, piece, paths, rank))
                continue
            ray.get(actor.begin.remote(piece, self._corpus.dimension, files[0].dtype.str))
            with self._sending:
                self._send(piece, actor)
            ray.get(actor.end.remote(part, piece, rank))

    def _send(self, piece: Piece, actor: Any) -> None:
        """Send the rows of a piece, two blocks at a time."""
        import ray

        files = self._corpus.shards
        step = max(1, _SENT_BYTES // (files[0].dtype.itemsize * self._corpus.dimension))
        under_way: list[Any] = []
        at = 0
        for number, inside in piece.of(self._corpus):
            for start in range(inside.start, inside.stop, step):
                block = np.asarray(files[number][start : min(start + step, inside.stop)])
                under_way.append(actor.add.remote(piece, at, block))
                at += len(block)
                if len(under_way) == 2:
                    ray.get(under_way.pop(0))
        ray.get(under_way)
