"""The `pyrite` command: a user's mistake is one sentence and exit code 2."""

from __future__ import annotations

import logging
import os
import sys

from .core.errors import PyriteError
from .core.no_room import no_room
from .verbs import auditing, evaluating, mining, relabelling, training
from .verbs.app import app

# imported for the verbs that they register
__all__ = ["app", "auditing", "evaluating", "main", "mining", "relabelling", "training"]
_INTERRUPTED = 130


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pyrite").setLevel(logging.INFO)
    try:
        app(prog_name="pyrite")
    except PyriteError as error:
        _fail(str(error))
    except SystemExit as end:
        # typer turns Ctrl-C into this exit code without a word
        if end.code == _INTERRUPTED:
            sys.stderr.write("pyrite: interrupted; run the same command again to go on\n")
        raise
    except Exception as error:
        # a failed write names no file
        if no_room(error):
            _fail(
                "no space left on the disk; make room or point runs_dir and cache_dir at another"
                " disk, then run the same command again to go on"
            )
        if not isinstance(error, OSError) or error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; check that it exists and may be written")


def _fail(sentence: str) -> None:
    sys.stderr.write(f"pyrite: error: {sentence}\n")
    sys.exit(2)
