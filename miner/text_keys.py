"""64-bit hashes that stand for texts and ids wherever texts are not kept.

Texts are equal if they are equal once normalised; equal hashes are taken for equal texts.
"""

from __future__ import annotations

from ..core.digest import u64
from ..core.text import normalise
from .training_row import Doc


def text_key(text: str) -> int:
    """The hash of a normalised text."""
    return normal_key(normalise(text))


def normal_key(normal: str) -> int:
    """`text_key` of a text that is normalised already."""
    return u64(normal, salt="text")


def id_key(name: str) -> int:
    """The hash of an id; never that of a text."""
    return u64(name, salt="id")


def doc_keys(doc: Doc) -> list[int]:
    """Hashes of a document's id, if it has one, and of its text, if it is not empty."""
    return named_keys(doc.id, normalise(doc.full))


def named_keys(name: str | None, normal: str) -> list[int]:
    """`doc_keys` of an id and a text that is normalised already."""
    keys = [] if name is None else [id_key(name)]
    return [*keys, normal_key(normal)] if normal else keys
