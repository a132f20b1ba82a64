from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pyrite.trainers.train_config import TrainSection

# a value other than the default of every key of the section
OTHER: dict[str, Any] = {
    "positives": "one",
    "draw": "sample",
    "replace": {"every": 7},
    "batches": "ngame",
    "ngame": {"double_at": [3]},
    "steps": 7,
    "epochs": 2.0,
    "batch_size": 8,
    "negatives": 2,
    "learning_rate": 1e-3,
    "warmup": 0.5,
    "dropout": 0.1,
    "bf16": True,
    "save_every": 7,
    "kind": "cross-encoder",
    "datasets": [{"weight": 2.0}],
    "neg_topk": 20,
    "schedule": "cosine",
    "gradient_accumulation": 2,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "mini_batch_size": 4,
    "mini_batch_tokens": 64,
    "loss": {"name": "lambda_rank", "cut": 10},
    "doubt": "cross-encoder",
    "guide": {"model": "somewhere"},
    "matryoshka_dims": [8],
    "distil_base": 0.5,
    "base_weight": 0.5,
    "lora": {"r": 4},
    "early_stopping": {"split": "dev"},
    "fp16": True,
    "gradient_checkpointing": True,
    "num_workers": 1,
    "logging_steps": 3,
    "report_to": ["tensorboard"],
    "push_to_hub": "owner/name",
}
# what comes before another key makes sense
WITH: dict[str, dict[str, Any]] = {
    "replace": {"draw": "replace"},
    "ngame": {"batches": "ngame"},
    "guide": {"loss": {"name": "gist"}},
}
# these reach `fit`, as in the training of an encoder
QUERY_SIDE_HONOURS = {
    *("steps", "epochs", "batch_size", "learning_rate", "warmup", "dropout", "bf16", "save_every"),
    *("kind", "neg_topk", "schedule", "gradient_accumulation", "weight_decay", "max_grad_norm"),
    *("loss", "base_weight", "lora", "early_stopping", "fp16", "gradient_checkpointing"),
    *("num_workers", "logging_steps", "report_to"),
}


def test_every_key_stands_in_the_table() -> None:
    assert OTHER.keys() == TrainSection.model_fields.keys()
    for name, value in OTHER.items():
        field = TrainSection.model_fields[name]
        assert value != field.get_default()


def _unread(fields: dict[str, Any], kind: str) -> str:
    return rf"({'|'.join(fields)})(\.\w+)? has no effect with kind={kind}; remove it or set"


@pytest.mark.parametrize("name", sorted(OTHER.keys() - {"kind"}))
def test_a_cross_encoder_s_training_reads_no_other_key_of_the_section(name: str) -> None:
    fields = {**WITH.get(name, {}), name: OTHER[name]}
    with pytest.raises(ValueError, match=_unread(fields, "cross-encoder")):
        TrainSection(kind="cross-encoder", **fields)


@pytest.mark.parametrize("name", sorted(OTHER.keys() - QUERY_SIDE_HONOURS))
def test_a_query_side_training_refuses_what_it_does_not_read(name: str) -> None:
    fields = {"loss": {"name": "lambda_rank"}, **WITH.get(name, {}), name: OTHER[name]}
    with pytest.raises(ValueError, match=_unread(fields, "query-side")):
        TrainSection(kind="query-side", **fields)


@pytest.mark.parametrize("name", sorted(QUERY_SIDE_HONOURS - {"kind"}))
def test_a_query_side_training_takes_what_it_reads(name: str) -> None:
    fields = {"loss": {"name": "lambda_rank"}, name: OTHER[name]}
    section = TrainSection(kind="query-side", **fields)
    assert getattr(section, name) != TrainSection.model_fields[name].get_default()


@pytest.mark.parametrize("change", [{"weight_floor": 0.5}, {"partition": "per_direction"}], ids=str)
def test_a_query_side_training_refuses_what_its_loss_does_not_read(change: dict[str, Any]) -> None:
    # whichever rule is the first to notice
    with pytest.raises(ValueError, match=f"{next(iter(change))} has no effect with"):
        TrainSection(kind="query-side", loss={"name": "lambda_rank", **change})


def test_the_section_to_set_instead_is_named() -> None:
    with pytest.raises(ValueError, match=r"steps has no effect .* set reranker\.steps"):
        TrainSection(kind="cross-encoder", steps=3)
    with pytest.raises(ValueError, match=r"lora\.r has no effect .* set kind=encoder"):
        TrainSection(kind="cross-encoder", lora={"r": 4})


def test_a_configuration_with_several_datasets_is_read_without_torch() -> None:
    code = (
        "import sys; from pyrite.trainers.run_config import TrainConfig;"
        "TrainConfig(train={'datasets': [{}, {'dataset': {'path': 'x'}}]}).set_runs();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
