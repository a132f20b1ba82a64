"""Values with mapped arrays, as workers take them: plain arrays, or the files' names.

A mapped array is pickled byte for byte into the message; a plain one lies in the object store
beside it, where all workers of a node map it. Where every node sees the cache, a file's name is
enough, and vectors may be larger than the store.
"""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ..store import read_array

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Packed(Generic[T]):
    """A value on its way to a worker; `open` gives it back."""

    value: Any

    @classmethod
    def of(cls, value: T, shared_files: bool) -> Packed[T]:
        """Dataclasses, tuples, lists and arrays are looked through; all else stays as it is.

        `shared_files`: a worker finds the files of mapped arrays under the same path.
        """

        def pack(found: Any) -> Any:
            if not isinstance(found, np.memmap):
                return found
            return _File.of(found, shared_files) or np.asarray(found)

        return cls(_rebuilt(value, pack, {}))

    def open(self) -> T:
        """The value, its files mapped; raises PyriteError for one that is not there."""
        value: T = _rebuilt(self.value, lambda v: v.read() if isinstance(v, _File) else v, {})
        return value


@dataclass(frozen=True, slots=True)
class _File:
    path: str

    @classmethod
    def of(cls, mapped: Any, shared_files: bool) -> _File | None:
        # a slice of a map has the map as its base, and its place in the file is not known
        whole = isinstance(mapped.base, mmap.mmap) and mapped.filename is not None
        return cls(str(Path(mapped.filename).resolve())) if shared_files and whole else None

    def read(self) -> Any:
        return read_array(Path(self.path))


def _rebuilt(value: Any, leaf: Callable[[Any], Any], known: dict[int, Any]) -> Any:
    """`value` with `leaf` of each part; what is the same object stays one object."""
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, _File) or not (
        isinstance(value, tuple | list)
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
    ):
        made = leaf(value)
    elif isinstance(value, tuple | list):
        parts = [_rebuilt(part, leaf, known) for part in value]
        made = (
            value if all(a is b for a, b in zip(parts, value, strict=True)) else type(value)(parts)
        )
    else:
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        new = {name: _rebuilt(part, leaf, known) for name, part in fields.items()}
        changed = {name: part for name, part in new.items() if part is not fields[name]}
        made = dataclasses.replace(value, **changed) if changed else value
    known[id(value)] = made
    return made
