from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from tiny_model import tiny_model

from pyrite.core.adapters import ADAPTER, adapter_base
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.sbert import EncoderConfig, SentenceTransformerEncoder

TEXTS = ["w1 w2 w3", "w4", "w1 w7 w8 w9"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, an adapter by sentence-transformers, one by peft, and what they compute."""
    folder = tmp_path_factory.mktemp("adapters")
    tiny_model(folder / "tiny")
    model = SentenceTransformer(str(folder / "tiny" / "model"))
    model.add_adapter(LoraConfig(r=4, lora_alpha=3, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.eval()
    np.save(folder / "wanted.npy", model.encode(TEXTS, normalize_embeddings=True))
    model.save(str(folder / "whole"))
    model.transformers_model.save_pretrained(str(folder / "alone"))
    return folder


def encoder(folder: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(EncoderConfig(model=str(folder), max_length=32))


@pytest.mark.parametrize("name", ["whole", "alone"])
def test_an_adapter_computes_what_it_was_trained_to(home: Path, name: str) -> None:
    wanted = np.load(home / "wanted.npy")
    plain = encoder(home / "tiny" / "model").encode_queries(TEXTS)
    assert np.abs(wanted - plain).max() > 0.01, "the adapter must do something"
    assert encoder(home / name).encode_queries(TEXTS) == pytest.approx(wanted, abs=1e-5)


def test_the_adapter_is_part_of_the_fingerprint(home: Path, tmp_path: Path) -> None:
    base, alone = encoder(home / "tiny" / "model"), encoder(home / "alone")
    assert base.fingerprint != alone.fingerprint
    assert encoder(home / "alone").fingerprint == alone.fingerprint
    # the scale stands in the settings only, not in any weight of the adapter
    config = json.loads((home / "alone" / ADAPTER).read_text("utf-8"))
    for path in (home / "alone").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ADAPTER).write_text(json.dumps({**config, "lora_alpha": 8}), encoding="utf-8")
    assert encoder(tmp_path).fingerprint != alone.fingerprint


def test_the_base_is_named_by_the_adapter_alone(home: Path, tmp_path: Path) -> None:
    assert adapter_base(str(home / "alone")) == str(home / "tiny" / "model")
    assert adapter_base(str(home / "whole")) is None
    assert adapter_base(str(home / "tiny" / "model")) is None
    assert adapter_base("some/hub-id") is None
    (tmp_path / ADAPTER).write_text("{}", encoding="utf-8")
    with pytest.raises(PyriteError, match="names no base model; set base_model_name_or_path"):
        adapter_base(str(tmp_path))


def test_a_base_that_is_not_there_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / ADAPTER).write_text('{"base_model_name_or_path": "no/base"}', encoding="utf-8")
    with pytest.raises(PyriteError, match=r"its base model 'no/base' .*base_model_name_or_path"):
        encoder(tmp_path)


def test_without_peft_the_extra_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("whole", "alone"):
        with pytest.raises(MissingExtraError, match=r"peft.*pyrite\[lora\]"):
            adapter_base(str(home / name))
