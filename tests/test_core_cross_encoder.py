from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import SharedWords
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import tiny_cross_encoder, tiny_model

from pyrite.core.cross_encoder import (
    CrossEncoderConfig,
    CrossEncoderScorer,
    activated,
    resolve_activation,
    score_pairs,
)
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError

QUERIES = ["w1 w2", "w3", "w1 w2 w3 w4 w5", "w7 w8"]
DOCUMENTS = ["w1", "w3 w4 w5 w6 w7 w8 w9", "w2", "w30 " * 100]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("cross")
    for labels in (1, 2, 3):
        tiny_cross_encoder(home / str(labels), labels)
    tiny_model(home / "plain")
    return home


def model(folder: Path, labels: int = 1) -> str:
    return str(folder / str(labels) / "cross-encoder")


def scorer(folder: Path, labels: int = 1, max_length: int = 32) -> CrossEncoderScorer:
    config = CrossEncoderConfig(max_length=max_length)
    return CrossEncoderScorer(model(folder, labels), config, "filters.denoise")


def logits(found: CrossEncoderScorer, query: str, document: str) -> list[float]:
    """One pair through the transformer itself, without sentence-transformers."""
    inputs = found.model.tokenizer(
        query, document, truncation=True, max_length=found.config.max_length, return_tensors="pt"
    )
    with torch.inference_mode():
        values: list[float] = found.model[0].auto_model.eval()(**inputs).logits[0].tolist()
    return values


def test_pairs_over_the_limit_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = scorer(folder)
    # [CLS] w1 w2 [SEP] ... [SEP]: 27 words of the document fill the 32 tokens
    lengths = (26, 27, 28, 200)
    documents = [" ".join(["w3"] * length) for length in lengths]
    asked = ["w1 w2"] * len(lengths)
    assert [found.cut_pairs([q], [d]) for q, d in zip(asked, documents, strict=True)] == [
        0,
        0,
        1,
        1,
    ]
    assert found.cut_pairs(asked, documents) == 2
    assert found.lengths(asked, documents).tolist() == [31, 32, 32, 32]
    assert caplog.text == ""


def test_counting_leaves_the_padding_of_a_batch_alone(folder: Path) -> None:
    found = scorer(folder)
    own = found.model.tokenizer.backend_tokenizer
    found.log_odds(QUERIES, DOCUMENTS)
    before = own.padding, own.truncation
    assert before[0] is not None
    assert before[1] is not None
    found.lengths(QUERIES, DOCUMENTS)
    found.cut_pairs(QUERIES, DOCUMENTS)
    # another thread may be between setting them and reading its batch
    assert (own.padding, own.truncation) == before


def test_one_label_is_its_logit_and_two_are_their_difference(folder: Path) -> None:
    for labels in (1, 2):
        found = scorer(folder, labels)
        assert found.labels == labels
        scores = score_pairs(found, QUERIES, DOCUMENTS, 64)
        for score, query, document in zip(scores, QUERIES, DOCUMENTS, strict=True):
            values = logits(found, query, document)
            expected = values[0] if labels == 1 else values[1] - values[0]
            assert score == pytest.approx(expected, abs=1e-5)
            exact = activated(np.array([score], dtype=np.float32), "sigmoid")[0]
            if labels == 2:
                assert exact == pytest.approx(torch.tensor(values).softmax(0)[1].item(), abs=1e-5)
        assert np.unique(scores.round(4)).size == len(QUERIES)


@given(st.permutations(range(4)), st.integers(8, 200))
def test_order_and_batches_change_no_pair_s_score(order: list[int], max_tokens: int) -> None:
    fake = SharedWords()
    expected = [fake.score(q, d) for q, d in zip(QUERIES, DOCUMENTS, strict=True)]
    queries, documents = [QUERIES[i] for i in order], [DOCUMENTS[i] for i in order]
    sizes: list[int] = []
    found = score_pairs(fake, queries, documents, max_tokens, sizes.append)
    assert found.tolist() == [np.float32(expected[i]) for i in order]
    assert sum(sizes) == 4
    longest = sorted((len(q.split()) + len(d.split()) for q, d in fake.scored[-4:]), reverse=True)
    assert [len(q.split()) + len(d.split()) for q, d in fake.scored[-4:]] == longest


def test_no_pairs_have_no_scores() -> None:
    assert score_pairs(SharedWords(), [], [], 64).shape == (0,)


def test_a_score_that_is_not_finite_names_the_pair() -> None:
    class Broken(SharedWords):
        def log_odds(self, queries: object, documents: object) -> F32:
            return np.array([np.nan], dtype=np.float32)

    with pytest.raises(PyriteError, match=r"'w1 w2'.*'w9'.*not finite.*dtype"):
        score_pairs(Broken(), ["w1 w2"], ["w9"], 64)


def test_lengths_are_those_of_the_truncated_pair(folder: Path) -> None:
    found = scorer(folder)
    assert found.lengths(QUERIES, DOCUMENTS).tolist() == [6, 11, 9, 32]


def test_the_fingerprint_is_content(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model(folder), tmp_path / "copy")
    first = scorer(folder).fingerprint
    config = CrossEncoderConfig(max_length=32)
    assert CrossEncoderScorer(str(tmp_path / "copy"), config, "x").fingerprint == first
    assert scorer(folder, 2).fingerprint != first
    assert scorer(folder, max_length=31).fingerprint != first


def test_activations() -> None:
    values = np.array([-1000.0, -2.0, 0.0, 2.0, 1000.0, np.nan], dtype=np.float32)
    found = activated(values, "sigmoid")
    expected = [0.0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1.0]
    assert found[:5].tolist() == pytest.approx(expected, abs=1e-7)
    assert np.isnan(found[5])
    assert found.dtype == np.float32
    assert activated(values, "none") is values


@pytest.mark.parametrize(("labels", "name"), [(1, "sigmoid"), (2, "softmax")])
def test_auto_is_what_fits_the_head(labels: int, name: str) -> None:
    assert resolve_activation("auto", labels, "x") == name
    assert resolve_activation("none", labels, "x") == "none"
    other = "softmax" if labels == 1 else "sigmoid"
    with pytest.raises(PyriteError, match=rf"x\.activation={other}.*takes {name}.*auto"):
        resolve_activation(other, labels, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "TMP/nowhere"}, ["filters.denoise.model='", "nowhere", "set filters.denoise"]),
        ({"model": "a/b/c"}, ["filters.denoise.model='a/b/c'", "not loadable"]),
        ({"model": "TMP/3/cross-encoder"}, ["3 labels", "1 or 2", "filters.denoise.model"]),
        ({"model": "TMP/plain/model"}, ["BertModel has no head", "train.kind=cross-encoder"]),
        ({"max_length": 65}, ["filters.denoise.max_length=65", "64 positions", "at most 64"]),
        ({"device": "gpu"}, ["filters.denoise.device='gpu'", "set filters.denoise.device=cpu"]),
    ],
)
def test_a_model_that_cannot_score_is_one_sentence(
    folder: Path, changes: dict[str, Any], says: list[str]
) -> None:
    name = str(changes.pop("model", model(folder))).replace("TMP", str(folder))
    config = CrossEncoderConfig(**{"max_length": 32, **changes})
    with pytest.raises(PyriteError) as caught:
        CrossEncoderScorer(name, config, "filters.denoise")
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
