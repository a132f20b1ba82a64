"""Digests of content. Every cache key and every seed derived from an id comes from here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_BYTES = 16
_BLOCK = 1 << 20
_PIECE = 8 << 20
_THREADS = min(4, os.cpu_count() or 1)


def digest_bytes(*parts: bytes) -> str:
    """Hex digest of the parts in order; part borders count (length-prefixed)."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_texts(texts: Iterable[str]) -> str:
    """Hex digest of a sequence of texts, streamed."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "little"))
        state.update(raw)
    return state.hexdigest()


def digest_json(value: Any) -> str:
    """Hex digest of a JSON value, whatever the order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, ensure_ascii=True).encode())


def digest_file(path: Path) -> str:
    """Hex digest of a file's bytes; over 8 MiB, of the digests of its pieces of 8 MiB.

    The pieces are hashed by several threads, each reading blocks of 1 MiB.
    """
    size = path.stat().st_size
    if size <= _PIECE:
        return _digest_piece(path, 0)
    with ThreadPoolExecutor(_THREADS) as pool:
        pieces = pool.map(lambda start: _digest_piece(path, start), range(0, size, _PIECE))
        return digest_texts(pieces)


def _digest_piece(path: Path, start: int) -> str:
    state = hashlib.blake2b(digest_size=_BYTES)
    block = memoryview(bytearray(_BLOCK))
    # unbuffered, into one block: fresh memory for every read costs as much as the hash
    with path.open("rb", buffering=0) as handle:
        handle.seek(start)
        left = _PIECE
        while left and (count := handle.readinto(block[: min(left, _BLOCK)])):
            state.update(block[:count])
            left -= count
    return state.hexdigest()


def digest_array(array: npt.NDArray[Any]) -> str:
    """Hex digest of an array's dtype, shape and values (C order)."""
    values = np.ascontiguousarray(array)
    return digest_bytes(values.dtype.str.encode(), repr(values.shape).encode(), values.tobytes())


def u64(text: str, salt: str = "") -> int:
    """A 64-bit hash of `text`, the same in every process and on every machine."""
    raw = f"{salt}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def u64_array(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """`u64` of each text, as uint64 [len(texts)]."""
    return np.fromiter((u64(t) for t in texts), dtype=np.uint64, count=len(texts))
