"""Rules for made texts, beside plain loops that look at every pair."""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fakes import write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.digest import u64_array
from pyrite.miner.made.asked import Asked
from pyrite.miner.made.config import Kind, LengthConfig
from pyrite.miner.made.sieve import RULES, Sieve, differs_in_one_slot, word_band

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "E", "e"]), max_size=7).map(" ".join)


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def sieve(
    kind: Kind = "passages", band: tuple[int, int] = (1, 99), slot: int | None = None, *taken: str
) -> Sieve:
    return Sieve(kind, np.sort(u64_array([plain(text) for text in taken])), band, slot)


def asked(text: str, *known: str) -> Asked:
    return Asked("q", text, (), known, 5)


def sifted_by_loops(one: Asked, texts: list[str], rules: Sieve, taken: list[str]) -> list[int]:
    """Numbers of the texts that stay."""
    before = [one.text, *one.known]
    found = []
    for number, text in enumerate(texts, 1):
        words, size = set(plain(text).split()), len(text.split())
        pairs = [(words, set(plain(other).split())) for other in before]
        near = any(a and 5 * len(a & b) >= 4 * len(a | b) for a, b in pairs)
        equal = any(plain(text) == plain(other) for other in before)
        stays = not equal and not (near and rules.kind == "passages")
        stays &= all(plain(text) != plain(other) for other in taken)
        if stays and rules.band[0] <= size <= rules.band[1]:
            found.append(number)
            before.append(text)
    return found


@settings(deadline=None)
@given(
    st.sampled_from(["passages", "queries"]),
    st.lists(WORDS, min_size=1, max_size=3),
    st.lists(WORDS, max_size=6),
    st.lists(WORDS, max_size=2),
    st.tuples(st.integers(0, 3), st.integers(3, 7)),
)
def test_what_stays_is_what_plain_loops_keep(
    kind: Kind, known: list[str], texts: list[str], taken: list[str], band: tuple[int, int]
) -> None:
    one, rules = asked(*known), sieve(kind, band, None, *taken)
    kept, dropped = rules.sift(one, texts)
    assert [number for number, _ in kept] == sifted_by_loops(one, texts, rules, taken)
    assert [text for _, text in kept] == [texts[number - 1] for number, _ in kept]
    assert len(kept) + sum(dropped.values()) == len(texts)
    assert set(dropped) <= set(RULES)


def test_each_rule_drops_what_it_is_about() -> None:
    one = asked("who built the bridge", "Gustave built the old iron bridge here")
    texts = [
        "WHO  built the bridge",
        "here Gustave built the old iron bridge here again",
        "a corpus text of five",
        "too short",
        "one two three four five six seven eight nine ten",
        "another aspect of the river crossing",
        "another aspect of the River crossing",
    ]
    kept, dropped = sieve("passages", (3, 9), None, "A corpus text of five").sift(one, texts)
    assert kept == [(6, texts[5])]
    assert dropped == Counter(copy=2, near_copy=1, in_dataset=1, too_short=1, too_long=1)


def test_a_query_with_one_edited_word_is_no_near_copy() -> None:
    real = "what was the revenue of the company in the year 2019"
    one = asked("a report", real)
    texts = [
        real.replace("2019", "2020"),
        real.replace("2019", "2020").replace("revenue", "profit"),
    ]
    assert len(sieve("queries").sift(one, texts)[0]) == 2
    kept, dropped = sieve("queries", (1, 99), 1).sift(one, texts)
    assert (kept, dropped) == ([(1, texts[0])], Counter(not_one_slot=1))


@pytest.mark.parametrize(
    ("text", "most", "said"),
    [
        ("revenue of Acme in 2020", 1, True),
        ("revenue of Acme Corp in 2019", 1, False),  # a word more, and none for it
        ("revenue of Big Corp in 2019", 1, False),
        ("revenue of Big Corp in 2019", 2, True),
        ("profit of Acme in 2020", 5, False),  # two places, with the same words between them
        ("Revenue  of Acme in 2019", 5, False),  # nothing differs
        ("of Acme in 2019", 5, False),
        ("", 5, False),
    ],
)
def test_one_slot(text: str, most: int, said: bool) -> None:
    assert differs_in_one_slot(text, "revenue of Acme in 2019", most) is said


@settings(deadline=None)
@given(WORDS, WORDS, st.integers(1, 3))
def test_one_slot_is_what_every_cut_of_both_says(text: str, other: str, most: int) -> None:
    left, right = plain(text).split(), plain(other).split()
    cuts = itertools.product(
        itertools.combinations(range(len(left) + 1), 2),
        itertools.combinations(range(len(right) + 1), 2),
    )
    found = any(
        left[:a] == right[:c]
        and left[b:] == right[d:]
        and max(b - a, d - c) <= most
        and not set(left[a:b]) & set(right[c:d])
        for (a, b), (c, d) in cuts
    )
    assert differs_in_one_slot(text, other, most) is found
    assert differs_in_one_slot(other, text, most) is found


def test_the_band_are_lengths_of_real_texts(tmp_path: Path) -> None:
    corpus = {f"d{i}": " ".join(["w"] * i) for i in range(1, 22)}
    folder = write_dataset(tmp_path / "d", corpus, {"q": "q"}, {"train": [("q", "d1", 1)]})
    table = open_dataset(DatasetConfig(path=str(folder)), tmp_path / "cache").corpus
    rows = np.arange(len(table))
    assert word_band(table, rows, LengthConfig()) == (2, 20)
    assert word_band(table, rows, LengthConfig(low=0, high=1)) == (1, 21)
    assert word_band(table, rows, LengthConfig(low=0.51, high=0.51)) == (11, 12)
    assert word_band(table, rows[4:5], LengthConfig()) == (5, 5)
