"""What a writer is shown, and how its reply is read: strictly, as a judge's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.encoders.common import approximate_lengths
from ..relabel.case import Estimate, State
from ..relabel.parse import Malformed, items_of
from ..relabel.prompt import cut, fenced, titled
from .asked import Asked
from .config import Kind

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["texts"],
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
}
_NAMES: dict[Kind, tuple[str, str, str]] = {
    "passages": ("QUESTION", "TRUTH", "passages"),
    "queries": ("TEXT", "QUERY", "queries"),
}
# a word has about so many tokens, and a text some more for its quotes and commas
_WORD_TOKENS, _TEXT_TOKENS = 2, 8


@dataclass(frozen=True, slots=True)
class WriterPrompt:
    """Instructions, and the message about an anchor; `n` texts are asked for."""

    instructions: str
    kind: Kind
    n: int
    max_chars: int | None

    def message(self, asked: Asked, attempt: int = 0) -> str:
        """The fenced material. Another attempt differs, or a server would repeat its reply."""
        anchor, truth, texts = _NAMES[self.kind]
        shown = [(f"{truth} {i}", titled(doc)) for i, doc in enumerate(asked.truths, 1)]
        parts = [(name, cut(text, self.max_chars)) for name, text in [(anchor, asked.text), *shown]]
        again = "" if not attempt else f" This is attempt {attempt + 1}."
        closing = f"Write {self.n} {texts} of about {asked.words} words each.{again}"
        return fenced(parts, closing)

    def estimate(self, asked: Asked, most: int) -> Estimate:
        """What one call takes, without retries; a reply has at most `most` tokens."""
        inward = int(approximate_lengths([self.instructions, self.message(asked)]).sum())
        outward = self.n * (_WORD_TOKENS * asked.words + _TEXT_TOKENS)
        return Estimate(1, inward, min(most, outward))


def read_texts(reply: str, n: int) -> tuple[State, tuple[str, ...]]:
    """The texts of a reply, without blanks around them, and the state `ok`.

    `index_error` where there are none or more than `n`; `parse_error` for anything that is not the
    schema, an empty text included. Both come without texts.
    """
    try:
        texts = tuple(_text(item) for item in items_of(reply, "texts"))
    # ValueError: no JSON, a number with thousands of digits, half a surrogate pair
    except (ValueError, RecursionError):
        return "parse_error", ()
    return ("ok", texts) if 1 <= len(texts) <= n else ("index_error", ())


def _text(item: Any) -> str:
    if not isinstance(item, str) or not item.strip() or "\0" in item:
        raise Malformed
    item.encode("utf-8")
    return item.strip()
