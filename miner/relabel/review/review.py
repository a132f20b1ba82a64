"""The verb `review`: people decide about pairs, on a page of this machine or in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ....core.digest import digest_texts
from ....core.errors import PyriteError
from ....core.run import check_folders
from ....core.store import write_bytes
from ..agreement import Agreement
from ..config import RelabelConfig
from ..paid_store import STORE
from ..people import between_people
from ..verdict_store import VerdictStore
from .answers_file import take_answers
from .finished import Finished
from .page import page
from .pair import ANSWERS, Answer
from .queue import Choice, Queue, queue
from .server import serve
from .session import Session

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a sitting brought, and how far the people in the store agree by now."""

    answers: Counter[Answer]
    people: list[Agreement]

    def sentence(self) -> str:
        """The answers in words."""
        names: tuple[Answer, ...] = ("relevant", "not_relevant", "unsure")
        counts = ", ".join(f"{self.answers[n]:,} {n.replace('_', ' ')}" for n in names)
        return f"{self.answers.total():,} answered: {counts}; pyrite relabel takes them from here"

    def as_json(self) -> dict[str, object]:
        """For `--json`: the answers of the sitting and the agreement of people."""
        counts = {name: self.answers[name] for name in ANSWERS}
        return {"answers": counts, "people": [pair.as_json() for pair in self.people]}


def review(config: RelabelConfig, choice: Choice, blind: bool, port: int, say: Say) -> Reviewed:
    """Serve the pairs to this machine until Ctrl-C; every answer is in the store at once.

    Raises PyriteError if there is no finished run, nothing to review, or no such port.
    """
    with _opened(config, choice) as (store, found):
        session = Session(store, choice.reviewer, found.pairs, blind, choice.shared)
        say(_said(found))
        serve(session, port, lambda url: say(f"open {url} in a browser; Ctrl-C ends"))
        return Reviewed(session.given(), between_people(store.said_by_people()))


def write_page(config: RelabelConfig, choice: Choice, blind: bool, out: Path, say: Say) -> None:
    """Write the pairs as one page that needs no server; it hands down a file of answers.

    Raises PyriteError as `review` does, and if `out` exists.
    """
    if out.exists():
        raise PyriteError(f"--write={out}: exists and is never overwritten; name another file")
    with _opened(config, choice) as (_, found):
        pairs = [pair.as_json(blind) for pair in found.pairs]
    shown = {
        "mode": "file",
        "name": config.name,
        "page": f"pyrite review {digest_texts(pair['pair'] for pair in pairs)}",
        "reviewer": choice.reviewer,
        "pairs": pairs,
    }
    write_bytes(out, page(shown).encode())
    say(_said(found))


def read_answers(config: RelabelConfig, path: Path) -> Reviewed:
    """Take the answers that a written page has handed down into the store."""
    check_folders(config)
    finished = Finished.open(config)
    with VerdictStore(config.cache / STORE) as store:
        answers = take_answers(path, finished.file, store)
        return Reviewed(answers, between_people(store.said_by_people()))


def check_way(port: int, write: Path | None, read: Path | None) -> None:
    """Raise PyriteError for more than one way to ask people."""
    given = {"--port": port or None, "--write": write, "--read": read}
    ways = [name for name, value in given.items() if value is not None]
    if len(ways) > 1:
        raise PyriteError(f"{' with '.join(ways)}: these are different ways; leave all but one out")
    if not 0 <= port < 2**16:
        raise PyriteError(f"--port={port}: a port is a number from 0 to 65535")


@contextmanager
def _opened(config: RelabelConfig, choice: Choice) -> Iterator[tuple[VerdictStore, Queue]]:
    check_folders(config)
    finished = Finished.open(config)
    with VerdictStore(config.cache / STORE) as store:
        found = queue(finished, store, choice)
        if not found.pairs:
            raise PyriteError(
                f"nothing to review: {found.all:,} pairs, {found.answered:,} of them answered;"
                " --all takes every pair, --sample N random ones"
            )
        yield store, found


def _said(found: Queue) -> str:
    later = f", {found.left_for_later:,} left for later" if found.left_for_later else ""
    return (
        f"{len(found.pairs):,} pairs to review, {found.answered:,} of {found.all:,} are answered"
        f"{later}"
    )
