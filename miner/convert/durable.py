"""A file of a folder that is not published yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def durable(path: Path) -> Iterator[IO[bytes]]:
    """A new file, synced at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
