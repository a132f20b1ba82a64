from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyrite.core.config import parse_config
from pyrite.core.digest import digest_texts, u64
from pyrite.core.embeddings import embed
from pyrite.core.encoder import F32
from pyrite.core.encoders.callable import CallableEncoder, callable_encoder
from pyrite.core.encoders.common import approximate_lengths, bad_rows, unit_rows
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig
from pyrite.core.tables import TextTable, write_texts

TEXTS = ["one", "two words", "", "Ünï \U0001f600"]
V1 = {"fingerprint": "1"}
MODULE = """
import numpy as np

calls = []

def encode(texts):
    calls.append(list(texts))
    return np.array([[len(t), 1.0, t.count("w")] for t in texts], dtype=np.float64)

class Model:
    def encode(self, texts):
        return -encode(texts)

model = Model()
constant = 3
"""


def hashed(texts: list[str]) -> F32:
    rows = [np.random.default_rng(u64(text)).standard_normal(6) for text in texts]
    return np.stack(rows).astype(np.float32)


def made(function: Callable[[list[str]], Any] = hashed, **fields: Any) -> CallableEncoder:
    return CallableEncoder(function, **{"fingerprint": "v1", "normalize": False, **fields})


def answer(value: Any) -> CallableEncoder:
    return made(lambda texts: value, dimension=2)


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "users_encoder.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_encoder", raising=False)
    return "users_encoder"


def test_the_vectors_are_those_of_the_function() -> None:
    encoder = made()
    assert encoder.dimension == 6
    found = encoder.encode_documents(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, hashed(TEXTS))
    np.testing.assert_array_equal(encoder.encode_queries(TEXTS[:1]), hashed(TEXTS[:1]))
    assert encoder.encode_documents([]).shape == (0, 6)


def test_queries_may_have_their_own_function_and_roles_their_prompts() -> None:
    encoder = made(
        query_function=lambda texts: -hashed(texts), query_prompt="q: ", document_prompt="d: "
    )
    np.testing.assert_array_equal(encoder.encode_queries(["a"]), -hashed(["q: a"]))
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), hashed(["d: a"]))
    assert encoder.lengths(["abcdefgh"], "query").tolist() == [3]


def test_unit_vectors_are_made_where_asked_for() -> None:
    found = made(lambda texts: [[3.0, 4.0], [0.0, 0.0]], normalize=True).encode_documents(
        ["a", "b"]
    )
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["list", "float64", "float16", "tensor", "bfloat16"])
def test_any_floating_array_will_do(kind: str) -> None:
    import torch

    values = [[0.5, -1.0], [2.0, 0.25]]
    made_of: dict[str, Any] = {
        "list": values,
        "float64": np.array(values),
        "float16": np.array(values, dtype=np.float16),
        "tensor": torch.tensor(values, requires_grad=True),
        "bfloat16": torch.tensor(values, dtype=torch.bfloat16),
    }
    found = answer(made_of[kind]).encode_documents(["a", "b"])
    assert found.dtype == np.float32
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0, 2.0]], r"returned shape \(1, 2\) for 2 texts, not \[2, D\]"),
        ([1.0, 2.0], r"returned shape \(2,\) for 2 texts"),
        (np.zeros((2, 0)), r"returned shape \(2, 0\) for 2 texts"),
        ([[1.0, 2.0, 3.0]] * 2, "vectors of 3 numbers, expected 2 .*callable.dimension"),
        ([[1.0, 2.0], [3.0]], "rows of different lengths or of objects, expected floating"),
        ([["a", "b"]] * 2, "returned dtype <U1, expected floating numbers"),
        (np.ones((2, 2), dtype=np.int64), "returned dtype int64"),
        (None, "of objects"),
        ([[1.0, 2.0], [np.nan, 0.0]], r"NaN or infinity for text 1 of a batch of 2 \(1 such rows"),
        (np.full((2, 2), 1e39), r"NaN or infinity for text 0 of a batch of 2 \(2 such"),
    ],
    ids=str,
)
def test_anything_else_is_one_sentence(value: Any, said: str) -> None:
    with pytest.raises(PyriteError, match=said) as caught:
        answer(value).encode_documents(["a", "b"])
    assert "\n" not in str(caught.value)


def test_an_exception_of_the_function_is_passed_on_with_a_note() -> None:
    def broken(texts: list[str]) -> Any:
        raise KeyError("no such layer")

    with pytest.raises(KeyError, match="no such layer") as caught:
        made(broken, dimension=2).encode_queries(TEXTS)
    assert "broken (encoder.callable) on 4 texts" in caught.value.__notes__[0]


