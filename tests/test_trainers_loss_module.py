"""The loss as a sentence-transformers module: its trainer, its inputs, and what it refuses."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loss_cases import (
    GUIDE_SEED,
    TEXTS,
    Lookup,
    LossBatch,
    guide_of,
    known_of,
    loss_of,
    make,
    random_batch,
    random_table,
)
from loss_oracle import Oracle
from tiny_model import tiny_model

from pyrite.core.errors import PyriteError
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.loss_config import LossSection
from pyrite.trainers.masks import MISSING, BatchIds

PAIRS = 8


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny", dropout=0.0)


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
@pytest.mark.parametrize("chunk", [{}, {"mini_batch_size": 3}], ids=["whole", "cached"])
def test_it_trains_in_a_plain_sentence_transformers_trainer(
    model_folder: Path, tmp_path: Path, labelled: bool, chunk: dict[str, Any]
) -> None:
    import datasets
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    model = SentenceTransformer(str(model_folder), device="cpu")
    columns: dict[str, list[Any]] = {
        "query": [f"w{i} w{i + 10}" for i in range(PAIRS)],
        "positive": [f"w{i + 20} w{i + 30}" for i in range(PAIRS)],
        "negative": [f"w{(i + 1) % PAIRS + 20} w{i + 40}" for i in range(PAIRS)],
    }
    if labelled:
        columns["label"] = [[i, i, PAIRS + i] for i in range(PAIRS)]
    loss = ContrastiveLoss(model, **chunk)

    def mean_rank() -> float:
        queries = model.encode(columns["query"], normalize_embeddings=True)
        documents = model.encode(
            columns["positive"] + columns["negative"], normalize_embeddings=True
        )
        scores = queries @ documents.T
        own = np.diagonal(scores)[:, None]
        return float((scores > own).sum(axis=1).mean())

    before = mean_rank()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=25,
            per_device_train_batch_size=PAIRS,
            learning_rate=2e-3,
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_dict(columns),
        loss=loss,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.3 * losses[0]
    assert before > 2.0
    assert mean_rank() < 0.5


def test_without_labels_all_texts_are_different() -> None:
    batch = LossBatch([[0, 1, 2], [1, 3, 4], [2, 5, 6]])
    section, model = LossSection(directions=("q2d", "d2q", "q2q", "d2d")), Lookup()
    found = ContrastiveLoss(model, section)(batch.features())
    assert found.item() == loss_of(model, batch, section).item()


def test_labels_may_be_the_numbers_alone_and_of_any_width() -> None:
    batch = random_batch(3, rows=5, negatives=2)
    plain = LossBatch(batch.rows, batch.known)
    model = Lookup()
    loss = make(model, LossSection(), batch.known)
    wanted = loss_of(model, plain, LossSection()).item()
    for dtype in (torch.int64, torch.int32, torch.int8):
        ids = torch.tensor(batch.rows, dtype=dtype)
        assert loss(batch.features(), ids).item() == wanted
        assert loss(batch.features(), {"ids": ids, "doubt": None}).item() == wanted


def test_narrow_numbers_do_not_overflow() -> None:
    # query * span is 2**31 + .., beyond what the labels' type can hold
    span, query = 2**20, 2**11 + 1
    known = {(query, 1), (query, 2), (3, 4)}
    ids = torch.tensor([[query, 1], [3, 2]], dtype=torch.int32)
    loss = ContrastiveLoss(Lookup(), known=known_of(known, span))
    model_rows = [{"row": torch.tensor([TEXTS, TEXTS + 1])}, {"row": torch.tensor([1, 2])}]
    value = loss(model_rows, ids)
    assert value.item() == loss(model_rows, ids.long()).item()
    # text 2 answers the first query: only the second row has a negative
    alone = Oracle(
        loss.model.table.detach().double(), LossBatch([[1, 2], [0, 1]], {(0, 2)}), loss.config
    )
    assert value.item() == pytest.approx(alone.value().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (torch.zeros(2), r"float32 \[2\]; expected whole numbers \[2, 3\]"),
        (torch.zeros(2, 2, dtype=torch.int64), r"int64 \[2, 2\]; expected whole numbers \[2, 3\]"),
        (torch.zeros(2, 3), r"float32 \[2, 3\]; expected whole"),
        (torch.zeros(2, 3, dtype=torch.bool), r"bool \[2, 3\]"),
        (
            {"ids": torch.zeros(3, 3, dtype=torch.int64)},
            r"\[3, 3\]; expected whole numbers \[2, 3\]",
        ),
        ({"doubt": torch.zeros(2, 2)}, r"labels\['doubt'\].*\[2, 2\]; expected \[2, 1\].*negative"),
        ({"teacher": torch.zeros(2, 3)}, r"labels\['teacher'\].*expected \[2, 2\].*each document"),
        ({"doubt": torch.tensor([[0.0], [1.5]])}, r"P\(false negative\).*1\.5, expected 0\.\.1"),
    ],
)
def test_labels_of_another_shape_are_refused(labels: Any, says: str) -> None:
    batch = LossBatch([[0, 1, 2], [1, 3, 4]])
    with pytest.raises(PyriteError, match=says):
        ContrastiveLoss(Lookup())(batch.features(), labels)


@pytest.mark.parametrize("name", ["gist", "dclr", "soft_info_nce"])
def test_a_guide_is_asked_for(name: str) -> None:
    with pytest.raises(PyriteError, match=f"name={name} needs a guide"):
        ContrastiveLoss(Lookup(), LossSection(name=name))


def test_clusters_are_asked_for() -> None:
    with pytest.raises(PyriteError, match="cluster_ns needs the clusters"):
        ContrastiveLoss(Lookup(), LossSection(name="cluster_ns"))


def test_bm25_over_several_devices_is_refused() -> None:
    section = LossSection(name="soft_info_nce", source="bm25_queries")
    with pytest.raises(PyriteError, match="bm25_queries sees one device's texts"):
        ContrastiveLoss(Lookup(), section, gather_across_devices=True)


@pytest.mark.parametrize("name", ["gist", "cluster_ns"])
def test_what_is_looked_up_by_number_needs_the_numbers(name: str) -> None:
    batch = LossBatch([[0, 1, 2], [1, 3, 4]])
    loss = make(Lookup(), LossSection(name=name), set())
    for labels in (None, {"doubt": torch.zeros(2, 1)}):
        with pytest.raises(PyriteError, match=f"name={name} looks texts up by number"):
            loss(batch.features(), labels)


def test_the_guide_s_vectors_are_looked_up_by_number() -> None:
    ids = BatchIds.of(torch.tensor([[4, 1, MISSING], [0, 3, 2]]))
    found = guide_of(random_table(GUIDE_SEED)).vectors(ids)
    unit = torch.nn.functional.normalize(random_table(GUIDE_SEED), dim=1)
    assert torch.allclose(found.queries_GD, unit[[TEXTS + 4, TEXTS]])
    assert torch.allclose(found.docs_MD[[0, 1, 3]], unit[[1, 3, 2]])
    assert (found.docs_MD[2] == 0).all()
    assert not found.docs_MD.requires_grad


class Words:
    """A tokenizer's only part that the loss looks at."""

    all_special_ids = (0, 1)


