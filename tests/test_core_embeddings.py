from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import BagOfWords
from hypothesis import example, given
from hypothesis import strategies as st

from pyrite.core.embeddings import Embeddings, StoreLayout, embed
from pyrite.core.encoder import F32, plan_batches
from pyrite.core.errors import PyriteError
from pyrite.core.store import MANIFEST, Manifest, listing
from pyrite.core.tables import TextTable, write_texts

ROWS = 23
SHARD = 5
LAYOUT = StoreLayout(part_rows=SHARD, shard_parts=1)
TOKENS = 12


class BatchSensitive(BagOfWords):
    """Rounds like a real model: a vector depends on the batch it was computed in."""

    def _encode(self, texts: Sequence[str]) -> F32:
        return super()._encode(texts) + np.float32(len(texts) * 1e-3)


class DiesAfter(BatchSensitive):
    def __init__(self, texts: int) -> None:
        super().__init__()
        self.left = texts

    def _encode(self, texts: Sequence[str]) -> F32:
        self.left -= len(texts)
        if self.left < 0:
            raise KeyboardInterrupt
        return super()._encode(texts)


class Poisoned(BagOfWords):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def _encode(self, texts: Sequence[str]) -> F32:
        vectors = super()._encode(texts)
        vectors[[i for i, t in enumerate(texts) if "text17" in t], 3] = self.value
        return vectors


class Recording(BagOfWords):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[int]] = []

    def _encode(self, texts: Sequence[str]) -> F32:
        self.batches.append([len(text.split()) for text in texts])
        return super()._encode(texts)


class WrongWidth(BagOfWords):
    def _encode(self, texts: Sequence[str]) -> F32:
        return super()._encode(texts)[:, :-1]


class OneShort(BagOfWords):
    def _encode(self, texts: Sequence[str]) -> F32:
        return super()._encode(texts)[1:]


@pytest.fixture
def table(tmp_path: Path) -> TextTable:
    texts = [f"text{i} " + "word " * (i * 7 % 5) for i in range(ROWS)]
    write_texts(tmp_path / "t.arrow", ((f"d{i}", t) for i, t in enumerate(texts)))
    return TextTable.open(tmp_path / "t.arrow", "digest", "corpus.jsonl")


def run(
    encoder: BagOfWords, table: TextTable, cache: Path, rows: Sequence[int] | None = None
) -> Embeddings:
    chosen = None if rows is None else np.array(rows, dtype=np.int64)
    return embed(encoder, table, "document", cache, TOKENS, chosen, layout=LAYOUT)


def whole(embeddings: Embeddings) -> F32:
    return np.concatenate([block for _, block in embeddings.blocks()])


def folder_of(embeddings: Embeddings, cache: Path) -> Path:
    return cache / "embeddings" / embeddings.key


def test_values_are_those_of_each_text_alone_in_row_order(
    table: TextTable, tmp_path: Path, encoder: BagOfWords
) -> None:
    found = run(encoder, table, tmp_path)
    alone = np.concatenate([BagOfWords().encode_documents([t]) for t in table.texts(slice(None))])
    np.testing.assert_array_equal(whole(found), alone)
    assert [first for first, _ in found.blocks()] == [0, 5, 10, 15, 20]
    assert (len(found), found.dimension, encoder.encoded) == (ROWS, 16, ROWS)
    assert whole(found).dtype == np.float32


