"""The Ray Data map: an actor pool that asks for blocks by number and returns what it computed."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import PyriteError
from .failure import Failure
from .session import Session


@dataclass(frozen=True, slots=True)
class Pool:
    """How many workers map `count` blocks, and what each may take."""

    session: Session
    workers: int
    count: int
    stage: str

    def results(
        self, make: Callable[[], Callable[[Any], Any]], ledger: Any
    ) -> Iterator[tuple[int, Any]]:
        """`(number, result)` as they are done; the result is a `Failure` where there is none."""
        import ray.data
        from ray import cloudpickle

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        config = self.session.config
        # of workers that die before they have begun anything
        context.max_consecutive_actor_init_deaths = config.tries
        given = (cloudpickle.dumps(make), sys.path, ledger, self.stage, config.tries)
        with ray.data.DataContext.current(context):
            numbers = [{"number": number} for number in range(self.count)]
            mapped = ray.data.from_items(numbers, override_num_blocks=self.count).map_batches(
                PoolWorker,
                fn_constructor_args=given,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    size=self.workers, max_tasks_in_flight_per_actor=1
                ),
                num_cpus=config.cpus_per_worker,
                num_gpus=config.gpus_per_worker,
            )
            for batch in mapped.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for number, result in zip(batch["number"], batch["result"], strict=True):
                    yield number.as_py(), pickle.loads(result.as_buffer())


class PoolWorker:
    """One worker of the pool, in a process of its own."""

    def __init__(self, make: bytes, paths: list[str], ledger: Any, stage: str, tries: int) -> None:
        self._ledger = ledger
        self._stage = stage
        self._tries = tries
        self._failure: Failure | None = None
        # what the driver can import, where its folders are
        sys.path += [path for path in paths if path not in sys.path]
        try:
            self._call = pickle.loads(make)()
        # told with the first block: Ray would start the worker again and again
        except Exception as error:
            self._failure = Failure.of(error)

    def __call__(self, batch: Any) -> Any:
        """The results of the blocks whose numbers are in `batch`."""
        import pyarrow as pa

        results = [pickle.dumps(self._result(n), protocol=5) for n in batch["number"].to_pylist()]
        return pa.table({"number": batch["number"], "result": pa.array(results, pa.large_binary())})

    def _result(self, number: int) -> Any:
        import ray

        if self._failure is not None:
            return self._failure
        block = ray.get(self._ledger.take.remote(number))
        if not block:
            return Failure.of(
                PyriteError(
                    f"{self._stage}: block {number} was begun {self._tries} times (ray.tries) and"
                    " its worker died each time; is there memory for it? give a worker more, or"
                    " make the blocks smaller"
                )
            )
        try:
            return self._call(pickle.loads(ray.get(block[0])))
        except Exception as error:
            return Failure.of(error)
