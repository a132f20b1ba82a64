"""Judges whose models stand in a pool: pickled calls, workers that die, and the same bytes."""

from __future__ import annotations

import pickle
import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_server import serving
from test_relabel_run import train_file
from tiny_model import tiny_cross_encoder, tiny_language_model, tiny_model

from pyrite import RelabelConfig, relabel
from pyrite.core.config import parse_config
from pyrite.core.encoders.parallel import in_order
from pyrite.core.engine.failure import Failure
from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest
from pyrite.miner.relabel.config import JudgeConfig
from pyrite.miner.relabel.judges.config import CrossConfig
from pyrite.miner.relabel.judges.pooled import JudgeWorker, Recipe, pooled_answerer
from pyrite.miner.relabel.pool import why_here


class Copies:
    """`core.engine.actors.Actors` without Ray: all that goes in or out is pickled.

    Each worker is a new one at its third call, as if the old one had died.
    """

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.calls = 0
        self._idle: queue.SimpleQueue[tuple[JudgeWorker, int]] = queue.SimpleQueue()
        for _ in range(slots):
            self._idle.put((JudgeWorker(), 0))

    def call(self, item: Any) -> list[Any]:
        self.calls += 1
        worker, done = self._idle.get()
        if done == 3:
            worker, done = JudgeWorker(), 0
        try:
            found: Any = worker(pickle.loads(pickle.dumps(item)))
        except PyriteError as error:
            raise Failure.of(error).error() from None
        finally:
            self._idle.put((worker, done + 1))
        return list(pickle.loads(pickle.dumps(found)))

    def map(self, items: Iterable[Any]) -> Iterator[list[Any]]:
        return in_order(self.call, items, self.slots)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    tiny_model(home / "encoder")
    tiny_cross_encoder(home / "cross")
    tiny_language_model(home / "local", positions=2048)
    return home


def stages_of(models: Path) -> dict[str, list[dict[str, Any]]]:
    encoder = {"model": str(models / "encoder" / "model"), "max_length": 32}
    embedding = {"encoder": encoder, "bias": 0.0, "high": 0.99}
    cross = {
        "model": str(models / "cross" / "cross-encoder"),
        "max_length": 32,
        "low": 0.45,
        "high": 0.55,
    }
    local = {"model": str(models / "local"), "reply_tokens": 16, "reply_retries": 1}
    return {
        "without a store": [
            {"judge": "duplicates"},
            {"judge": "embedding", "embedding": embedding},
        ],
        "all": [
            {"judge": "duplicates"},
            {"judge": "embedding", "embedding": embedding},
            {"judge": "cross-encoder", "cross_encoder": cross},
            {"judge": "local", "local": local},
        ],
    }


def settings(folder: Path, stages: list[dict[str, Any]], **changes: Any) -> RelabelConfig:
    sections = {
        "name": "toy",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "data": {"path": str(folder.parent / "train.jsonl")},
        "stages": stages,
        "block_rows": 5,
        "double_judge": 0.5,
        "order_check": True,
        "operation": "remove_negative",
    }
    return parse_config(RelabelConfig, {**sections, **changes})


def pooled(monkeypatch: pytest.MonkeyPatch, slots: int) -> Copies:
    pool = Copies(slots)

    @contextmanager
    def judge_pool(config: RelabelConfig) -> Iterator[Copies]:
        assert config.engine == "ray"
        yield pool

    monkeypatch.setattr("pyrite.miner.relabel.build.judge_pool", judge_pool)
    return pool


@pytest.mark.parametrize("which", ["without a store", "all"])
def test_judges_in_a_pool_give_the_same_files(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    rows = 5 if which == "all" else 12
    train_file(tmp_path, rows)
    stages = stages_of(models)[which]
    local = relabel(settings(tmp_path / "local", stages))
    assert len(local.report["states"]) > 1
    for slots in (1, 3):
        pool = pooled(monkeypatch, slots)
        found = relabel(settings(tmp_path / f"{slots}", stages, engine="ray", ray={"workers": 2}))
        assert pool.calls > 2
        assert found.report == local.report
        names = {path.name for path in local.folder.iterdir()} - {"manifest.json", "relabel.yaml"}
        assert names >= {"rows.jsonl", "verdicts.jsonl", "report.json", "spent.json"}
        for name in names:
            assert (found.folder / name).read_bytes() == (local.folder / name).read_bytes(), name
        one, two = (Manifest.read(done.folder) for done in (local, found))
        assert one is not None
        assert two is not None
        assert one.data["inputs"] == two.data["inputs"]
        assert one.data["config"]["engine"] == two.data["config"]["engine"] == "local"


def test_a_calibration_file_need_not_be_on_a_worker(tmp_path: Path, models: Path) -> None:
    section = CrossConfig(model=str(models / "cross" / "cross-encoder"), max_length=32)
    scores = pooled_answerer(section, 0, "stages[0]", Copies())._inner.scores_key  # type: ignore[attr-defined]
    file = tmp_path / "fit.json"
    file.write_text(
        '{"kind": "calibration", "schema": 1, "bias": 0.25, "temperature": 2.0, "judge": "x",'
        f' "scores": "{scores}"}}',
        encoding="utf-8",
    )
    fitted = section.model_copy(update={"calibration": str(file)})
    answerer = pooled_answerer(fitted, 0, "stages[0]", Copies())
    sent = answerer._recipe.section
    assert isinstance(sent, CrossConfig)
    assert (sent.bias, sent.temperature, sent.calibration) == (0.25, 2.0, None)
    assert answerer.key == pooled_answerer(sent, 0, "stages[0]", Copies()).key


def test_a_worker_with_another_model_is_refused(models: Path) -> None:
    recipe = Recipe(
        CrossConfig(model=str(models / "cross" / "cross-encoder"), max_length=32),
        0,
        "stages[0]",
        "no",
    )
    with pytest.raises(PyriteError, match=r"stages\[0\]: the model on a worker is not the one"):
        JudgeWorker()((recipe, []))


@pytest.mark.parametrize(
    ("judge", "fields", "reason"),
    [
        ("chat", {}, "the budget"),
        ("duplicates", {}, "no model"),
        ("scripted", {"scripted": {"function": "a:b"}}, "a function of this process"),
        ("embedding", {"embedding": {"encoder": {"kind": "openai"}}}, "encoder.kind=openai"),
        ("embedding", {"embedding": {"encoder": {"device": "cuda:0,cuda:1"}}}, "cuda:1"),
        ("embedding", {}, None),
        ("cross-encoder", {}, None),
        ("local", {}, None),
    ],
)
def test_who_judges_where(judge: str, fields: dict[str, Any], reason: str | None) -> None:
    found = why_here(JudgeConfig.model_validate({"judge": judge, **fields}))
    assert found is None if reason is None else reason in str(found)


def test_the_budget_holds_where_the_calls_are_made(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    train_file(tmp_path, 6)
    with serving(monkeypatch) as server:
        chat = {"base_url": server.url, "api_key_env": "PYRITE_TEST_KEY", "model": "m"}
        stages = [
            {**stages_of(models)["without a store"][1], "forward": "row"},
            {"judge": "chat", "chat": {**chat, "concurrency": 4}},
        ]
        pooled(monkeypatch, 2)
        found = relabel(settings(tmp_path / "a", stages, engine="ray", max_calls=2))
    assert found.stopped is not None
    assert "max_calls=2" in found.stopped
    assert len(server.asked) == 2
