"""Texts of common words, to measure with where there is no dataset."""

from __future__ import annotations

import numpy as np

from ...core.rng import splitmix64, uniform

_WORDS = (
    "the of and to in is for that with on as by it from at an be this are or which have not was"
    " time year people way day man thing world life hand part place case week company system"
    " program question work government number night point home water room mother area money"
    " story fact month lot right study book eye job word business issue side kind head house"
    " service friend father power hour game line end member law car city community name"
).split()


def made_texts(count: int, words: int) -> list[str]:
    """`count` texts of so many words, the first of the list more often; the same each time."""
    numbers = uniform(splitmix64(np.arange(count * words, dtype=np.uint64)))
    picked = (numbers**2 * len(_WORDS)).astype(np.int64).reshape(count, words)
    return [" ".join(_WORDS[at] for at in row) for row in picked.tolist()]
