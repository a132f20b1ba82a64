"""Clean rows with one fault each, for every dialect of training files that can have it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from training_dialects import CLEAN, NOWHERE, Dialect, Row

LONG = " ".join(f"w{i}" for i in range(600))
TEN = "one two three four five six seven eight nine ten"
# formats that cannot say a document twice, or that cannot say it alone
ONCE = ("sentence-transformers", "MS MARCO hard negatives", "BEIR run")


def spoilt(dialect: Dialect) -> Iterator[tuple[str, list[Row], dict[str, int]]]:
    """Clean rows with one fault each, and the one finding it must be."""
    one, two, three = CLEAN
    many = dialect.negatives > 1

    def with_negatives(*texts: str, row: Row = one, **more: Any) -> Row:
        return Row(row.query, row.positive, list(texts), **more)

    judged = "DUPLICATE_NEGATIVE"
    yield "own positive", [with_negatives("a red thing", "x y"), two, three], {"OWN_POSITIVE": 1}
    again = Row(one.query, "another red thing altogether", ["a red thing", "x y"])
    yield "sibling", [one, again, three], {"SIBLING_POSITIVE": 1}
    yield "query", [with_negatives("What is  red", "x y"), two], {"QUERY_AS_NEGATIVE": 1}
    yield "empty", [with_negatives("", "x y"), two, three], {"EMPTY_TEXT": 1}
    yield "empty query", [Row(" ", "p", ["n n", "m m"]), two, three], {"EMPTY_TEXT": 1}
    yield "long", [with_negatives(LONG, "x y"), two, three], {"LONG_TEXT": 1}
    near = Row("q", TEN, [TEN.replace(" ten", "!"), "x y"])
    yield "near", [near, two, three], {"NEAR_POSITIVE": 1}
    yield "copied row", [one, two, one], {"DUPLICATE_ROW": 1}
    if dialect.ids and not dialect.inline:
        yield "unknown", [with_negatives(NOWHERE, "x y"), two], {"UNKNOWN_ID": 1}
    if many and dialect.name not in ONCE:
        yield "copies", [with_negatives("x y", "x y"), two, three], {judged: 1}
    if many:
        yield "short", [with_negatives("x y"), two, three], {"SHORT_ROW": 1}
    if dialect.pads:
        check = "NONE_MINED" if dialect.name == "DPR" else "NO_NEGATIVES"
        yield "none", [with_negatives(), two, three], {check: 1}
    if dialect.scores:
        yield "nan", [with_negatives("x", "y", scores=[math.nan, 0.1]), two], {"NONFINITE_SCORE": 1}
        if not dialect.name.startswith("TREC"):
            high = with_negatives("x", "y", scores=[0.95, 0.1])
            yield "inverted", [high, two], {"INVERTED_SCORE": 1}
