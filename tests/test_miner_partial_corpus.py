from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from fakes import BagOfWords

from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.embeddings import Embeddings, embed, encode_in_memory
from pyrite.core.errors import PyriteError
from pyrite.core.store import MANIFEST
from pyrite.core.tables import TextTable
from pyrite.miner.partial_config import PartialSection
from pyrite.miner.partial_corpus import partial_corpus

TOKENS = 256
PARTIAL = PartialSection(kind="choose", share=0.4, depth=5)


class Drifted(BagOfWords):
    """A later model: each vector a little off that of the first."""

    def __init__(self, off: float = 0.05) -> None:
        super().__init__(salt="")
        self.off = off

    @property
    def fingerprint(self) -> str:
        return f"drifted-{self.off}"

    def _vector(self, text: str) -> np.ndarray:
        vector = super()._vector(text)
        return np.asarray(vector + self.off * np.roll(vector, 1) * np.abs(vector), dtype=np.float32)


@pytest.fixture
def texts(toy: Path, tmp_path: Path) -> tuple[TextTable, TextTable]:
    dataset = open_dataset(DatasetConfig(path=str(toy)), tmp_path / "cache")
    return dataset.corpus, dataset.queries


def refreshed(
    texts: tuple[TextTable, TextTable],
    cache: Path,
    config: PartialSection,
    encoder: BagOfWords,
    stale: Embeddings | None = None,
) -> tuple[np.ndarray, object]:
    corpus, queries = texts
    stale = stale or embed(BagOfWords(), corpus, "document", cache, TOKENS)
    asked = encode_in_memory(Drifted(), queries, "query", TOKENS).take(np.arange(len(queries)))
    found, report = partial_corpus(config, encoder, corpus, stale, asked, cache, TOKENS)
    return found.take(np.arange(len(corpus))), report


def test_a_part_is_encoded_and_kept(texts: tuple[TextTable, TextTable], tmp_path: Path) -> None:
    encoder = Drifted()
    first, report = refreshed(texts, tmp_path, PARTIAL, encoder)
    assert encoder.encoded == round(0.4 * len(texts[0])) == report.encoded  # type: ignore[attr-defined]
    again = Drifted()
    second, same = refreshed(texts, tmp_path, PARTIAL, again)
    assert again.encoded == 0
    assert same == report
    np.testing.assert_array_equal(first, second)


def test_partial_vectors_can_be_the_stale_ones_of_the_next(
    texts: tuple[TextTable, TextTable], tmp_path: Path
) -> None:
    corpus, queries = texts
    stale = embed(BagOfWords(), corpus, "document", tmp_path, TOKENS)
    asked = encode_in_memory(Drifted(), queries, "query", TOKENS).take(np.arange(len(queries)))
    arguments = (corpus, stale, asked, tmp_path, TOKENS)
    first, _ = partial_corpus(PARTIAL, Drifted(), *arguments)
    second, report = partial_corpus(PARTIAL, Drifted(0.1), corpus, first, *arguments[2:])
    assert report is not None
    assert second.identity != first.identity
    assert not first.identity == ""


def test_a_damaged_store_is_made_again(texts: tuple[TextTable, TextTable], tmp_path: Path) -> None:
    first, _ = refreshed(texts, tmp_path, PARTIAL, Drifted())
    (path,) = (tmp_path / "embeddings").glob("*/vectors.npy")
    path.write_bytes(path.read_bytes()[:-8])
    second, _ = refreshed(texts, tmp_path, PARTIAL, Drifted())
    np.testing.assert_array_equal(first, second)
    assert (path.parent / MANIFEST).is_file()


def test_a_missed_overlap_encodes_everything_and_says_so(
    texts: tuple[TextTable, TextTable], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = PartialSection(kind="queries", share=0.4, depth=5, min_overlap=1.0)
    encoder = Drifted(2.0)
    with caplog.at_level(logging.WARNING):
        found, report = refreshed(texts, tmp_path, config, encoder)
    full = embed(Drifted(2.0), texts[0], "document", tmp_path / "other", TOKENS)
    np.testing.assert_allclose(found, full.take(np.arange(len(texts[0]))), atol=1e-6)
    assert report.full  # type: ignore[attr-defined]
    assert "refresh.partial.min_overlap=1.0" in caplog.text
    # what the sample had is not encoded again
    assert encoder.encoded == len(texts[0])


@pytest.mark.parametrize("kind", ["off", "first"])
def test_without_stale_vectors_everything_is_encoded(
    texts: tuple[TextTable, TextTable], tmp_path: Path, kind: str
) -> None:
    corpus, _ = texts
    stale = embed(BagOfWords(), corpus, "document", tmp_path, TOKENS) if kind == "off" else None
    config = PartialSection() if kind == "off" else PARTIAL
    queries = np.ones((1, 16), dtype=np.float32)
    encoder = Drifted()
    found, report = partial_corpus(config, encoder, corpus, stale, queries, tmp_path, TOKENS)
    assert report is None
    assert encoder.encoded == len(corpus) == len(found)


def test_vectors_of_other_texts_are_refused(
    texts: tuple[TextTable, TextTable], tmp_path: Path
) -> None:
    other = Embeddings.from_array(np.ones((3, 16), dtype=np.float32))
    with pytest.raises(PyriteError, match=r"refresh\.partial\.kind=off"):
        refreshed(texts, tmp_path, PARTIAL, Drifted(), other)