@pytest.mark.parametrize("fingerprint", [None, ""])
def test_without_a_fingerprint_it_says_why_one_is_needed(fingerprint: str | None) -> None:
    with pytest.raises(PyriteError, match="cache key cannot be computed from a function"):
        CallableEncoder(hashed, fingerprint)


def test_a_thing_that_is_no_function_is_refused() -> None:
    with pytest.raises(PyriteError, match="query function is a str, which cannot be called"):
        made(query_function="not this")


def test_the_key_follows_the_fingerprint_and_the_settings(tmp_path: Path) -> None:
    write_texts(tmp_path / "t.arrow", ((f"d{i}", text) for i, text in enumerate(TEXTS)))
    table = TextTable.open(tmp_path / "t.arrow", digest_texts(TEXTS), "corpus.jsonl")

    def key(function: Callable[[list[str]], Any] = hashed, **fields: Any) -> str:
        return embed(made(function, **fields), table, "document", tmp_path, 64).key

    first = key()

    def never(texts: Sequence[str]) -> Any:
        raise AssertionError("the cache should have been hit")

    assert key(never, dimension=6) == first
    changes: list[dict[str, Any]] = [
        {"fingerprint": "v2"},
        {"query_prompt": "x"},
        {"document_prompt": "x"},
        {"normalize": True},
    ]
    assert len({first, *(key(**change) for change in changes)}) == 5


def config(**section: Any) -> EncoderConfig:
    return parse_config(EncoderConfig, {"kind": "callable", "callable": section})


def test_the_configuration_names_the_function(user_module: str) -> None:
    settings = config(
        function="users_encoder:encode",
        query_function="users_encoder:model.encode",
        fingerprint="1",
    ).model_copy(update={"normalize": False, "document_prompt": "ww "})
    assert user_module not in sys.modules, "the configuration alone imports nothing"
    encoder = callable_encoder(settings)
    assert encoder.encode_documents(["w"]).tolist() == [[4, 1, 3]]
    assert encoder.encode_queries(["w"]).tolist() == [[-1, -1, -1]]
    assert encoder.dimension == 3
    unit = callable_encoder(config(function="users_encoder:encode", fingerprint="1"))
    np.testing.assert_allclose(np.linalg.norm(unit.encode_queries(["abc"]), axis=1), 1, rtol=1e-6)
    assert unit.fingerprint != encoder.fingerprint


def test_a_stated_dimension_saves_the_probe(user_module: str) -> None:
    section = {"function": "users_encoder:encode", "fingerprint": "1", "dimension": 3}
    assert callable_encoder(config(**section)).dimension == 3
    assert sys.modules[user_module].calls == []
    with pytest.raises(PyriteError, match="vectors of 3 numbers, expected 4"):
        callable_encoder(config(**{**section, "dimension": 4})).encode_documents(["x"])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "needs encoder.callable.function=package.module:function"),
        ({"function": "users_encoder:encode"}, "cache key cannot be computed from a function"),
        ({"function": "users_encoder.encode", **V1}, "expected the form package.module:function"),
        ({"function": "users_encoder:", **V1}, "expected the form"),
        ({"function": ":encode", **V1}, "expected the form"),
        ({"function": "../evil:encode", **V1}, "expected the form"),
        ({"function": "no_such_module_of_ours:encode", **V1}, "no module no_such_module_of_ours;"),
        ({"function": "users_encoder:decode", **V1}, "users_encoder has no decode"),
        ({"function": "users_encoder:constant", **V1}, "a int, which cannot be called"),
        (
            {"function": "users_encoder:encode", "query_function": "users_encoder:x", **V1},
            r"encoder\.callable\.query_function=users_encoder:x: users_encoder has no x",
        ),
    ],
    ids=str,
)
def test_a_name_that_leads_nowhere_is_one_sentence(
    user_module: str, section: dict[str, Any], said: str
) -> None:
    with pytest.raises(PyriteError, match=said):
        callable_encoder(config(**section))


def test_lengths_without_a_tokenizer() -> None:
    texts = ["", "abcd", "abcde", "日本語です", "x" * 4000]
    assert approximate_lengths(texts).tolist() == [1, 1, 2, 4, 1000]
    assert approximate_lengths(texts[:2], "1234").tolist() == [1, 2]
    assert approximate_lengths([]).tolist() == []
    assert approximate_lengths([]).dtype == np.int64


def test_the_helpers_keep_zeros_and_find_what_is_not_finite() -> None:
    values = np.array([[0, 0], [3, 4], [np.inf, 1], [np.nan, 0]], dtype=np.float32)
    assert bad_rows(values).tolist() == [2, 3]
    unit = unit_rows(values[:2])
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)
