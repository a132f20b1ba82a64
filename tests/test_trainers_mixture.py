from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.core.mapped import Mapped
from pyrite.miner.ngame import Points
from pyrite.trainers.epoch_batches import Clock, EpochBatches
from pyrite.trainers.masks import BatchIds, Known, query_to_doc
from pyrite.trainers.mixed_feed import MixedRows
from pyrite.trainers.mixture import MixedBatches, Share, Slots, batch_shares
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet

Batch = tuple[int, list[int], int, int]


def points(rows: int, seed: int = 0) -> Points:
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**63, rows).astype(np.uint64)
    return Points(np.empty((rows, 0), dtype=np.float32), hashes, generator.permutation(rows))


def mixed(
    folder: Path,
    sizes: list[int],
    shares: list[int],
    batch: int = 4,
    seed: int = 0,
    processes: int = 1,
    accumulation: int = 1,
) -> MixedBatches:
    parts = [
        Share(points(size, at), n) for at, (size, n) in enumerate(zip(sizes, shares, strict=True))
    ]
    slots = Slots.create(folder, sum(shares), batch)
    return MixedBatches(parts, slots, batch // processes, seed, processes, accumulation)


def epoch_of(batches: MixedBatches, epoch: int) -> list[Batch]:
    """Set, rows, pass and step of every batch, as a collator reads them."""
    batches.set_epoch(epoch)
    found = []
    for slots in batches:
        rows, part, turn, step = batches.slots.read(np.array(slots))
        found.append((part, rows.tolist(), turn, step))
    return found


def test_batches_are_shared_by_largest_remainder() -> None:
    # exact shares 4.9, 2.8 and 2.3: after 4, 2 and 2 the two largest remainders get one each
    assert batch_shares([0.49, 0.28, 0.23], 10) == [5, 3, 2]
    assert batch_shares([3, 3, 3], 10) == [4, 3, 3]
    assert batch_shares([0.7, 0.3], 10) == [7, 3]
    assert batch_shares([5.0], 7) == [7]
    with pytest.raises(
        PyriteError, match=r"datasets\.1\.weight=1 of 100 is 0\.10 of an epoch's 10"
    ):
        batch_shares([99, 1], 10)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8), st.integers(1, 10**6))
def test_shares_add_up_and_none_is_a_whole_batch_off(weights: list[float], total: int) -> None:
    exact = [weight / sum(weights) * total for weight in weights]
    try:
        found = batch_shares(weights, total)
    except PyriteError:
        assert min(exact) < 1
        return
    assert sum(found) == total
    assert min(found) >= 1
    assert all(abs(n - x) < 1 + 1e-6 * total for n, x in zip(found, exact, strict=True))


def test_every_batch_is_of_one_set_and_the_proportions_are_exact(tmp_path: Path) -> None:
    batches = mixed(tmp_path, [41, 22, 9], [3, 9, 5])
    turns = []
    for epoch in range(4):
        found = epoch_of(batches, epoch)
        assert Counter(part for part, *_ in found) == {0: 3, 1: 9, 2: 5}
        assert [step for *_, step in found] == list(range(epoch * 17, epoch * 17 + 17))
        assert all(len(set(rows)) == 4 for _, rows, *_ in found)
        turns.append([part for part, *_ in found])
    assert len({tuple(t) for t in turns}) == 4


def test_a_set_is_gone_through_whole_before_a_row_comes_again(tmp_path: Path) -> None:
    sizes, shares = [41, 22, 9], [3, 9, 5]
    batches = mixed(tmp_path, sizes, shares)
    passes: dict[tuple[int, int], list[int]] = {}
    orders: list[tuple[int, int]] = []
    for epoch in range(20):
        for part, rows, turn, _ in epoch_of(batches, epoch):
            passes.setdefault((part, turn), []).extend(rows)
            orders.append((part, turn))
    for part, size in enumerate(sizes):
        mine = [turn for p, turn in orders if p == part]
        assert mine == sorted(mine)
        whole = [passes[part, turn] for turn in range(max(mine))]
        taken, in_a_pass = 20 * shares[part], size // 4
        assert len(whole) == (taken - 1) // in_a_pass
        for rows in whole:
            assert len(rows) == len(set(rows)) == size // 4 * 4
            assert set(rows) <= set(range(size))
        assert len({tuple(rows) for rows in whole}) == len(whole)


