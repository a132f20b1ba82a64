"""One training on several processes: who writes, and who waits for whom (torchrun, accelerate)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch

from ..core.errors import PyriteError

# the others wait while the first process mines
_PATIENCE = timedelta(days=30)
# until a file that one machine wrote counts as unseen on another
_SEEN_S = 10.0
_PAUSE_S = 0.05

T = TypeVar("T")


def join_processes(device: str) -> None:
    """Meet the other processes that a launcher has started beside this one, if there are any.

    With CUDA each takes the GPU of its number on its machine. Raises PyriteError if there is none.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or torch.distributed.is_initialized():
        return
    cuda = device.startswith("cuda")
    if cuda:
        number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if number >= gpus:
            raise PyriteError(
                f"encoder.device={device}: process {number} of this machine has no GPU of its own,"
                f" there are {gpus}; "
                + (f"start torchrun with --nproc-per-node {gpus}" if gpus else "set it to cpu")
            )
        # before the first collective: it works on the current device
        torch.cuda.set_device(number)
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


def check_shared(folders: Mapping[str, Path]) -> None:
    """Raise PyriteError in every process unless all see the first one's `folders`, by their keys.

    What the first process writes is read by the others, which may stand on other machines.
    """
    if process_count() == 1:
        return
    marks = by_main(lambda: {key: _mark(folder) for key, folder in folders.items()})
    unseen = [key for key, mark in marks.items() if not _seen(folders[key] / mark)]
    everywhere: list[list[str]] = [[] for _ in range(process_count())]
    torch.distributed.all_gather_object(everywhere, unseen)
    if is_main():
        for key, mark in marks.items():
            (folders[key] / mark).unlink(missing_ok=True)
    for rank, missing in enumerate(everywhere):
        if missing:
            raise PyriteError(
                f"{missing[0]}={folders[missing[0]]}: process {rank} does not see there what the"
                f" first process writes; set {missing[0]} to a folder that all machines share"
            )


def _mark(folder: Path) -> str:
    """Write an empty file that nothing else is named like; its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f".seen-{os.getpid()}-{time.time_ns()}"
    (folder / name).touch()
    return name


def _seen(mark: Path) -> bool:
    stop = time.monotonic() + _SEEN_S
    while not mark.exists():
        if time.monotonic() >= stop:
            return False
        time.sleep(_PAUSE_S)
    return True
