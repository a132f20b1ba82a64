from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from compare_setup import evaluated
from fakes import write_dataset
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.eval.compare import CompareOptions, compare_runs
from pyrite.eval.compared_data import open_compared
from pyrite.eval.finished_runs import Systems, collect
from pyrite.eval.paired_tests import holm, randomisation_p
from pyrite.eval.slices import (
    MIN_QUERIES,
    column_labels,
    first_word,
    length_labels,
    merged,
    slicing,
    wh_word,
)

ASKED = ("what is w{0}", "Which w{0} and why?", "vitamin w{0} in the diet of mice", "is w{0} wet")
LABELS = st.lists(st.sampled_from("abcdefghijklmnopq"), min_size=1, max_size=120)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices")
    queries = {f"q{i:02d}": ASKED[i % 4].format(i) for i in range(48)}
    corpus = {f"d{i:02d}": f"about w{i}" for i in range(48)}
    qrels = [(f"q{i:02d}", f"d{i:02d}", 1) for i in range(48)]
    data = write_dataset(folder / "data", corpus, queries, {"test": qrels})
    lines = [json.loads(line) for line in (data / "queries.jsonl").read_text("utf-8").splitlines()]
    for i, record in enumerate(lines):
        record["metadata"] = {"kind": "even" if i % 2 == 0 else "odd", "deep": {"a": 1}}
        if i < 20:
            record["year"] = 2000
        if i == 47:
            del record["metadata"]
    text = "".join(json.dumps(record) + "\n" for record in lines)
    (data / "queries.jsonl").write_text(text, encoding="utf-8")
    generator = np.random.default_rng(0)
    for name, first in (("old", 0.4), ("new", 0.8)):
        ranked = {}
        for i in range(48):
            # which-questions are where the new system is no better
            hit = generator.uniform() < (0.4 if i % 4 == 1 else first)
            others = [f"d{(i + k) % 48:02d}" for k in range(1, 5)]
            ranked[f"q{i:02d}"] = [f"d{i:02d}", *others] if hit else [*others, f"d{i:02d}"]
        evaluated(folder, data, name, ranked)
    return folder


@pytest.fixture(scope="module")
def systems(home: Path) -> Systems:
    return collect([str(home / "runs" / name) for name in ("old", "new")])


@pytest.mark.parametrize(
    ("text", "wh", "first"),
    [
        ("What is it?", "what", "what"),
        ("In WHICH year", "which", "in"),
        ("whatever works", "other", "whatever"),
        ("does it rain", "yes/no", "does"),
        ("it is wet", "other", "it"),
        ("'who' sang", "who", "who"),
        ("¿dónde?", "other", "dónde"),
        ("", "other", "other"),
        ("...", "other", "other"),
    ],
)
def test_queries_are_told_apart_by_their_words(text: str, wh: str, first: str) -> None:
    assert (wh_word(text), first_word(text)) == (wh, first)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_lengths_are_parted_into_quarters_that_hold_them(counts: list[int]) -> None:
    found = length_labels(["w " * n for n in counts])
    assert len(set(found)) <= 4
    for label, n in zip(found, counts, strict=True):
        numbers = [int(part) for part in label.split(" ")[0].split("-")]
        assert numbers[0] <= n <= numbers[-1]
        # the ends are lengths that occur
        assert set(numbers) <= set(counts)
    of_length = {n: label for n, label in zip(counts, found, strict=True)}
    assert [of_length[n] for n in counts] == found, "equal lengths were parted"


def test_quarters_of_distinct_lengths_are_equal() -> None:
    found = Counter(length_labels(["w " * n for n in range(1, 41)]))
    assert found == {f"{a}-{a + 9} words": 10 for a in (1, 11, 21, 31)}
    assert length_labels(["w", "w"]) == ["1 word", "1 word"]


@given(LABELS)
def test_rare_labels_are_other_and_no_query_is_lost(given_labels: list[str]) -> None:
    found = merged(given_labels)
    assert len(found) == len(given_labels)
    before, after = Counter(given_labels), Counter(found)
    kept = set(after) - {"other"}
    assert len(kept) <= 12
    for name in before:
        own = {new for old, new in zip(given_labels, found, strict=True) if old == name}
        assert own == ({name} if name in kept else {"other"})
        assert (before[name] >= MIN_QUERIES) or name not in kept
    fewest = min((before[name] for name in kept), default=0)
    assert all(n < MIN_QUERIES or n <= fewest for name, n in before.items() if name not in kept)


def test_each_part_is_compared_by_itself_and_corrected_for_all(systems: Systems) -> None:
    given_labels = [wh_word(ASKED[i % 4]) for i in range(48)]
    found = slicing("wh", systems, given_labels, "ndcg@10", [("new", "old")], seed=2)
    assert [(part.label, part.queries) for part in found.slices] == [
        ("what", 12),
        ("which", 12),
        ("yes/no", 12),
        ("other", 12),
    ]
    old, new = (systems.values[name]["ndcg@10"][0] for name in ("old", "new"))
    p = []
    for part in found.slices:
        rows = [i for i, name in enumerate(given_labels) if name == part.label]
        assert part.means == pytest.approx({"old": old[rows].mean(), "new": new[rows].mean()})
        compared = part.comparisons[0]
        assert compared.difference == pytest.approx((new[rows] - old[rows]).mean())
        assert compared.p == randomisation_p(new[rows] - old[rows], 2)
        p.append(compared.p)
    assert [part.comparisons[0].p_holm for part in found.slices] == holm(p).tolist()
    # otherwise the slices would not differ
    assert found.slices[0].comparisons[0].difference > found.slices[1].comparisons[0].difference


def test_lengths_stand_in_their_order(systems: Systems) -> None:
    counts = [3, 20, 3, 7] * 12
    given_labels = length_labels(["w " * n for n in counts])
    found = slicing("length", systems, given_labels, "ndcg@10", [("new", "old")])
    assert [part.label for part in found.slices] == ["3 words", "7 words", "20 words"]


def test_a_column_of_the_user_s_slices_too(home: Path, systems: Systems) -> None:
    data = open_compared(systems, "--slices")
    ids = systems.query_ids
    kinds = column_labels(data.dataset, ids, "kind")
    assert kinds[:3] == ["even", "odd", "even"]
    assert kinds[47] == "other"
    assert Counter(column_labels(data.dataset, ids, "year")) == {"2000": 20, "other": 28}
    for unknown in ("colour", "deep"):
        with pytest.raises(PyriteError, match=f"queries.jsonl: no compared query has.*'{unknown}'"):
            column_labels(data.dataset, ids, unknown)


def slices_of(home: Path, by: Sequence[str]) -> list[str]:
    folders = [str(home / "runs" / name) for name in ("old", "new")]
    return [one.by for one in compare_runs(folders, CompareOptions(slices=by)).slicings]


def test_several_slicings_stand_side_by_side(home: Path) -> None:
    by = ["wh", "length", "first-word", "kind"]
    assert slices_of(home, by) == by


def test_seeds_are_averaged_query_by_query_in_a_slice(home: Path) -> None:
    systems = collect(
        [f"both={home}/runs/old,{home}/runs/new", f"again={home}/runs/new"],
    )
    found = slicing("wh", systems, ["x"] * 48, "ndcg@10", [("again", "both")])
    mean = systems.values["both"]["ndcg@10"].mean()
    assert found.slices[0].means["both"] == pytest.approx(mean)
    assert found.slices[0].comparisons[0].ci95_seeds is not None