def test_batches_fill_the_budget_and_keep_it(table: TextTable, tmp_path: Path) -> None:
    recording = Recording()
    run(recording, table, tmp_path)
    lengths = [len(text.split()) for text in table.texts(slice(None))]
    expected: list[list[int]] = []
    for start in range(0, ROWS, SHARD):
        shard = sorted(lengths[start : start + SHARD], reverse=True)
        while shard:
            size = max(1, TOKENS // shard[0])
            expected.append(shard[:size])
            shard = shard[size:]
    assert recording.batches == expected
    assert max(map(len, expected)) > 1, "the budget holds several texts"


def test_a_choice_of_rows_keeps_its_order(table: TextTable, tmp_path: Path) -> None:
    everything = whole(run(BagOfWords(), table, tmp_path))
    rows = [22, 3, 3, 0, 17, 9]
    found = run(BagOfWords(), table, tmp_path, rows)
    np.testing.assert_array_equal(whole(found), everything[rows])
    assert found.key != run(BagOfWords(), table, tmp_path, sorted(rows)).key


def test_take_is_fancy_indexing_on_any_shape(table: TextTable, tmp_path: Path) -> None:
    found = run(BagOfWords(), table, tmp_path)
    everything = whole(found)
    random = np.random.default_rng(0)
    for shape in [(0,), (1,), (40,), (3, 7), (0, 4), (2, 3, 4)]:
        rows = random.integers(0, ROWS, size=shape)
        np.testing.assert_array_equal(found.take(rows), everything[rows])
        assert found.take(rows).shape == (*shape, 16)


def test_a_second_run_encodes_nothing(table: TextTable, tmp_path: Path) -> None:
    first = run(BagOfWords(), table, tmp_path)
    again = BagOfWords()
    second = run(again, table, tmp_path)
    assert again.encoded == 0
    assert second.key == first.key
    np.testing.assert_array_equal(whole(second), whole(first))


def test_a_killed_run_resumes_to_the_bytes_of_an_unbroken_one(
    table: TextTable, tmp_path: Path
) -> None:
    unbroken = run(BatchSensitive(), table, tmp_path / "a")
    for survived in (0, 4, 5, 12, 22):
        cache = tmp_path / f"b{survived}"
        with pytest.raises(KeyboardInterrupt):
            run(DiesAfter(survived), table, cache)
        assert list(cache.rglob(MANIFEST)) == []
        rest = BatchSensitive()
        resumed = run(rest, table, cache)
        assert rest.encoded == ROWS - survived // SHARD * SHARD, "whole shards are kept"
        assert listing(folder_of(resumed, cache)) == listing(folder_of(unbroken, tmp_path / "a"))


def damage_file(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "unseal":
        path.with_name(path.name + ".sum").unlink()
        return
    # a changed copy in its place: the arrays of the first run stay mapped
    path.unlink()
    if how == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "truncate":
        path.write_bytes(data[:-4])


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_only_a_damaged_shard_is_encoded_again(table: TextTable, tmp_path: Path, how: str) -> None:
    folder = folder_of(run(BatchSensitive(), table, tmp_path), tmp_path)
    before = listing(folder)
    damage_file(folder / "emb-00002.npy", how)
    again = BatchSensitive()
    run(again, table, tmp_path)
    assert again.encoded == SHARD
    assert listing(folder) == before
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.data["counts"] == {"rows": ROWS, "copied": ROWS - SHARD}


@pytest.mark.parametrize("how", ["flip", "truncate", "delete", "unseal"])
def test_only_a_damaged_part_of_a_killed_run_is_encoded_again(
    table: TextTable, tmp_path: Path, how: str
) -> None:
    unbroken = folder_of(run(BatchSensitive(), table, tmp_path / "a"), tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(DiesAfter(3 * SHARD), table, tmp_path / "b")
    [part] = (tmp_path / "b").rglob(f"part-{SHARD}-{SHARD:010d}.npy")
    damage_file(part, how)
    rest = BatchSensitive()
    resumed = run(rest, table, tmp_path / "b")
    assert rest.encoded == ROWS - 2 * SHARD
    assert listing(folder_of(resumed, tmp_path / "b")) == listing(unbroken)


def test_new_documents_are_encoded_and_old_ones_are_copied(
    table: TextTable, tmp_path: Path
) -> None:
    first = whole(run(BagOfWords(), table, tmp_path))
    texts = table.texts(slice(None))
    grown = ["a new text first", *texts[::-1], "and a new text last", texts[0]]
    write_texts(tmp_path / "more.arrow", ((f"e{i}", t) for i, t in enumerate(grown)))
    larger = TextTable.open(tmp_path / "more.arrow", "other digest", "corpus.jsonl")
    encoder = BagOfWords()
    second = whole(run(encoder, larger, tmp_path))
    assert encoder.encoded == 2
    np.testing.assert_array_equal(second[1 : ROWS + 1], first[::-1])
    np.testing.assert_array_equal(second[-1], first[0])
    other = BagOfWords(salt="other weights")
    run(other, larger, tmp_path)
    assert other.encoded == len(grown), "vectors of another encoder are never copied"


def test_half_precision_halves_the_store_and_is_read_as_float32(
    table: TextTable, tmp_path: Path
) -> None:
    exact = run(BagOfWords(), table, tmp_path)
    half = embed(
        BagOfWords(), table, "document", tmp_path, TOKENS, layout=StoreLayout(dtype="float16")
    )
    assert half.key != exact.key
    assert {s.dtype for s in half.shards} == {np.dtype(np.float16)}
    assert whole(half).dtype == half.take(np.array([[1, 2]])).dtype == np.float32
    np.testing.assert_array_equal(whole(half), whole(exact).astype(np.float16))


def test_an_interrupted_repair_still_copies_what_is_whole(table: TextTable, tmp_path: Path) -> None:
    folder = folder_of(run(BatchSensitive(), table, tmp_path), tmp_path)
    before = listing(folder)
    (folder / "emb-00000.npy").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(DiesAfter(0), table, tmp_path)
    manifest = Manifest.read(folder)
    assert manifest is None or not manifest.intact(folder)
    again = BatchSensitive()
    run(again, table, tmp_path)
    assert again.encoded == SHARD
    assert listing(folder) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_an_error_with_its_row(
    table: TextTable, tmp_path: Path, value: float
) -> None:
    with pytest.raises(PyriteError, match=r"^corpus\.jsonl \(document\): row 17 has a vector with"):
        run(Poisoned(value), table, tmp_path)
    # the row of the table, not the place in the choice
    with pytest.raises(PyriteError, match=r"row 17 has .* \(1 such rows\)"):
        run(Poisoned(value), table, tmp_path, [0, 1, 2, 3, 4, 5, 17])
    assert list(tmp_path.rglob(MANIFEST)) == []
    assert not list(tmp_path.rglob("emb-00003.npy"))


@pytest.mark.parametrize("encoder", [WrongWidth(), OneShort()])
def test_a_wrong_shape_is_an_error(table: TextTable, tmp_path: Path, encoder: BagOfWords) -> None:
    with pytest.raises(PyriteError, match=r"^the encoder returned shape .* expected \(\d, 16\)$"):
        run(encoder, table, tmp_path)
    assert list(tmp_path.rglob(MANIFEST)) == []


def test_the_key_is_content(table: TextTable, tmp_path: Path) -> None:
    def key(encoder: BagOfWords, texts: str = "digest", tokens: int = TOKENS) -> str:
        same = TextTable(table.table, table.ids, texts, "another name")
        return embed(encoder, same, "document", tmp_path, tokens, layout=LAYOUT).key

    base = key(BagOfWords())
    assert key(BagOfWords()) == base
    others = [
        key(BagOfWords(salt="other weights")),
        key(BagOfWords(), texts="other texts"),
        key(BagOfWords(), tokens=TOKENS + 1),
        embed(BagOfWords(), table, "query", tmp_path, TOKENS, layout=LAYOUT).key,
        embed(
            BagOfWords(),
            table,
            "document",
            tmp_path,
            TOKENS,
            layout=StoreLayout(part_rows=SHARD + 1),
        ).key,
    ]
    assert len({base, *others}) == 6


def test_from_array_checks_its_array() -> None:
    values = np.arange(6.0).reshape(3, 2)
    found = Embeddings.from_array(values.astype(np.float32), "key")
    np.testing.assert_array_equal(found.take(np.array([2, 0])), values[[2, 0]])
    with pytest.raises(PyriteError, match=r"shape \(6,\), expected \[N, D\]"):
        Embeddings.from_array(values.astype(np.float32).ravel())
    values[1, 1] = np.nan
    with pytest.raises(PyriteError, match="row 1 has a vector with NaN"):
        Embeddings.from_array(values.astype(np.float32))


@given(lengths=st.lists(st.integers(0, 40), max_size=60), budget=st.integers(1, 64))
@example(lengths=[], budget=1)
@example(lengths=[0, 0, 0], budget=2)
@example(lengths=[50, 50, 1], budget=10)
def test_plan_batches_keeps_the_budget_and_every_row(lengths: list[int], budget: int) -> None:
    values = np.array(lengths, dtype=np.int64)
    batches = plan_batches(values, budget)
    rows = [int(row) for batch in batches for row in batch]
    # Python's sort is stable: equal lengths stay in row order, on every machine
    assert rows == sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert batch.size == 1 or batch.size * longest <= budget
    # greedy: the next row would not have fitted; a text of no tokens counts as one
    for batch in batches[:-1]:
        assert (batch.size + 1) * max(lengths[batch[0]], 1) > budget
    again = plan_batches(values.copy(), budget)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]
