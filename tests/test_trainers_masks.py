"""Every mask against plain loops over the batch's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import SPAN, TEXTS, LossBatch, known_of, random_batch
from loss_oracle import masks

from pyrite.trainers.loss_config import Direction
from pyrite.trainers.masks import (
    MISSING,
    BatchIds,
    Known,
    doc_to_doc,
    doc_to_query,
    first_columns,
    first_copies,
    query_to_doc,
    query_to_query,
)

MASKS = {"q2d": query_to_doc, "d2q": doc_to_query, "q2q": query_to_query, "d2d": doc_to_doc}
DIRECTIONS: list[Direction] = ["q2d", "d2q", "q2q", "d2d"]
NUMBERS = st.lists(st.integers(MISSING, TEXTS), min_size=1, max_size=20)


def found(
    batch: LossBatch, direction: Direction, rows: list[int] | None = None
) -> list[list[bool]]:
    ids = BatchIds.of(torch.tensor(batch.rows))
    chosen = torch.tensor(range(len(batch.rows)) if rows is None else rows)
    mask = MASKS[direction](ids, known_of(batch.known), chosen)
    assert mask.dtype == torch.bool
    flags: list[list[bool]] = mask.tolist()
    return flags


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(st.integers(0, 2**32 - 1))
def test_a_mask_is_what_the_numbers_say(direction: Direction, seed: int) -> None:
    batch = random_batch(seed)
    assert found(batch, direction) == masks(batch, direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_chunk_of_rows_has_those_rows_of_the_mask(direction: Direction) -> None:
    batch = random_batch(5, rows=6, negatives=2)
    whole = masks(batch, direction)
    assert found(batch, direction, [2, 3]) == whole[2:4]
    assert found(batch, direction, [5]) == whole[5:]


def test_a_batch_without_judgements_masks_what_its_rows_say() -> None:
    # query 0 stands in two rows; text 1 is a positive of both queries
    batch = LossBatch([[0, 1, 5], [0, 2, 6], [3, 1, MISSING], [4, 7, 2]])
    no, yes = False, True
    assert found(batch, "q2d") == [
        [no, no, no, yes, yes, yes, no, no],
        [no, no, no, yes, yes, yes, no, no],
        [no, yes, no, yes, yes, yes, no, no],
        [yes, yes, no, no, yes, yes, no, no],
    ]
    assert found(batch, "d2q") == [
        [no, no, no, yes],
        [no, no, yes, yes],
        [no, no, no, yes],
        [yes, no, yes, no],
    ]
    # queries 0 and 3 share text 1, through whichever row of query 0
    assert found(batch, "q2q") == [
        [no, no, no, yes],
        [no, no, no, yes],
        [no, no, no, yes],
        [yes, no, yes, no],
    ]


def test_a_row_s_own_negatives_are_no_negatives_of_its_positive() -> None:
    batch = LossBatch([[0, 1, 5], [1, 2, 6]])
    no, yes = False, True
    assert found(batch, "d2d") == [[no, yes, no, yes], [yes, no, yes, no]]
    # also where the text stands first in another row
    repeated = LossBatch([[0, 1, 2], [1, 2, 6]])
    assert found(repeated, "d2d")[0] == [no, no, no, yes]


@given(st.integers(0, 2**32 - 1))
def test_known_positives_are_looked_up_pair_by_pair(seed: int) -> None:
    known = random_batch(seed).known
    texts = torch.arange(MISSING, SPAN - 1)
    queries = torch.tensor([0, 1, 2, 4, 10**9])
    holds = known_of(known).holds(queries[:, None], texts[None, :])
    wanted = [[(q, t) in known for t in texts.tolist()] for q in queries.tolist()]
    assert holds.tolist() == wanted
    assert not known_of(set()).holds(queries[:, None], texts[None, :]).any()


def test_a_missing_text_is_not_the_last_text_of_the_query_before() -> None:
    # -1 of query 1 has the same key as the span's last number of query 0
    known = Known(torch.tensor([SPAN - 1]), SPAN)
    assert not known.holds(torch.tensor([1]), torch.tensor([MISSING])).any()


@given(NUMBERS)
def test_first_copies_and_first_columns(numbers: list[int]) -> None:
    values = torch.tensor(numbers)
    assert first_copies(values).tolist() == [x not in numbers[:at] for at, x in enumerate(numbers)]
    assert first_columns(values).tolist() == [numbers.index(x) for x in numbers]


def test_first_copies_of_a_large_batch() -> None:
    docs = torch.randint(0, 50, (20_000,), generator=torch.Generator().manual_seed(0))
    _, places = np.unique(docs.numpy(), return_index=True)
    assert torch.nonzero(first_copies(docs)).flatten().tolist() == sorted(places.tolist())
    assert set(first_columns(docs).tolist()) == set(places.tolist())


def test_columns_are_ordered_by_kind_and_then_by_row() -> None:
    ids = BatchIds.of(torch.tensor([[7, 1, 2, 3], [8, 4, 5, 6]]))
    assert ids.queries_G.tolist() == [7, 8]
    assert ids.docs_M.tolist() == [1, 4, 2, 5, 3, 6]
    assert ids.positives_G.tolist() == [1, 4]
    assert ids.docs_M[ids.own_columns(torch.tensor([1, 0]))].tolist() == [[4, 5, 6], [1, 2, 3]]