class Spoken(Lookup):
    tokenizer = Words()


def bm25(query: list[int], documents: list[list[int]]) -> list[float]:
    """Okapi's formula with k1 1.2, k2 100 and b 0.75, term by term."""
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        total = 0.0
        for term in set(query):
            having = sum(term in other for other in documents)
            asked, said = query.count(term), document.count(term)
            relative = 1.2 * (0.25 + 0.75 * len(document) / average)
            idf = math.log((len(documents) - having + 0.5) / (having + 0.5))
            total += idf * 2.2 * said / (said + relative) * 101 * asked / (asked + 100)
        scores.append(total)
    return scores


@pytest.mark.parametrize("source", ["bm25_queries", "bm25_documents"])
@pytest.mark.parametrize("chunk", [{}, {"mini_batch_size": 3}], ids=["whole", "cached"])
def test_bm25_eases_negatives_that_share_words(source: str, chunk: dict[str, Any]) -> None:
    batch = LossBatch([[0, 1, 5], [1, 2, 6], [2, 3, 7], [3, 4, 8]])
    draw = random.Random(3)
    words = [[[draw.randint(2, 12) for _ in range(at + 2)] for at in range(4)] for _ in range(3)]
    features = batch.features()
    for column, texts in zip(features, words, strict=True):
        # special tokens 0 and 1 around, padding of an ordinary token behind
        rows = [[0, *text, 1] + [9] * (4 - at) for at, text in enumerate(texts)]
        column["input_ids"] = torch.tensor(rows)
        mask = [[1] * (len(text) + 2) + [0] * (4 - at) for at, text in enumerate(texts)]
        column["attention_mask"] = torch.tensor(mask)
    config: dict[str, Any] = {
        "name": "soft_info_nce",
        "source": source,
        "alpha": 0.6,
        "beta": 1.4,
        "spread": 2.0,
    }
    model = Spoken()
    section = LossSection(**config, temperature=1.0)
    found = make(model, section, batch.known, **chunk)(features, batch.labels()).item()

    unit = torch.nn.functional.normalize(model.table.detach().double(), dim=1)
    documents = [*words[1], *words[2]]
    total, weights = 0.0, []
    for row in range(4):
        logits = [float(unit[TEXTS + row] @ unit[text]) for text in batch.docs]
        others = [at for at in range(8) if at != row]
        if source == "bm25_queries":
            others, estimates = others[:3], bm25(words[0][row], words[0])
        else:
            estimates = bm25(words[0][row], documents)
        mass = sum(math.exp(estimates[at] / 2.0) for at in others)
        scale = 1.4 - 0.6 / len(others)
        weight = dict.fromkeys(range(8), 1.0)
        for at in others:
            weight[at] = max((1.4 - 0.6 * math.exp(estimates[at] / 2.0) / mass) / scale, 0.1)
        weights += [weight[at] for at in others]
        rest = sum(weight[at] * math.exp(logits[at]) for at in range(8) if at != row)
        total += math.log1p(rest / math.exp(logits[row]))
    assert max(weights) - min(weights) > 0.1
    assert found == pytest.approx(total / 4, rel=1e-5)


def test_all_documents_are_embedded_in_one_pass_with_the_loss_of_several(
    model_folder: Path,
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.losses.merged_forward import column_merging_disabled

    model = SentenceTransformer(str(model_folder), device="cpu")
    texts = (["w1 w2", "w3"], ["w4 w5 w6", "w7"], ["w8", "w9 w10"], ["w11 w12", "w13"])
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0]["input_ids"])))
    loss = ContrastiveLoss(model)
    together = loss([model.preprocess(column) for column in texts])
    assert sizes == [2, 6]
    with column_merging_disabled():
        apart = loss([model.preprocess(column) for column in texts])
    assert sizes == [2, 6, 2, 2, 2, 2]
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)
