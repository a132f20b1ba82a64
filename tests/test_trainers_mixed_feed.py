from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fakes import toy_dataset
from quick import quick
from safetensors.torch import load_file
from test_trainers_train import settings
from tiny_model import tiny_cross_encoder, tiny_model
from torch import Tensor
from training_bench import killed_after

from pyrite.core.dataset import open_dataset
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import SentenceTransformerEncoder
from pyrite.core.store import Manifest
from pyrite.miner.denoise_checks import TEACHER
from pyrite.miner.mine import mine
from pyrite.trainers import train as module
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.mixed_feed import MinedSet, make_mixed_feed, mine_sets
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import train_system

BATCH = 16
SLOW = pytest.mark.slow
CACHED = {"draw": "static", "mini_batch_size": 5, "gradient_accumulation": 2, "negatives": 2}
Weights = dict[str, Tensor]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's dataset of 60 pairs in `toy`, and another of the same ids in `other`."""
    folder = tmp_path_factory.mktemp("mixed")
    toy_dataset(folder / "toy")
    toy_dataset(folder / "other", documents=90, queries=60, seed=1)
    tiny_model(folder / "tiny", dropout=0.1)
    return folder


def two(home: Path, own: float = 1.0, other: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    return [{"weight": own}, {"weight": other, "dataset": {"path": str(home / "other")}, **more}]


def config_of(home: Path, runs: Path, datasets: list[dict[str, Any]], **train: Any) -> TrainConfig:
    fields = {"steps": 6, "save_every": 2, "learning_rate": 1e-3, **train}
    return settings(home, runs, train={**fields, "datasets": datasets})


@dataclass(frozen=True)
class Made:
    """A run's mined sets, and where its trained models go."""

    config: TrainConfig
    encoder: SentenceTransformerEncoder
    sets: list[MinedSet]

    @classmethod
    def of(cls, config: TrainConfig) -> Made:
        encoder = SentenceTransformerEncoder(config.encoder)
        return cls(config, encoder, mine_sets(config, mine(config, encoder), encoder))

    def train(self, system: str = "mined") -> Weights:
        own = mine(self.config, self.encoder)
        fingerprint = self.encoder.fingerprint
        folder = train_system(self.config, system, own, fingerprint, None, self.sets)
        weights: Weights = load_file(folder / "model" / "model.safetensors")
        return weights

    @property
    def key(self) -> str:
        folder = self.config.run_folder / "models" / "mined"
        manifest = Manifest.read(folder)
        assert manifest is not None
        assert manifest.intact(folder)
        return str(manifest.data["key"])


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, list[list[int]]]]:
    """Labels of every step's batch, as they reach the loss."""
    found: list[dict[str, list[list[int]]]] = []
    forward = ContrastiveLoss.forward

    def record(self: ContrastiveLoss, features: Any, labels: dict[str, Tensor]) -> Tensor:
        found.append({name: values.tolist() for name, values in labels.items()})
        return forward(self, features, labels)

    monkeypatch.setattr(ContrastiveLoss, "forward", record)
    return found


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"draw": "sample", "positives": "one", "batch_size": 8}, marks=SLOW),
        pytest.param(CACHED, marks=SLOW),
        {},
    ],
    ids=str,
)
def test_one_dataset_of_weight_1_trains_as_without(
    home: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    plain = Made.of(config_of(home, tmp_path / "plain", [], **options))
    alone = Made.of(config_of(home, tmp_path / "alone", [{"weight": 1.0}], **options))
    assert not plain.sets
    assert alone.sets[0].run.run_folder == alone.config.run_folder
    for system in ("in_batch", "mined"):
        assert same(alone.train(system), plain.train(system))
    assert plain.key != alone.key


def as_text(texts: list[str], prompt: str | None = None, **options: Any) -> dict[str, Any]:
    """Stands for the model's tokenizer: the texts themselves, after their prompt."""
    return {"texts": [f"{prompt or ''}{text}" for text in texts]}


def prompts_of(run: TrainConfig, columns: list[str]) -> dict[str, str]:
    prompt = run.encoder.query_prompt
    return {"query": prompt} if prompt else {}


@pytest.mark.parametrize("draw", ["static", "rotate", "sample"])
def test_a_batch_holds_texts_judgements_and_prompt_of_one_dataset(
    home: Path, tmp_path: Path, draw: str
) -> None:
    datasets = two(home, 1, 3, query_prompt="ask: ")
    made = Made.of(config_of(home, tmp_path, datasets, draw=draw, negatives=2))
    rows, feed = make_mixed_feed(made.config, made.sets, 2, "mined", prompts_of)
    opened = [open_dataset(one.run.dataset, one.run.cache) for one in made.sets]
    texts = [
        (data.queries.texts(slice(0, 999)), data.corpus.texts(slice(0, 999))) for data in opened
    ]
    collate = feed.collator(as_text, {})
    for epoch in range(2):
        feed.batches.set_epoch(epoch)
        parts = []
        for slots in feed.batches:
            batch = collate([feed.dataset[slot] for slot in slots])
            ids, numbers = batch["label"]["ids"].numpy(), batch["label"]["numbers"]
            part = rows.set_of(int(ids[0, 0]))
            parts.append(part)
            assert {rows.set_of(int(query)) for query in ids[:, 0]} == {part}
            queries = ids[:, 0] - rows.first_queries[part]
            assert (queries >= 0).all()
            prompt = "ask: " if part else ""
            wanted = [prompt + texts[part][0][query] for query in queries]
            assert batch["query_texts"] == wanted
            row_of_T = rows.sets[part].row_of_T
            for at, name in enumerate(feed.columns[1:], start=1):
                numbered = ids[:, at] - rows.first_texts[part]
                for text, number, missing in zip(
                    batch[f"{name}_texts"], numbered, ids[:, at] == -1, strict=True
                ):
                    assert missing == (not text)
                    # equal texts have one number, whatever their case
                    assert missing or text.lower() == texts[part][1][row_of_T[number]].lower()
            first = len(feed.parts[0].dataset) * part
            assert all(0 <= n - first < len(feed.parts[part].dataset) for n, _ in numbers.tolist())
            known = ids[:, 0] * rows.span + ids[:, 1]
            assert np.isin(known, rows.known).all()
        counts = [len(part.dataset) // BATCH for part in feed.parts]
        total = sum(counts)
        assert Counter(parts) == {0: round(total / 4), 1: total - round(total / 4)}


@pytest.mark.parametrize(
    ("options", "at"),
    [
        pytest.param({}, 5, marks=SLOW),
        pytest.param({"draw": "sample", "mini_batch_size": 5, "negatives": 2}, 5, marks=SLOW),
        pytest.param(
            {"gradient_accumulation": 2, "num_workers": 1, "batch_size": 8}, 7, marks=SLOW
        ),
        pytest.param({"loss": {"name": "gist"}, "distil_base": 0.5}, 5, marks=SLOW),
    ],
    ids=str,
)
def test_a_killed_training_ends_with_the_same_bytes(
    home: Path,
    tmp_path: Path,
    seen: list[dict[str, list[list[int]]]],
    options: dict[str, Any],
    at: int,
) -> None:
    datasets = two(home, 1, 2)
    whole = Made.of(config_of(home, tmp_path / "whole", datasets, **options))
    wanted, steps = whole.train(), list(seen)
    assert {len(step["ids"]) for step in steps} == {options.get("batch_size", BATCH)}
    killed = Made.of(config_of(home, tmp_path / "killed", datasets, **options))
    with killed_after(at):
        killed.train()
    assert list((killed.config.run_folder / "models/mined/checkpoints").glob("checkpoint-*"))
    seen.clear()
    assert same(killed.train(), wanted)
    assert 0 < len(seen) < len(steps)
    assert seen == steps[-len(seen) :]


def test_a_teacher_s_scores_are_those_of_the_batch_s_dataset(home: Path, tmp_path: Path) -> None:
    model = str(tiny_cross_encoder(tmp_path / "judge"))
    train = {"steps": 2, "loss": {"name": "margin_mse"}, "negatives": 2, "datasets": two(home)}
    filters = {"percent": None, "denoise": {"model": model, "max_length": 40}}
    made = Made.of(settings(home, tmp_path / "runs", train=train, filters=filters))
    rows, feed = make_mixed_feed(made.config, made.sets, 2, "mined", prompts_of)
    scored = [pq.read_table(one.mined.folder / TEACHER).to_pylist() for one in made.sets]
    wanted = [
        {(row["query_id"], row["doc_id"]): row["log_odds"] for row in table} for table in scored
    ]
    collate, compared = feed.collator(as_text, {}), [0, 0]
    for slots in feed.batches:
        label = collate([feed.dataset[slot] for slot in slots])["label"]
        numbers = label["numbers"][:, 0].numpy()
        part = rows.set_of(int(label["ids"][0, 0]))
        own, epoch_step = feed.parts[part], feed.batches.slots.read(np.array(slots))[2:]
        drawn = own.drawer.examples(numbers - len(feed.parts[0].dataset) * part, *epoch_step)
        docs = np.column_stack((drawn.positives_B, drawn.negatives_Bn))
        dataset = open_dataset(made.sets[part].run.dataset, made.config.cache)
        queries = dataset.queries.id_strings(label["ids"][:, 0].numpy() - rows.first_queries[part])
        for query, line, scores in zip(queries, docs, label["teacher"].tolist(), strict=True):
            for doc, score in zip(line.tolist(), scores, strict=True):
                name = dataset.corpus.id_strings([doc])[0] if doc >= 0 else ""
                found = wanted[part].get((query, name), np.nan)
                assert score == pytest.approx(found, nan_ok=True, abs=1e-6)
                compared[part] += not np.isnan(score)
    assert min(compared) > 50


def test_weights_prompts_and_what_was_mined_are_in_the_key(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(module, "fit", lambda *args, **options: given.append(args[5]))
    ways = {
        "same": two(home, 1, 2),
        "again": two(home, 1, 2),
        "weight": two(home, 1, 3),
        "prompt": two(home, 1, 2, query_prompt="ask: "),
        "sampler": two(home, 1, 2, sampler={"n": 4}),
        "order": two(home, 1, 2)[::-1],
    }
    keys = {}
    for name, datasets in ways.items():
        made = Made.of(config_of(home, tmp_path / name, datasets))
        own = mine(made.config, made.encoder)
        train_system(made.config, "mined", own, made.encoder.fingerprint, None, made.sets)
        keys[name] = given[-1]
    assert keys.pop("again") == keys["same"]
    assert len(set(keys.values())) == len(keys)


def test_a_set_of_other_negatives_of_the_same_texts_has_a_folder_of_its_own(
    home: Path, tmp_path: Path
) -> None:
    datasets: list[dict[str, Any]] = [{"weight": 2.0}, {"sampler": {"name": "random", "n": 2}}]
    made = Made.of(config_of(home, tmp_path, datasets))
    own, other = made.sets
    assert own.run.run_folder == made.config.run_folder
    assert other.run.run_folder == made.config.run_folder / "datasets" / "1"
    assert other.mined.folder != own.mined.folder
    assert other.run.sampler.total == 2


def test_a_dataset_that_gets_no_batch_is_an_error(home: Path, tmp_path: Path) -> None:
    made = Made.of(config_of(home, tmp_path, two(home, 1, 0.001)))
    with pytest.raises(PyriteError, match=r"train\.datasets\.1\.weight=0\.001 of 1\.001"):
        made.train()


@pytest.mark.parametrize(
    ("datasets", "train", "says"),
    [
        ([{}], {"draw": "replace"}, r"train\.draw=replace .* set train\.draw=rotate"),
        ([{}], {"batches": "ngame"}, r"train\.batches=ngame .* set train\.batches=random"),
        (
            [{}],
            {"loss": {"name": "cluster_ns"}},
            r"loss\.name=cluster_ns .* remove train\.datasets",
        ),
        ([{}, {"weight": 2}], {}, r"train\.datasets\.1 is the same as train\.datasets\.0"),
        ([{"weight": 0}], {}, r"train\.datasets\.0\.weight=0: input should be greater than 0"),
        ([{"sampler": {"n": 1}}], {"negatives": 3}, r"train\.datasets\.0: train\.negatives=3"),
        ([{"dataset": {"train_split": "test"}}], {}, r"train_split=test is held out"),
    ],
    ids=str,
)
def test_datasets_that_make_no_sense_are_refused(
    home: Path,
    tmp_path: Path,
    datasets: list[dict[str, Any]],
    train: dict[str, Any],
    says: str,
) -> None:
    for entry in datasets:
        if "dataset" in entry:
            entry["dataset"]["path"] = str(home / "toy")
    more: dict[str, Any] = {"sampler": {"n": 15}} if "draw" in train else {}
    with pytest.raises(PyriteError, match=says):
        settings(home, tmp_path, train={**train, "datasets": datasets}, **more)
