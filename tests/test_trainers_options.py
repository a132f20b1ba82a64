from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from quick import quick
from tiny_model import HIDDEN
from training_bench import (
    BATCH,
    LORA,
    STOPPING,
    Bench,
    Weights,
    facts_of,
    killed_after,
    make_bench,
    same,
)

from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.sbert import load_model
from pyrite.trainers.arguments import check_model, check_training
from pyrite.trainers.interpolate import copy_weights
from pyrite.trainers.train_config import TrainSection

CHECKPOINT = "torch.utils.checkpoint._checkpoint_without_reentrant_generator"


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def plain(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return bench.train(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "cosine"},
        {"schedule": "constant_with_warmup"},
        {"warmup": 3},
        {"weight_decay": 0.5},
        {"max_grad_norm": 0.01},
        {"gradient_accumulation": 2},
        {"matryoshka_dims": (HIDDEN, 8)},
        {"distil_base": 1.0},
        {"base_weight": 0.5},
        {"lora": LORA},
    ],
    ids=str,
)
def test_an_option_reaches_the_training(
    bench: Bench, plain: Weights, tmp_path: Path, change: dict[str, Any]
) -> None:
    found = bench.train(tmp_path, **change)
    assert found.keys() == plain.keys()
    assert not same(found, plain)


@pytest.mark.parametrize(
    ("change", "used"),
    [
        (
            {"gradient_checkpointing": True},
            CHECKPOINT,
        ),
        ({"num_workers": 1}, "torch.utils.data.dataloader._MultiProcessingDataLoaderIter.__init__"),
    ],
    ids=str,
)
def test_what_saves_memory_or_time_changes_no_weight(
    bench: Bench, plain: Weights, tmp_path: Path, change: dict[str, Any], used: str
) -> None:
    with called(used) as calls:
        found = bench.train(tmp_path, **change)
    assert calls
    assert all(torch.allclose(found[name], plain[name], atol=1e-6) for name in plain)


@contextlib.contextmanager
def called(name: str) -> Iterator[list[str]]:
    """The calls of a function, which is carried out all the same."""
    calls: list[str] = []
    owner, _, attribute = name.rpartition(".")
    original = getattr(pkgutil.resolve_name(owner), attribute)

    def count(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return original(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name, count)
        yield calls


@pytest.mark.parametrize(
    ("change", "at"),
    [
        pytest.param({"lora": LORA}, 3, marks=pytest.mark.slow),
        pytest.param({"gradient_accumulation": 2}, 5, marks=pytest.mark.slow),
        pytest.param(
            {"matryoshka_dims": (HIDDEN, 8), "mini_batch_size": 8}, 3, marks=pytest.mark.slow
        ),
        pytest.param({"distil_base": 1.0, "base_weight": 0.3}, 3, marks=pytest.mark.slow),
        pytest.param({"early_stopping": STOPPING}, 3, marks=pytest.mark.slow),
        ({"early_stopping": STOPPING, "lora": LORA, "base_weight": 0.3}, 5),
    ],
    ids=str,
)
def test_a_killed_training_ends_with_the_same_bytes(
    bench: Bench, tmp_path: Path, change: dict[str, Any], at: int
) -> None:
    wanted = bench.train(tmp_path / "whole", **change)
    with killed_after(at):
        bench.train(tmp_path / "killed", **change)
    assert list((tmp_path / "killed" / "checkpoints").glob("checkpoint-*"))
    assert same(bench.train(tmp_path / "killed", **change), wanted)
    found, whole = facts_of(tmp_path / "killed"), facts_of(tmp_path / "whole")
    assert found["files"] == whole["files"]
    assert found.get("best_step") == whole.get("best_step")


def test_lora_trains_only_adapters_and_is_merged(bench: Bench, tmp_path: Path) -> None:
    base = bench.untrained()
    lora = {"r": 2, "target_modules": ("query",)}
    found = bench.train(tmp_path, lora=lora)
    changed = {name for name in base if not torch.equal(found[name], base[name])}
    assert changed == {name for name in base if name.endswith("self.query.weight")}
    update = next(found[name] - base[name] for name in sorted(changed))
    assert torch.linalg.matrix_rank(update, rtol=1e-3) == 2
    saved = load_model(bench.run.encoder.model_copy(update={"model": str(tmp_path / "model")}))
    assert same(copy_weights(saved), found)


def test_a_layer_that_lora_cannot_find_is_an_error(bench: Bench) -> None:
    config = bench.config(lora={"r": 2, "target_modules": ("self.query", "nope")})
    with pytest.raises(PyriteError, match=r"target_modules=.*named nope; .* key, query, value"):
        check_model(load_model(config.encoder), config.train)


def test_matryoshka_dims_are_checked_against_the_model(bench: Bench) -> None:
    config = bench.config(matryoshka_dims=(8, 64))
    with pytest.raises(PyriteError, match=rf"matryoshka_dims=\[8, 64\].*at most {HIDDEN}"):
        check_model(load_model(config.encoder), config.train)


def test_tensorboard_gets_the_log_and_keeps_it(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    bench.train(
        tmp_path, report_to=("tensorboard",), logging_steps=2, early_stopping=STOPPING, steps=4
    )
    found = EventAccumulator(str(tmp_path / "logs"))
    found.Reload()
    assert [event.step for event in found.Scalars("train/loss")] == [2, 4]
    assert [event.step for event in found.Scalars("eval/dev_ndcg@10")] == [2, 4]
    assert all(name.startswith("model/") for name in facts_of(tmp_path)["files"])


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for section, extra in (
        (TrainSection(report_to=("wandb",)), "wandb"),
        (TrainSection(report_to=("tensorboard",)), "tensorboard"),
        (TrainSection(lora={"r": 2}), "lora"),
    ):
        with pytest.raises(MissingExtraError, match=rf"pyrite\[{extra}\]"):
            check_training(section, "cpu")


def test_the_cost_of_a_step_is_printed(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="pyrite"):
        bench.train(tmp_path, steps=1, gradient_accumulation=3)
    sizes = [values.numel() for values in load_model(bench.run.encoder).parameters()]
    assert f"{BATCH} pairs ({BATCH} on each of 1 processes) x 3 accumulated = 48 pairs" in (
        caplog.text
    )
    assert f"{sum(sizes):,} of {sum(sizes):,} parameters are trained" in caplog.text
    assert f"take {16 * sum(sizes) / 2**20:.0f} MiB" in caplog.text
    assert f"{4 * BATCH} texts of at most 32 tokens" in caplog.text
