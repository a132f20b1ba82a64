"""Where the blocks of sampling are chosen for: here, or on the workers of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..core.engine.blocks import on_workers
from ..core.engine.packed import Packed
from ..core.engine.session import Session, Shared
from ..core.errors import PyriteError
from .choose_block import Block, Chooser, Chosen, Spread, here


def spread_of(session: Session | None) -> Spread:
    """What chooses for the blocks of a run: the workers of a session, or this process."""
    return here if session is None else partial(_on_workers, session)


def _on_workers(
    session: Session, chooser: Chooser, blocks: Iterator[Block], count: int, result_bytes: int
) -> Iterator[tuple[int, Chosen]]:
    packed = Packed.of(chooser.without_vectors(), session.sees_files)
    try:
        shared = session.share(packed)
    except PyriteError as error:
        session.plan(f"sample: on the driver, {error}")
        return here(chooser, blocks, count, result_bytes)
    make: Callable[[], Callable[[Block], Chosen]] = partial(_opened, shared)
    return on_workers(session, make, blocks, count, "sample", result_bytes)


def _opened(shared: Shared[Packed[Chooser]]) -> Chooser:
    return shared.get().open()
