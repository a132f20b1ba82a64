"""Files that may be packed: `.gz` and `.zst` are read and written as if they were not."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from ...core.errors import PyriteError

_NAMES = {".gz": "gzip", ".zst": "zstd"}
# pyarrow reports a broken zstd stream as OSError, gzip a broken header
_BROKEN = (OSError, EOFError, zlib.error, pa.ArrowException)


def plain_suffix(path: Path) -> str:
    """The suffix below `.gz` or `.zst`, lower case: `.tsv` of `a.tsv.gz`."""
    return Path(path.stem if path.suffix in _NAMES else path.name).suffix.lower()


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file from 1, unpacked on the way; one is in memory at a time.

    Raises PyriteError with the line where a packed file is broken.
    """
    line = 0
    with _opened(path) as handle:
        try:
            for line, raw in enumerate(handle, start=1):
                yield line, raw
        except _BROKEN as error:
            raise _broken(path, line + 1, error) from error


def chunks(path: Path, size: int = 1 << 16) -> Iterator[bytes]:
    """The bytes of a file in pieces, unpacked on the way."""
    with _opened(path) as handle:
        try:
            while piece := handle.read(size):
                yield piece
        except _BROKEN as error:
            raise _broken(path, 1, error) from error


@contextmanager
def packing(handle: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """`handle`, packed as the suffix of `path` says; the same bytes give the same file."""
    if path.suffix == ".gz":
        # no name and no time, so that the same rows give the same bytes
        with gzip.GzipFile("", "wb", fileobj=handle, mtime=0) as packed:
            yield cast(IO[bytes], packed)
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(_KeptOpen(handle), "zstd") as stream:
            yield cast(IO[bytes], stream)
    else:
        yield handle


class _KeptOpen(io.RawIOBase):
    """A handle that outlives the stream around it, since pyarrow closes what it writes to."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._handle.write(data)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as handle:
        if path.suffix == ".gz":
            with gzip.open(handle, "rb") as unpacked:
                yield cast(IO[bytes], unpacked)
        elif path.suffix == ".zst":
            yield cast(IO[bytes], io.BufferedReader(pa.CompressedInputStream(handle, "zstd")))
        else:
            yield handle


def _broken(path: Path, line: int, error: Exception) -> PyriteError:
    name = _NAMES.get(path.suffix, "a file")
    detail = " ".join(str(error).split())
    return PyriteError(f"{path}:{line}: not readable as {name} ({detail}); fetch it again")
