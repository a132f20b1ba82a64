"""Whether a person watches, and how the libraries below are told that nobody does."""

from __future__ import annotations

import os
import sys

# read by these libraries when they are imported
_BARS_OFF = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")


def on_terminal() -> bool:
    """Whether a person watches standard error: it is a terminal, and CI is not set."""
    return sys.stderr.isatty() and os.environ.get("CI", "").lower() in ("", "0", "false")


def quiet_libraries() -> None:
    """Switch the bars of other libraries off, unless a person watches or has said otherwise."""
    if not on_terminal():
        for name in _BARS_OFF:
            os.environ.setdefault(name, "1")
