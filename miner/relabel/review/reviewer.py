"""Who answers."""

from __future__ import annotations

import re

from ....core.errors import PyriteError

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


def reviewer_name(name: str | None, where: str) -> str:
    """A reviewer's name without blanks around it, or PyriteError that begins with `where`."""
    trimmed = (name or "").strip()
    if not _NAME.fullmatch(trimmed):
        raise PyriteError(f"{where}={name!r}: a reviewer needs a name of 1 to 64 characters")
    return trimmed
