"""Blocks on the workers: a Ray Data map over an actor pool, with a bound on what is under way.

Ray Data holds the pool, starts workers, and starts dead ones again. It maps over the numbers of
the blocks alone: the blocks are put into the object store by the driver, a few at a time, and a
worker asks the ledger on the driver's node for its own. So the blocks may come from any iterator,
and what lies in the store is bounded by what was handed out and not yet delivered.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..errors import PyriteError
from .failure import Failure
from .ledger import Ledger
from .pool import Pool
from .session import MIB, Session

A = TypeVar("A")
B = TypeVar("B")


def on_workers(
    session: Session,
    make: Callable[[], Callable[[A], B]],
    blocks: Iterable[A],
    count: int,
    stage: str,
    result_bytes: int,
) -> Iterator[tuple[int, B]]:
    """`(number, make()(block))` of each of the `count` blocks, in the order in which they are done.

    `make` runs once on each worker. It is pickled by value (cloudpickle); the modules that it names
    must be importable there. `blocks` is read here, a few ahead: at most
    `ray.blocks_per_worker` for each worker and one more, and no more than `ray.object_store_mib`
    together with results of `result_bytes` each. The order is no block's own: whoever writes
    results as files named by number needs none, and a slow block holds up no other. A block whose
    worker died is begun again, `ray.tries` times in all; no other block is repeated for it.
    Raises what `make` or a worker raises, and PyriteError for a block that does not fit or that
    kills its workers.
    """
    if count:
        yield from _UnderWay(session, count, stage, result_bytes).run(make, iter(blocks))


class _UnderWay:
    """The blocks that were handed out and not yet delivered."""

    def __init__(self, session: Session, count: int, stage: str, result_bytes: int) -> None:
        self.session = session
        self.pool = Pool(session, min(session.workers(), count), count, stage)
        self.result_bytes = result_bytes
        self.most = self.pool.workers * session.config.blocks_per_worker + 1
        self.free = session.store_bytes - session.shared_bytes
        self.sizes: dict[int, int] = {}
        self.refs: dict[int, Any] = {}
        self.fed = 0
        self.waiting: bytes | None = None

    def run(
        self, make: Callable[[], Callable[[A], B]], blocks: Iterator[A]
    ) -> Iterator[tuple[int, B]]:
        """Feed and deliver until all are done."""
        import ray

        pool = self.pool
        self.session.plan(
            f"{pool.stage}: {pool.count:,} block{'s' * (pool.count != 1)} on {pool.workers}"
            f" worker{'s' * (pool.workers != 1)}; at most {self.most} under way, in"
            f" {self.free / MIB:.0f} MiB of the object store"
        )
        ledger = start_ledger(self.session)
        try:
            self._feed(blocks, ledger)
            for number, result in pool.results(make, ledger):
                if isinstance(result, Failure):
                    raise result.error()
                del self.sizes[number], self.refs[number]
                ray.get(ledger.drop.remote(number))
                yield number, result
                self._feed(blocks, ledger)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise PyriteError(
                f"{pool.stage}: Ray gave up ({last}); finished blocks are kept, run again to go on"
            ) from error
        finally:
            ray.kill(ledger)

    def _feed(self, blocks: Iterator[A], ledger: Any) -> None:
        import ray

        while self.fed < self.pool.count and len(self.sizes) < self.most:
            raw, self.waiting = self.waiting, None
            if raw is None:
                raw = pickle.dumps(next(blocks), protocol=5)
            size = len(raw) + self.result_bytes
            self._check(size)
            if sum(self.sizes.values()) + size > self.free:
                self.waiting = raw
                return
            ref = ray.put(raw)
            ray.get(ledger.add.remote(self.fed, [ref]))
            self.sizes[self.fed], self.refs[self.fed] = size, ref
            self.fed += 1

    def _check(self, size: int) -> None:
        # two at least: one may be held by a worker whose node is gone
        if 2 * size > self.free:
            needed = -(-(2 * size + self.session.shared_bytes) // MIB)
            raise PyriteError(
                f"ray.object_store_mib={self.session.config.object_store_mib}: two blocks of the"
                f" stage {self.pool.stage} take {2 * size / MIB:.0f} MiB with their results; set"
                f" ray.object_store_mib to at least {needed}"
            )


def start_ledger(session: Session) -> Any:
    """The ledger of one map, on the driver's node: it goes only when the driver does."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(session.node, soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_concurrency": 10_000}
    return ray.remote(Ledger).options(**options).remote(session.config.tries)
