"""Attention as one node of the exported graph, and the plain graph where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tiny_model import tiny_model

from pyrite.core.encoder import F32
from pyrite.core.encoders import onnx_attention, onnx_graph
from pyrite.core.encoders.config import OnnxConfig
from pyrite.core.encoders.onnx import OnnxEncoder
from pyrite.core.sbert import (
    EncoderConfig,
    SentenceTransformerEncoder,
    architecture,
    load_model,
)

pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

Precision = Literal["float32", "int8"]
TEXTS = ["w1 w2 w3", "x", "", "many words " * 60, "def add(a, b):\n    return a + b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def settings(precision: Precision = "float32", **fields: Any) -> EncoderConfig:
    onnx = OnnxConfig(precision=precision)
    return EncoderConfig(**fields, max_length=60, kind="onnx", onnx=onnx)


def operators(folder: Path) -> list[str]:
    import onnx

    path = next(folder.rglob("model.onnx"))
    return [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_attention_is_one_node_of_each_layer(
    folder: Path, tmp_path: Path, precision: Precision
) -> None:
    model = load_model(settings(model=str(folder)))
    before = architecture(model[0])._attn_implementation
    OnnxEncoder(settings(precision), tmp_path, model)
    assert operators(tmp_path).count("MultiHeadAttention") == 2
    assert "Softmax" not in operators(tmp_path)
    assert architecture(model[0])._attn_implementation == before != "pyrite_onnx"


@pytest.mark.parametrize("fault", ["wrong", "not exported", "not exchanged", "not loaded"])
def test_where_that_node_cannot_be_the_graph_is_plain(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    model = load_model(settings(model=str(folder)))
    if fault == "not loaded":
        vectors = onnx_graph._Traced.graph_vectors

        def fail(self: Any, path: Path) -> F32:
            if path.parent.name == "fused":
                raise ValueError("no such node")
            return vectors(self, path)

        monkeypatch.setattr(onnx_graph._Traced, "graph_vectors", fail)
    elif fault == "not exchanged":
        monkeypatch.setattr(type(model[0].auto_model), "_supports_attention_backend", False)
    else:
        node = onnx_attention._node()

        def symbolic(g: Any, q: Any, k: Any, v: Any, bias: Any, heads: int, scale: float) -> Any:
            if fault == "not exported":
                raise RuntimeError("no such operator")
            return node.symbolic(g, q, k, q, bias, heads, scale)

        broken = type("Broken", (node,), {"symbolic": staticmethod(symbolic)})
        monkeypatch.setattr(onnx_attention, "_node", lambda: broken)
    encoder = OnnxEncoder(settings(), tmp_path, model)
    assert operators(tmp_path).count("MultiHeadAttention") == 0
    assert operators(tmp_path).count("Softmax") == 2
    expected = SentenceTransformerEncoder(settings(), model).encode_documents(TEXTS)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected, atol=1e-4)