def test_one_set_alone_is_batched_as_ever(tmp_path: Path) -> None:
    one = mixed(tmp_path / "mixed", [43], [10], accumulation=3)
    clock = Clock(Mapped.zeros(tmp_path / "steps.npy", np.int64, (43,)), 4)
    plain = EpochBatches(points(43), clock, 4, 0, accumulation=3)
    assert len(one) == len(plain) == 10
    assert one.clock.steps_per_epoch == 4
    for epoch in (0, 1, 5):
        plain.set_epoch(epoch)
        wanted = [(rows, *clock.read(rows[0])) for rows in plain]
        assert [(rows, turn, step) for _, rows, turn, step in epoch_of(one, epoch)] == wanted


def test_two_processes_take_turns_at_the_batches_of_one(tmp_path: Path) -> None:
    alone = mixed(tmp_path / "one", [41, 22], [3, 9])
    two = mixed(tmp_path / "two", [41, 22], [3, 9], processes=2)
    assert len(two) == 2 * len(alone)
    for epoch in (0, 3):
        whole, halves = epoch_of(alone, epoch), epoch_of(two, epoch)
        pairs = zip(halves[::2], halves[1::2], strict=True)
        assert [(a, b + c, d, e) for (a, b, d, e), (f, c, *_) in pairs if f == a] == whole


def test_the_seed_and_the_epoch_decide_alone(tmp_path: Path) -> None:
    first = mixed(tmp_path / "a", [41, 22], [3, 9])
    wanted = [epoch_of(first, epoch) for epoch in range(3)]
    again = mixed(tmp_path / "b", [41, 22], [3, 9])
    assert epoch_of(again, 2) == wanted[2]
    assert epoch_of(again, 0) == wanted[0]
    assert epoch_of(mixed(tmp_path / "c", [41, 22], [3, 9], seed=1), 0) != wanted[0]


def toy_set(queries: int, texts: int, known: list[tuple[int, int]]) -> TrainingSet:
    """`known` are (query, text); every text is its own document."""
    span = texts + 1
    rows = np.array([q for q, _ in known]), np.array([t for _, t in known])
    numbers = np.arange(texts)
    pairs = np.unique([q * span + t for q, t in known])
    return TrainingSet(
        *rows, np.empty((len(known), 0), dtype=np.int64), numbers, numbers, pairs, span
    )


def test_numbers_of_two_sets_never_meet() -> None:
    # query 0 answers text 1 in the first set only, query 1 text 0 in the second only
    known = [[(0, 0), (0, 1), (2, 3)], [(0, 0), (1, 0), (1, 2)], [(3, 1)]]
    sets = [toy_set(4, 4, known[0]), toy_set(2, 3, known[1]), toy_set(4, 2, known[2])]
    mixed = MixedRows.of(sets)
    pairs: set[tuple[int, int]] = set()
    for at, own in enumerate(known):
        q, t = int(mixed.first_queries[at]), int(mixed.first_texts[at])
        theirs = {(query + q, text + t) for query, text in own}
        assert not {a for a, _ in theirs} & {a for a, _ in pairs}
        assert not {b for _, b in theirs} & {b for _, b in pairs}
        assert {mixed.set_of(a) for a, _ in theirs} == {at}
        pairs |= theirs
    assert [divmod(int(pair), mixed.span) for pair in mixed.known] == sorted(pairs)
    alone = MixedRows.of(sets[:1])
    assert np.array_equal(alone.known, sets[0].known)
    assert alone.span == sets[0].span


def test_a_judgement_of_one_set_masks_nothing_in_another() -> None:
    first, second = toy_set(2, 3, [(0, 0), (0, 1), (1, 2)]), toy_set(2, 3, [(0, 0), (1, 1)])
    mixed = MixedRows.of([first, second])
    known = Known(torch.from_numpy(mixed.known), mixed.span)
    # rows (query 0, text 0) and (query 1, text 1): known only to the first set as (0, 1)
    plain = torch.tensor([[0, 0], [1, 1]])
    shift = torch.tensor([int(mixed.first_queries[1]), int(mixed.first_texts[1])])
    rows = torch.arange(2)
    assert query_to_doc(BatchIds.of(plain), known, rows).tolist() == [[False, False], [True, False]]
    wanted = [[False, True], [True, False]]
    assert query_to_doc(BatchIds.of(plain + shift), known, rows).tolist() == wanted


def test_the_page_s_configuration_is_valid() -> None:
    page = (Path(__file__).parents[1] / "docs" / "mixtures.md").read_text("utf-8")
    section = yaml.safe_load(page[page.index("    train:\n") :])["train"]
    assert [entry.weight for entry in TrainSection.model_validate(section).datasets] == [0.7, 0.3]
