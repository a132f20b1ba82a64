"""Arrays in files that every process maps for itself: pickled as a path, never copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from .store import read_array

T = TypeVar("T", bound=np.generic)


class Mapped(Generic[T]):
    """One `.npy`, mapped on first use; `writable` maps it shared between processes."""

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        self.writable = writable
        self._array: npt.NDArray[T] | None = None

    @classmethod
    def zeros(cls, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Mapped[T]:
        """A new writable file of zeros; what stood there before is lost."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        return cls(path, writable=True)

    @property
    def array(self) -> npt.NDArray[T]:
        """The mapped array. Raises PyriteError if the file is not a readable array."""
        if self._array is None:
            if self.writable:
                self._array = np.lib.format.open_memmap(self.path, mode="r+")
            else:
                self._array = read_array(self.path)
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "writable": self.writable, "_array": None}
