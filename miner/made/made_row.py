"""A made text with where it came from: one line of `made.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ...core.digest import digest_texts


@dataclass(frozen=True, slots=True)
class MadeRow:
    """A text that passed all checks for an anchor.

    `number` is its place in the reply, from 1; `truths` are the ids that writer and checks were
    shown; `writer`, `writer_key`, `prompt` and `checks` say who wrote and who agreed.
    """

    anchor: str
    id: str
    text: str
    number: int
    truths: tuple[str, ...]
    writer: str
    writer_key: str
    prompt: str
    checks: tuple[str, ...]

    def line(self) -> bytes:
        """The row as a line of JSON."""
        return (json.dumps(asdict(self), ensure_ascii=False) + "\n").encode()


def made_id(text: str) -> str:
    """The id of a made text, a digest of it: equal texts have one id wherever they stand."""
    return f"made-{digest_texts([text])}"
