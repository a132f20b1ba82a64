"""Memory that is free, within a container's limit."""

from __future__ import annotations

import math
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> tuple[float, float]:
    """Free and all bytes: those of the machine, or of the container if it may have fewer."""
    import psutil

    memory = psutil.virtual_memory()
    return min((memory.available, memory.total), _container_memory())


def _container_memory() -> tuple[float, float]:
    """Free and all bytes that a container may have; infinite without a limit."""
    try:
        limit, used = (int((CGROUP / f"memory.{n}").read_text()) for n in ("max", "current"))
    except (OSError, ValueError):
        return math.inf, math.inf
    return max(0, limit - used), limit
