"""The `pyrite` command: a user's mistake is one sentence and exit code 2."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from .core.errors import PyriteError
from .core.no_room import no_room
from .core.terminal import quiet_libraries
from .interrupts import INTERRUPTED, Interrupts, interrupted
from .verbs import (
    auditing,
    comparing,
    converting,
    doctoring,
    evaluating,
    making,
    mining,
    planning,
    relabelling,
    reporting,
    reviewing,
    training,
)
from .verbs.app import app

# imported for the verbs that they register
__all__ = [
    "app",
    "auditing",
    "comparing",
    "converting",
    "doctoring",
    "evaluating",
    "main",
    "making",
    "mining",
    "planning",
    "relabelling",
    "reporting",
    "reviewing",
    "training",
]


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    quiet_libraries()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pyrite").setLevel(logging.INFO)
    with Interrupts() as interrupts:
        try:
            app(prog_name="pyrite")
        except SystemExit as end:
            # typer turns Ctrl-C into this exit code without a word
            if end.code == INTERRUPTED:
                interrupted()
            raise
        except Exception as error:
            # a library that was being imported makes another error of it
            if interrupts.seen and not isinstance(error, PyriteError):
                interrupted()
            _explain(error)
            raise


def _explain(error: Exception) -> None:
    """End with one sentence about `error`, unless it is the library's own fault."""
    if isinstance(error, PyriteError):
        _fail(str(error))
    # a failed write names no file
    if no_room(error):
        _fail(
            "no space left on the disk; make room or point runs_dir and cache_dir at another"
            " disk, then run the same command again to go on"
        )
    if isinstance(error, OSError) and error.filename is not None:
        _fail(f"{error.filename}: {error.strerror}; check that it exists and may be written")


def _fail(sentence: str) -> NoReturn:
    sys.stderr.write(f"pyrite: error: {sentence}\n")
    sys.exit(2)
