"""Gate and trigger in whole trainings of a tiny model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from quick import quick
from refresh_setup import RefreshBench, generations_of, log_of, same, swaps_of

from pyrite.core.config import parse_config
from pyrite.trainers.refresh_log import RefreshLog
from pyrite.trainers.refresh_report import age_line
from pyrite.trainers.run_config import TrainConfig

TRIGGER = {"easy_share": 0.0, "margin": 0.0, "window": 2, "min_steps": 3}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> RefreshBench:
    found = RefreshBench.build(tmp_path_factory.mktemp("judged"))
    # every other held-out query is one to develop on
    path = found.folder / "toy" / "qrels" / "test.tsv"
    header, *lines = path.read_text("utf-8").splitlines()
    odd = [line for line in lines if int(line[1:5]) % 8]
    rest = [line for line in lines if line not in odd]
    for name, part in (("dev", odd), ("test", rest)):
        path.with_name(f"{name}.tsv").write_text("\n".join([header, *part]) + "\n", "utf-8")
    return found


def triggered(bench: RefreshBench, name: str) -> TrainConfig:
    # the bench's own rhythm stands in the way of another
    sections = bench.config(name, {}).model_dump(mode="json")
    return parse_config(TrainConfig, {**sections, "refresh": {"mode": "sync", "trigger": TRIGGER}})


def test_refused_generations_are_on_record_and_change_nothing(bench: RefreshBench) -> None:
    refused = bench.config("refused", {"mode": "sync", "gate": {"min_overlap": 1.0}})
    weights = bench.train(refused)
    assert same(weights, bench.train(bench.config("static", {})))
    assert swaps_of(refused) == []
    made = generations_of(refused)
    assert made
    assert not any(generation.adopted for generation in made)
    for row in log_of(refused, "refused"):
        (reason,) = row["reasons"]
        assert "under refresh.gate.min_overlap=1; lower it" in reason
    assert len(log_of(refused, "refused")) == len(log_of(refused, "generation")) == len(made)


def test_the_weights_behind_each_generation_are_measured(bench: RefreshBench) -> None:
    gate = {"split": "dev", "max_ndcg_drop": 1.0, "max_false_negative_share": 1.0}
    config = bench.config("measured", {"mode": "sync", "gate": gate})
    bench.train_only(config)
    made = generations_of(config)
    assert all(generation.adopted for generation in made)
    measured = [(generation.step, generation.measured("ndcg")) for generation in made]
    assert [(row["step"], row["ndcg"]) for row in log_of(config, "dev")] == measured
    assert all(0 < value <= 1 for _, value in measured)
    bests = [generation.measured("best_ndcg") for generation in made]
    values = [value for _, value in measured]
    assert bests == [max(values[:at], default=None) for at in range(len(values))]
    for generation in made:
        assert 0 <= generation.measured("false_negatives")["share"] <= 1


@pytest.mark.slow
def test_a_trigger_asks_and_a_resumed_training_asks_at_the_same_steps(
    bench: RefreshBench,
) -> None:
    whole = triggered(bench, "whole")
    weights = bench.train(whole)
    asked = [row["step"] for row in log_of(whole, "published")]
    assert len(asked) > 1
    gaps = [after - before for before, after in zip([0, *asked], asked, strict=False)]
    assert min(gaps) >= 3
    # new negatives are drawn two steps after the request, and two more steps fill the window
    assert min(gaps[1:]) >= 4
    resumed = triggered(bench, "resumed")
    bench.killed(resumed, after=8)
    assert same(bench.train(resumed), weights)
    assert swaps_of(resumed) == swaps_of(whole)
    for kind in ("published", "generation", "swap"):
        assert log_of(resumed, kind) == log_of(whole, kind)
    rows = RefreshLog(resumed.run_folder / "refresh").rows()
    assert age_line(rows) == age_line(RefreshLog(whole.run_folder / "refresh").rows())
