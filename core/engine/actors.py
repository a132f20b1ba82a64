"""Workers for calls that come one by one: what each has loaded stays loaded between them.

A map of blocks (`blocks.py`) begins and ends with its stage. A judge is asked about some rows,
then another judge about what is left of them, and so on to the end of the file.
"""

from __future__ import annotations

import pickle
import queue
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ..encoders.parallel import in_order
from ..errors import PyriteError
from .failure import Failure
from .session import Session, use_threads

A = TypeVar("A")
B = TypeVar("B")


class Actors(Generic[A, B]):
    """`slots` actors, each with a `make()` of its own; to be closed.

    One call at a time goes to an actor. A call whose actor died is made again, `ray.tries` times in
    all, by the same actor in a new process, whose `make` runs anew.
    """

    def __init__(self, session: Session, make: Callable[[], Callable[[A], B]], stage: str) -> None:
        """`stage` names the work in errors."""
        import ray
        from ray import cloudpickle

        config = session.config
        given = (cloudpickle.dumps(make), sys.path, session.threads)
        self.slots = session.room()
        self._stage, self._tries = stage, config.tries
        kind = ray.remote(Actor).options(
            num_cpus=config.cpus_per_worker,
            num_gpus=config.gpus_per_worker,
            max_restarts=-1,
            max_task_retries=config.tries - 1,
        )
        self._actors = [kind.remote(*given) for _ in range(self.slots)]
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for actor in self._actors:
            self._idle.put(actor)

    def close(self) -> None:
        """End all actors, with what they are at."""
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def call(self, item: A) -> B:
        """`make()(item)` on an actor that is idle; from as many threads as there are slots.

        Raises what the actor raises, and PyriteError if it died each time.
        """
        import ray

        actor = self._idle.get()
        try:
            found = ray.get(actor.call.remote(item))
        except ray.exceptions.RayActorError as error:
            raise PyriteError(
                f"{self._stage}: a call was begun {self._tries} times (ray.tries) and its worker"
                " died each time; is there memory for its model? give a worker more"
            ) from error
        finally:
            self._idle.put(actor)
        if isinstance(found, Failure):
            raise found.error()
        result: B = found
        return result

    def map(self, items: Iterable[A]) -> Iterator[B]:
        """The answers in the order of the items; at most twice as many as slots are drawn ahead."""
        return in_order(self.call, items, self.slots)


class Actor:
    """One of them, in a process of its own."""

    def __init__(self, make: bytes, paths: list[str], threads: int) -> None:
        self._failure: Failure | None = None
        # what the driver can import, where its folders are
        sys.path += [path for path in paths if path not in sys.path]
        try:
            use_threads(threads)
            self._call = pickle.loads(make)()
        # told with the first call: Ray would start the actor again and again
        except Exception as error:
            self._failure = Failure.of(error)

    def call(self, item: Any) -> Any:
        """The answer, or a `Failure`."""
        if self._failure is not None:
            return self._failure
        try:
            return self._call(item)
        except Exception as error:
            return Failure.of(error)
