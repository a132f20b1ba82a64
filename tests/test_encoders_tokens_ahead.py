from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_model import tiny_model

from pyrite.core.digest import digest_texts
from pyrite.core.embeddings import embed
from pyrite.core.encoder import Role, plan_batches
from pyrite.core.encoders.tokens_ahead import longest_first, tokenized_ahead
from pyrite.core.sbert import EncoderConfig, SentenceTransformerEncoder, load_model
from pyrite.core.tables import TextTable, write_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TEXTS = [f"w{i % 60} and " + "other words " * (i * 7 % 11) for i in range(90)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    folder = tiny_model(tmp_path_factory.mktemp("model"))
    return load_model(EncoderConfig(model=str(folder), max_length=40))


@pytest.fixture
def encoder(model: SentenceTransformer) -> SentenceTransformerEncoder:
    config = EncoderConfig(max_length=40, query_prompt="w1 ", document_prompt="")
    return SentenceTransformerEncoder(config, model)


def batches_of(encoder: SentenceTransformerEncoder, role: Role) -> list[list[str]]:
    planned = plan_batches(encoder.lengths(TEXTS, role), 200)
    return [[TEXTS[i] for i in batch] for batch in planned]


class Seen:
    """The model's own `preprocess`, and in which thread it ran."""

    def __init__(self, model: Any) -> None:
        self.own = type(model).preprocess.__get__(model)
        self.threads: list[int] = []
        self.orders: list[tuple[str, ...]] = []

    def __call__(self, inputs: Sequence[str], **options: Any) -> Any:
        self.threads.append(threading.get_ident())
        self.orders.append(tuple(inputs))
        return self.own(inputs, **options)


@pytest.fixture
def seen(model: SentenceTransformer) -> Iterator[Seen]:
    model.preprocess = Seen(model)
    yield model.preprocess
    del model.preprocess


@pytest.mark.parametrize("role", ["document", "query"])
def test_the_bytes_are_those_of_one_batch_after_the_other(
    encoder: SentenceTransformerEncoder, seen: Seen, role: Role
) -> None:
    batches = batches_of(encoder, role)
    assert len(batches) > 5
    encode = encoder.encode_queries if role == "query" else encoder.encode_documents
    alone = [encode(batch).tobytes() for batch in batches]
    orders = seen.orders.copy()
    seen.threads.clear()
    found = list(encoder.encode_batches(batches, role))
    assert [vectors.tobytes() for vectors in found] == alone
    # every batch was tokenized once, in the order that the library asks for, and elsewhere
    assert seen.orders[len(orders) :] == orders
    assert threading.get_ident() not in seen.threads
    assert encoder.model.preprocess is seen, "it is put back"


def test_the_next_batch_is_tokenized_before_the_model_is_done(model: SentenceTransformer) -> None:
    begun = threading.Event()

    def tokenize(inputs: Sequence[str], **_: Any) -> Any:
        if inputs[0] == "second":
            begun.set()
        return list(inputs)

    model.preprocess = tokenize
    try:
        for batch in tokenized_ahead(model, [["first"], ["second"]], "", "document"):
            if batch == ["first"]:
                assert begun.wait(20)
            assert model.preprocess(batch, prompt="", task="document") == batch
    finally:
        del model.preprocess


def test_few_batches_wait_and_an_end_in_the_middle_puts_all_back(
    model: SentenceTransformer,
) -> None:
    asked: list[int] = []

    def batches() -> Iterator[list[str]]:
        for number in range(50):
            asked.append(number)
            yield [f"w{number}"]

    ahead = tokenized_ahead(model, batches(), "", "document")
    next(ahead)
    next(ahead)
    assert asked == [0, 1, 2, 3]
    ahead.close()  # type: ignore[attr-defined]
    assert "preprocess" not in vars(model)


def test_what_was_not_expected_is_tokenized_too(model: SentenceTransformer) -> None:
    expected = model.preprocess(["w3 w4", "w5"], prompt="w1 ", task="query")
    for batch in tokenized_ahead(model, [["w3 w4", "w5"]], "", "query"):
        found = model.preprocess(list(batch), prompt="w1 ", task="query")
        assert found["input_ids"].tolist() == expected["input_ids"].tolist()
        found = model.preprocess(list(batch), prompt="", task="query")
        assert found["input_ids"].tolist() != expected["input_ids"].tolist()


def test_a_failing_tokenizer_is_heard_and_put_back(model: SentenceTransformer) -> None:
    def fail(inputs: Sequence[str], **_: Any) -> Any:
        raise ValueError("no such text")

    encoder = SentenceTransformerEncoder(EncoderConfig(max_length=40), model)
    model.preprocess = fail
    try:
        with pytest.raises(ValueError, match="no such text"):
            list(encoder.encode_batches([["w1"], ["w2"]], "document"))
        assert model.preprocess is fail
    finally:
        del model.preprocess


def test_equal_texts_in_two_batches_are_both_encoded(encoder: SentenceTransformerEncoder) -> None:
    found = list(encoder.encode_batches([["w1", "w2"]] * 4, "document"))
    assert all((vectors == found[0]).all() for vectors in found)


def test_longest_first_counts_characters() -> None:
    assert longest_first(["ab", "abcd", "a", "abc"]) == ["abcd", "abc", "ab", "a"]


def test_the_store_is_filled_that_way(
    encoder: SentenceTransformerEncoder, seen: Seen, tmp_path: Path
) -> None:
    write_texts(tmp_path / "t.arrow", ((f"d{i}", text) for i, text in enumerate(TEXTS)))
    table = TextTable.open(tmp_path / "t.arrow", digest_texts(TEXTS), "corpus.jsonl")
    stored = embed(encoder, table, "document", tmp_path, 200).take(np.arange(len(TEXTS)))
    assert len(seen.threads) > 5
    assert threading.get_ident() not in seen.threads
    expected = np.empty_like(stored)
    for batch in plan_batches(encoder.lengths(TEXTS, "document"), 200):
        expected[batch] = encoder.encode_documents([TEXTS[i] for i in batch])
    assert stored.tobytes() == expected.tobytes()
