from __future__ import annotations

import importlib.metadata
import inspect
import itertools
import json
import logging
import statistics
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from tiny_model import HIDDEN, tiny_model

from pyrite.core.digest import digest_texts
from pyrite.core.embeddings import embed
from pyrite.core.encoder import F32
from pyrite.core.encoders import onnx_graph
from pyrite.core.encoders.config import OnnxConfig
from pyrite.core.encoders.onnx import OnnxEncoder
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig, SentenceTransformerEncoder, load_model
from pyrite.core.tables import TextTable, write_texts

pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Precision = Literal["float32", "int8"]
TEXTS = [
    "w1 w2 w3",
    "  spaced  out\n text ",
    "Ünïcödé and \U0001f600",
    "x",
    "",
    "many words " * 60,
    "def add(a, b):\n    return a + b",
]
LONG = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformer:
    return load_model(EncoderConfig(max_length=32))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def settings(precision: Precision = "float32", **fields: Any) -> EncoderConfig:
    return EncoderConfig(
        **{"max_length": LONG, **fields}, kind="onnx", onnx=OnnxConfig(precision=precision)
    )


def described() -> list[str]:
    """Sixty texts of real English: the documentation of standard functions."""
    found = []
    for module in (string, statistics, itertools, json, inspect, logging):
        for name in sorted(vars(module)):
            text = inspect.getdoc(getattr(module, name))
            if text and text not in found and not name.startswith("_"):
                found.append(text)
    return found[:60]


def cosines(found: F32, expected: F32) -> F32:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return np.asarray((found * expected).sum(axis=1) / norms)


def nearest(vectors: F32, k: int = 10) -> list[set[int]]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return [set(row) for row in np.argsort(-scores, axis=1)[:, :k].tolist()]


def test_float32_is_torch_on_a_real_model(minilm: SentenceTransformer, graphs: Path) -> None:
    config = settings(max_length=32, query_prompt="query: ")
    encoder = OnnxEncoder(config, graphs, minilm)
    torch_encoder = SentenceTransformerEncoder(config, minilm)
    assert encoder.dimension == 384
    texts = [*TEXTS, *described()[:5]]
    found = encoder.encode_documents(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch_encoder.encode_documents(texts), atol=1e-4)
    np.testing.assert_allclose(
        encoder.encode_queries(TEXTS), torch_encoder.encode_queries(TEXTS), atol=1e-4
    )
    assert np.abs(encoder.encode_queries(TEXTS) - found[: len(TEXTS)]).max() > 0.01


@pytest.mark.slow
def test_int8_is_close_and_finds_the_same_neighbours(
    minilm: SentenceTransformer, graphs: Path
) -> None:
    texts = described()
    assert len(texts) == 60
    vectors = {}
    for precision in ("float32", "int8"):
        config = settings(precision, max_length=32)
        encoder = OnnxEncoder(config, graphs, minilm)
        parts = [encoder.encode_documents(texts[i : i + 20]) for i in range(0, 60, 20)]
        vectors[precision] = np.concatenate(parts)
    cosine = cosines(vectors["int8"], vectors["float32"])
    assert 0.98 < cosine.mean() < 0.9999, "int8 in truth, and close"
    assert cosine.min() > 0.95
    pairs = zip(nearest(vectors["int8"]), nearest(vectors["float32"]), strict=True)
    assert np.mean([len(a & b) / 10 for a, b in pairs]) > 0.85
    saved = sorted((graphs / "onnx").glob("*/model.onnx.data"), key=lambda p: p.stat().st_size)
    assert saved[-1].stat().st_size > 3.5 * saved[0].stat().st_size


def test_int8_is_close_on_a_small_model(folder: Path, tmp_path: Path) -> None:
    config = settings("int8", model=str(folder))
    encoder = OnnxEncoder(config, tmp_path)
    found = encoder.encode_documents(TEXTS)
    cosine = cosines(found, SentenceTransformerEncoder(config).encode_documents(TEXTS))
    assert 0.98 < cosine.mean() < 0.999999, "int8 in truth, and close"
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def pipeline(folder: Path, *after: Any, pooling: Any = "mean") -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    modules = [Transformer(str(folder)), Pooling(HIDDEN, pooling), *after]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.max_seq_length = LONG
    return model


