"""Each recipe of configs/ runs: at once where it mines, in the slow tests where it trains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_cases
import pytest
from chat_server import serving
from embedding_server import Server
from quick import quick
from small_recipes import RECIPES, TRAINED, changes, models, small

from pyrite import MakeConfig, RelabelConfig, TrainConfig, load_config, make, mine, relabel, train

# the whole of a training in a second or two
AT_ONCE = ("code-search",)
HEADER = re.compile(r"\A# \S.*\n# What: (.+\n# +)*.+\n# When: (.+\n# +)*.+\n# Needs: ")
# what a test may change: where things lie, and how much there is of them
PLACES = {
    "runs_dir",
    "cache_dir",
    "path",
    "model",
    "base_url",
    "device",
    "split",
    "eval_split",
}
SIZES = {
    "threads",
    "max_documents",
    "max_length",
    "depth",
    "steps",
    "batch_size",
    "save_every",
    "every_steps",
    "neg_topk",
    "cut",
    "clusters",
    "mini_batch_size",
    "window_min",
    "window_max",
    "factory",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    models(folder)
    return folder


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


def differing(one: Any, other: Any, key: str = "") -> Iterator[str]:
    """The last names of the keys under which two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from differing(one.get(name), other.get(name), name)
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        assert len(one) == len(other), key
        for left, right in zip(one, other, strict=True):
            yield from differing(left, right, key)
    elif one != other:
        yield key


def kind_of(name: str) -> Any:
    return {"make": MakeConfig, "relabel": RelabelConfig}.get(name, TrainConfig)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_when_it_fits_and_what_it_needs(name: str) -> None:
    text = RECIPES[name].read_text("utf-8")
    assert HEADER.match(text)
    assert f"configs/{name}.yaml" in text.partition("\n")[0] or name == "stdlib"


def test_the_recipes_that_are_promised_are_there() -> None:
    promised = "bm25 dense-topk simans hybrid clusters stdlib-ance relabel code-search msmarco"
    assert {*promised.split(), "decoder-lora"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_test_changes_places_and_sizes_only(name: str, home: Path) -> None:
    whole = load_config(kind_of(name), RECIPES[name]).model_dump()
    shrunk = load_config(kind_of(name), small(name, home, "http://127.0.0.1:1/v1")).model_dump()
    assert set(differing(whole, shrunk)) <= PLACES | SIZES
    assert changes(name, home)


@pytest.mark.parametrize("name", TRAINED)
def test_a_recipe_mines(name: str, home: Path) -> None:
    config = load_config(TrainConfig, small(name, home))
    mined = mine(config)
    assert mined.tally.queries == 15
    assert mined.tally.drawn > 0


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in AT_ONCE else [pytest.mark.slow]) for n in TRAINED]
)
def test_a_recipe_trains(name: str, home: Path) -> None:
    config = load_config(TrainConfig, small(name, home))
    trained = train(config)
    systems = {"adore": "query_side", "stdlib-reranker": "reranked"}
    first = "retriever" if name == "stdlib-reranker" else "base"
    assert next(iter(trained.evaluations)) == first
    assert list(trained.evaluations)[-1] == systems.get(name, "mined")
    weights = list((config.run_folder / "models").glob("*/model/**/*.safetensors"))
    assert weights
    assert not list((config.run_folder / "models").glob("*/model/**/adapter_*"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    with serving(monkeypatch) as running:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        yield running


def test_the_recipe_that_relabels(home: Path, server: Server) -> None:
    rows = [
        {"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"{i} better", f"{i} b"]} for i in (1, 2)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (home / "train.jsonl").write_text(lines, encoding="utf-8")
    done = relabel(load_config(RelabelConfig, small("relabel", home, server.url)))
    assert done.stopped is None
    path = done.folder / "rows.jsonl"
    written = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [row["pos"] for row in written] == [[f"p {i}", f"{i} better"] for i in (1, 2)]


def test_the_recipe_that_has_negatives_written(home: Path, server: Server) -> None:
    server.default = made_cases.good
    done = make(load_config(MakeConfig, small("make", home, server.url)))
    assert done.stopped is None
    assert (done.folder / "made.jsonl").read_text("utf-8")
