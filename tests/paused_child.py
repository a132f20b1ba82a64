"""`pyrite` that pauses at a moment, to be interrupted: `paused_child.py MOMENT ARGUMENTS`.

`encode` is after the first batch of documents, `checkpoint` after the first sealed one. With
`stubborn-` before it, what is under way does not end at the first Ctrl-C.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from pyrite.cli import main
from pyrite.core.sbert import SentenceTransformerEncoder
from pyrite.trainers.checkpoints import SealCheckpoints

READY = "the moment has come"
_MOMENTS: dict[str, tuple[type, str]] = {
    "encode": (SentenceTransformerEncoder, "encode_documents"),
    "checkpoint": (SealCheckpoints, "on_save"),
}
_SLICE_S, _SLICES = 0.05, 1200


def _wait() -> None:
    for _ in range(_SLICES):
        time.sleep(_SLICE_S)


def pause_at(moment: str, stubborn: bool) -> None:
    home, name = _MOMENTS[moment]
    method = getattr(home, name)

    def paused(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        sys.stderr.write(f"{READY}\n")
        try:
            _wait()
        finally:
            if stubborn:
                _wait()
        return result

    setattr(home, name, paused)


if __name__ == "__main__":
    wanted = sys.argv.pop(1)
    pause_at(wanted.removeprefix("stubborn-"), wanted.startswith("stubborn-"))
    main()
