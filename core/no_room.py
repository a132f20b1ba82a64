"""Whether an error says that a disk is full, whichever library was writing."""

from __future__ import annotations

import errno
import re

# no space, over the quota, over the largest file that is allowed
_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# torch says only that its file came out short
_OF_TORCH = ("PytorchStreamWriter failed writing", ". unexpected pos ")
# and NumPy without a number
_OF_NUMPY = re.compile(r"\d+ requested and \d+ written")


def no_room(error: BaseException) -> bool:
    """True if a write failed for want of room; those of safetensors and torch are no OSError."""
    text = str(error)
    if isinstance(error, OSError):
        return error.errno in _NUMBERS or _OF_NUMPY.fullmatch(text) is not None
    if type(error).__name__ == "SafetensorError":
        return any(f"(os error {number})" in text for number in _NUMBERS)
    return isinstance(error, RuntimeError) and any(part in text for part in _OF_TORCH)
