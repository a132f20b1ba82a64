"""One training on several processes: who writes, and who waits for whom (torchrun, accelerate)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch

# the others wait while the first process mines
_PATIENCE = timedelta(days=30)

T = TypeVar("T")


def join_processes(device: str) -> None:
    """Meet the other processes that a launcher has started beside this one, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or torch.distributed.is_initialized():
        return
    cuda = torch.device(device).type == "cuda"
    torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)


def process_count() -> int:
    """Processes that train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def wait_for_all() -> None:
    """Return once every process is here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def main_first(work: Callable[[], T]) -> T:
    """Do `work` in the main process, then in the others, which find what it has written."""
    if not is_main():
        wait_for_all()
    result = work()
    if is_main():
        wait_for_all()
    return result


def by_main(work: Callable[[], T]) -> T:
    """The result of `work`, done in the main process only, in every process."""
    if not torch.distributed.is_initialized():
        return work()
    results = [work() if is_main() else None]
    torch.distributed.broadcast_object_list(results)
    return results[0]  # type: ignore[return-value]
