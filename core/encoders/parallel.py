"""Several batches under way at once, their results in the order of the batches."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Protocol, TypeVar, runtime_checkable

from ..encoder import F32, Encoder, Role

A = TypeVar("A")
B = TypeVar("B")


@runtime_checkable
class BatchEncoder(Protocol):
    """An encoder that can have several batches under way."""

    def encode_batches(self, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
        """Vectors of each batch, float32 [len(batch), D], in the order of the batches."""


def encode_batches(encoder: Encoder, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
    """Vectors of each batch in order, concurrently where the encoder can; the same bytes."""
    if isinstance(encoder, BatchEncoder):
        yield from encoder.encode_batches(batches, role)
        return
    encode = encoder.encode_queries if role == "query" else encoder.encode_documents
    for batch in batches:
        yield encode(batch)


def in_order(
    call: Callable[[A], B],
    items: Iterable[A],
    workers: int,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[B]:
    """`call` of each item in `workers` threads, results in the order of the items.

    At most `2 * workers` results wait in memory. The first exception, or a consumer that gives
    up, calls `stop`, cancels what has not begun and waits for what has. A call that ends early
    because of `stop` raises CancelledError; the exception that stopped it is the one raised here.
    """
    waiting: deque[Future[B]] = deque()

    def run(item: A) -> B:
        try:
            return call(item)
        except BaseException:
            stop()
            raise

    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(run, item))
                if len(waiting) >= 2 * workers:
                    yield _first_result(waiting)
            while waiting:
                yield _first_result(waiting)
        except BaseException:
            stop()
            for future in waiting:
                future.cancel()
            raise


def _first_result(waiting: deque[Future[B]]) -> B:
    try:
        return waiting.popleft().result()
    except CancelledError:
        for other in waiting:
            with contextlib.suppress(CancelledError):
                other.result()
        raise