@pytest.mark.parametrize(
    "pooling",
    ["mean", "cls", "lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean", ("cls", "mean")],
    ids=str,
)
def test_every_pooling_is_exported(folder: Path, tmp_path: Path, pooling: Any) -> None:
    config = settings(normalize=pooling == "mean")
    model = pipeline(folder, pooling=pooling)
    encoder = OnnxEncoder(config, tmp_path, model)
    expected = SentenceTransformerEncoder(config, model)
    np.testing.assert_allclose(
        encoder.encode_documents(TEXTS), expected.encode_documents(TEXTS), atol=1e-4
    )
    np.testing.assert_allclose(
        encoder.encode_documents(TEXTS[:1]), expected.encode_documents(TEXTS[:1]), atol=1e-4
    )
    assert encoder.dimension == expected.dimension


def test_later_modules_are_exported_and_the_dimension_is_cut(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm

    model = pipeline(folder, Dense(HIDDEN, 12), LayerNorm(12), Dropout(0.5), Normalize())
    config = settings(normalize=False)
    expected = SentenceTransformerEncoder(config, model).encode_documents(TEXTS)
    assert expected.shape == (len(TEXTS), 12)
    encoder = OnnxEncoder(config, tmp_path, model)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected, atol=1e-4)
    model.truncate_dim = 5
    short = OnnxEncoder(config, tmp_path, model)
    assert short.dimension == 5
    np.testing.assert_allclose(short.encode_documents(TEXTS), expected[:, :5], atol=1e-4)


@pytest.mark.parametrize("key_heads", [2, 1])
def test_a_decoder_without_token_types_is_exported(
    folder: Path, tmp_path: Path, key_heads: int
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    shape = LlamaConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(str(folder))),
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=key_heads,
        max_position_embeddings=128,
    )
    LlamaModel(shape).save_pretrained(str(tmp_path / "llama"))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(str(tmp_path / "llama"))
    transformer = Transformer(str(tmp_path / "llama"))
    model = SentenceTransformer(modules=[transformer, Pooling(HIDDEN, "lasttoken")], device="cpu")
    model.max_seq_length = LONG
    encoder = OnnxEncoder(settings(), tmp_path, model)
    expected = SentenceTransformerEncoder(settings(), model)
    np.testing.assert_allclose(
        encoder.encode_documents(TEXTS), expected.encode_documents(TEXTS), atol=1e-4
    )


