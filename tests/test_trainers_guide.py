from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import toy_dataset
from loss_cases import GUIDE_SEED, TEXTS, Lookup, LossBatch, guide_of, loss_of, random_table
from test_trainers_train import settings
from tiny_model import tiny_model

from pyrite.core.errors import PyriteError
from pyrite.core.sbert import SentenceTransformerEncoder
from pyrite.miner.mine import mine
from pyrite.trainers import train as module
from pyrite.trainers.guide import Guide
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.loss_config import LossSection
from pyrite.trainers.masks import MISSING, BatchIds
from pyrite.trainers.train import train_system


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    toy_dataset(folder / "toy")
    tiny_model(folder / "tiny")
    return folder


def test_products_leave_the_guide_s_vectors_as_long_as_they_are() -> None:
    table = random_table(GUIDE_SEED) * torch.arange(1, 1 + len(random_table(GUIDE_SEED)))[:, None]
    cosines = guide_of(table)
    ids = BatchIds.of(torch.tensor([[4, 1, MISSING], [0, 3, 2]]))
    found = replace(cosines, similarity="dot").vectors(ids)
    rows = torch.arange(2)
    for at, query in enumerate((4, 0)):
        for column, text in enumerate((1, 3, MISSING, 2)):
            product = cosine = 0.0
            if text != MISSING:
                product = sum(a * b for a, b in zip(table[TEXTS + query], table[text], strict=True))
                cosine = product / (table[TEXTS + query].norm() * table[text].norm())
            assert found.products("q2d", rows)[at, column] == pytest.approx(
                float(product), rel=1e-5
            )
            unit = cosines.vectors(ids).products("q2d", rows)
            assert unit[at, column] == pytest.approx(float(cosine), abs=1e-6)


def test_a_long_text_is_masked_by_products_and_not_by_cosines() -> None:
    # of queries (1, 0) and (0, 1) with positives like them, text 2 is (3, 4): its cosines .6 and
    # .8 are below the positives' 1, its products 3 and 4 above
    table = torch.zeros_like(random_table(GUIDE_SEED))[:, :2] + 0.5
    for row, vector in {1: (1, 0), 3: (0, 1), 2: (3, 4), 4: (-1, -1)}.items():
        table[row] = torch.tensor(vector)
    table[TEXTS], table[TEXTS + 1] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    guide, model = guide_of(table), Lookup()
    rows, own = [[0, 1, 2], [1, 3, 4]], {(0, 1), (1, 3)}
    plain = loss_of(model, LossBatch(rows, own), LossSection())
    masked = loss_of(model, LossBatch(rows, own | {(0, 2), (1, 2)}), LossSection())
    assert abs(plain - masked) > 1e-3
    for of, wanted in ((guide, plain), (replace(guide, similarity="dot"), masked)):
        config = LossSection(name="gist", guide_similarity=of.similarity)
        found = loss_of(model, LossBatch(rows, own), config, guide=of)
        assert found.item() == pytest.approx(wanted.item(), abs=1e-6)


class Caught:
    """What each training was given in the place of `fit`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        self.facts: list[Any] = []
        self.losses: list[torch.nn.Module] = []
        patch.setattr(module, "fit", self.fit)

    def fit(self, *args: Any, **options: Any) -> None:
        self.losses.append(args[1])
        self.keys.append(args[5])
        self.facts.append(options["facts"])


def test_the_guide_s_weights_are_in_the_key_and_in_the_manifest(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = Caught(monkeypatch)
    found: list[str] = []
    for seed in (1, 1, 2):
        # another model in the same place
        guide = {"model": str(tiny_model(tmp_path / f"seed-{len(found)}", seed=seed))}
        link = tmp_path / "guide"
        link.unlink(missing_ok=True)
        link.symlink_to(guide["model"])
        section = {"loss": {"name": "gist"}, "guide": {"model": str(link), "max_length": 32}}
        config = settings(home, tmp_path / "runs", train=section)
        encoder = SentenceTransformerEncoder(config.encoder)
        train_system(config, "mined", mine(config, encoder), encoder.fingerprint)
        assert config.train.guide is not None
        found.append(SentenceTransformerEncoder(config.train.guide).fingerprint)
    assert caught.keys[0] == caught.keys[1] != caught.keys[2]
    assert found[0] == found[1] != found[2]
    assert [facts["guide"] for facts in caught.facts] == [
        {"model": str(tmp_path / "guide"), "fingerprint": fingerprint} for fingerprint in found
    ]


def test_the_configured_similarity_reaches_the_guide(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = Caught(monkeypatch)
    for similarity in ("cos", "dot"):
        section = {"loss": {"name": "gist", "guide_similarity": similarity}}
        config = settings(home, tmp_path / similarity, train=section, encoder={"normalize": False})
        encoder = SentenceTransformerEncoder(config.encoder)
        train_system(config, "mined", mine(config, encoder), encoder.fingerprint)
        loss = caught.losses[-1]
        assert isinstance(loss, ContrastiveLoss)
        assert isinstance(loss.guide, Guide)
        assert loss.guide.similarity == similarity
        # without a guide of its own the run's encoder is one
        assert caught.facts[-1]["guide"]["fingerprint"] == encoder.fingerprint


def test_products_of_unit_vectors_are_refused(home: Path, tmp_path: Path) -> None:
    loss = {"name": "gist", "guide_similarity": "dot"}
    with pytest.raises(PyriteError, match=r"set encoder\.normalize=false"):
        settings(home, tmp_path, train={"loss": loss})
    with pytest.raises(PyriteError, match=r"set train\.guide\.normalize=false"):
        settings(home, tmp_path, train={"loss": loss, "guide": {}}, encoder={"normalize": False})
    settings(home, tmp_path, train={"loss": loss, "guide": {"normalize": False}})
