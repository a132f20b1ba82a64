"""Progress bars with rate and ETA, one style for every stage; quiet where nobody reads them."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_FILE_INTERVAL_S = 10.0


def progress(description: str, total: int, unit: str, initial: int = 0) -> tqdm[Any]:
    """A bar of `total` units, `initial` of them already done in an earlier run.

    On a terminal it redraws ten times a second; in a log file it prints a line every 10 s.
    """
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=f" {unit}",
        unit_scale=total >= 100_000,
        mininterval=0.1 if sys.stderr.isatty() else _FILE_INTERVAL_S,
        dynamic_ncols=True,
    )
