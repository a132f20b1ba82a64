"""Text normalisation: two texts with the same normal form are the same text to the miner."""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """NFKC, case folded, white space collapsed: the normal form in which duplicates are found."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