@pytest.mark.parametrize("case", ["prompt", "module", "input"])
def test_what_cannot_be_exported_is_one_sentence(folder: Path, tmp_path: Path, case: str) -> None:
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    model = pipeline(folder)
    if case == "prompt":
        model[1].include_prompt = False
        said = "the module Pooling without the prompt"
    elif case == "module":
        model.append(WeightedLayerPooling(HIDDEN, num_hidden_layers=2))
        said = "the module WeightedLayerPooling, only Dense"
    else:
        model.tokenizer.model_input_names = ["input_ids"]
        said = "a model of input_ids, only of"
    with pytest.raises(PyriteError, match=said) as caught:
        OnnxEncoder(settings(), tmp_path, model)
    assert "set encoder.kind=sentence-transformers" in str(caught.value)
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_graph_that_is_not_the_model_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = onnx_graph._Traced
    true = traced.torch_vectors
    monkeypatch.setattr(traced, "torch_vectors", lambda self: true(self) * 1.01)
    with pytest.raises(PyriteError, match=r"0\.0099 away from torch, over the limit 0\.001"):
        OnnxEncoder(settings(), tmp_path, load_model(settings(model=str(folder))))
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_failing_exporter_is_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def fail(*_: Any, **__: Any) -> None:
        raise torch.onnx.errors.OnnxExporterError("no such operator\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(PyriteError, match=r"cannot export this model \(no such operator\); set"):
        OnnxEncoder(settings(model=str(folder)), tmp_path)


def never(*_: Any) -> Any:
    raise AssertionError("the graph should have been in the cache")


def test_the_graph_is_exported_once_and_says_what_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("int8", model=str(folder))
    first = OnnxEncoder(config, tmp_path).encode_documents(TEXTS)
    manifest = json.loads(next(tmp_path.rglob("manifest.json")).read_text(encoding="utf-8"))
    assert manifest["precision"] == "int8"
    assert manifest["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert sorted(manifest["files"]) == ["model.onnx", "model.onnx.data"]
    assert manifest["agreement"]["float32_error"] < 1e-4
    assert 0.5 < manifest["agreement"]["int8_cosine"] < 1
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {"manifest.json", "model.onnx", "model.onnx.data"}
    monkeypatch.setattr(onnx_graph, "_build", never)
    again = OnnxEncoder(config, tmp_path)
    assert again.encode_documents(TEXTS).tobytes() == first.tobytes()
    with pytest.raises(AssertionError, match="in the cache"):
        OnnxEncoder(settings("float32", model=str(folder)), tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    with pytest.raises(AssertionError, match="in the cache"):
        OnnxEncoder(config, tmp_path)


@pytest.mark.parametrize("damage", ["killed", "torn"])
def test_half_a_graph_is_not_used(folder: Path, tmp_path: Path, damage: str) -> None:
    config = settings(model=str(folder))
    first = OnnxEncoder(config, tmp_path).encode_documents(TEXTS)
    if damage == "killed":
        next(tmp_path.rglob("manifest.json")).unlink()
    weights = next(tmp_path.rglob("model.onnx.data"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    again = OnnxEncoder(config, tmp_path)
    assert weights.stat().st_size == len(whole)
    assert again.encode_documents(TEXTS).tobytes() == first.tobytes()
    assert len(list(tmp_path.rglob("manifest.json"))) == 1


def test_the_fingerprint_is_that_of_the_content_and_the_precision(
    folder: Path, tmp_path: Path
) -> None:
    tiny: dict[str, Any] = {"model": str(folder)}
    f32 = OnnxEncoder(settings(**tiny), tmp_path)
    copy = tiny_model(tmp_path / "copy")
    prints = {
        f32.fingerprint,
        OnnxEncoder(settings("int8", **tiny), tmp_path).fingerprint,
        SentenceTransformerEncoder(settings(**tiny)).fingerprint,
        OnnxEncoder(settings(query_prompt="q: ", **tiny), tmp_path).fingerprint,
        OnnxEncoder(settings(model=str(tiny_model(tmp_path / "b", seed=1))), tmp_path).fingerprint,
    }
    assert len(prints) == 5
    assert OnnxEncoder(settings(model=str(copy)), tmp_path).fingerprint == f32.fingerprint


def test_it_drives_the_embedding_store(folder: Path, tmp_path: Path) -> None:
    config = settings(model=str(folder), batch_tokens=64)
    write_texts(tmp_path / "t.arrow", ((f"d{i}", text) for i, text in enumerate(TEXTS)))
    table = TextTable.open(tmp_path / "t.arrow", digest_texts(TEXTS), "corpus.jsonl")
    encoder = OnnxEncoder(config, tmp_path)
    source = SentenceTransformerEncoder(config)
    assert encoder.lengths(TEXTS, "query").tolist() == source.lengths(TEXTS, "query").tolist()
    assert encoder.encode_documents([]).shape == (0, HIDDEN)
    found = embed(encoder, table, "document", tmp_path, 64).take(np.arange(len(TEXTS)))
    np.testing.assert_allclose(found, source.encode_documents(TEXTS), atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"device": "cuda"}, "encoder.device=cpu"), ({"dtype": "bfloat16"}, "encoder.dtype=float32")],
)
def test_it_is_for_float32_on_the_cpu(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PyriteError, match=f"set {said}|; set {said}|set\\s*{said}"):
        OnnxEncoder(settings(**fields), tmp_path)


def test_poor_int8_is_a_warning_and_the_quantiser_is_quiet(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(onnx_graph, "_POOR_COSINE", 1.1)
    OnnxEncoder(settings("int8", model=str(folder)), tmp_path)
    warned = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [r.name for r in warned] == ["pyrite.core.encoders.onnx_graph"]
    assert "encoder.onnx.precision=float32 is exact" in warned[0].getMessage()
    logging.getLogger().warning("heard again")
    assert "heard again" in caplog.text


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_without_a_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PyriteError, match=rf"package {package}, .* 'pyrite\[onnx\]'"):
        OnnxEncoder(settings(), tmp_path)


def test_the_tokens_come_from_the_model(minilm: SentenceTransformer, graphs: Path) -> None:
    encoder = OnnxEncoder(settings(max_length=32), graphs, minilm)
    texts: Sequence[str] = ["word " * n for n in (1, 3, 500)]
    assert encoder.lengths(texts, "document").tolist() == [3, 5, 32]
