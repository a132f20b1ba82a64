from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from pyrite.core.no_room import no_room
from pyrite.core.store import atomic_write, write_array, write_bytes

NUMBERS = np.random.default_rng(0).random(20_000)
TENSORS = {"a": torch.from_numpy(NUMBERS)}


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files of ten thousand bytes at most: for a writer the same as a disk that is full."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def write_table(path: Path) -> None:
    with atomic_write(path) as handle:
        pq.write_table(pa.table({"a": NUMBERS}), handle)


WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: write_bytes(path, NUMBERS.tobytes()),
    "npy": lambda path: write_array(path, NUMBERS),
    "parquet": write_table,
    "safetensors": lambda path: save_file(TENSORS, path),
    "torch": lambda path: torch.save(TENSORS, path),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.usefixtures("small_files")
def test_every_writer_s_error_is_known(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        WRITERS[kind](tmp_path / "file")
    assert no_room(caught.value), repr(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "odd"),
        FileNotFoundError(errno.ENOENT, "gone"),
        RuntimeError("CUDA out of memory"),
        SafetensorError("Error while deserializing header: too small"),
        ValueError("(os error 28)"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_are_others(error: BaseException) -> None:
    assert not no_room(error)
