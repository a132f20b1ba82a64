"""The recipes of configs/ on data and models of a test: paths and sizes change, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from fakes import toy_dataset
from tiny_model import tiny_cross_encoder, tiny_decoder, tiny_model

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
RECIPES = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
# the others call a server, and have configurations of their own
TRAINED = tuple(name for name in RECIPES if name not in ("make", "relabel"))
DOCUMENTS, QUERIES = 80, 24

_TRAINING: dict[str, Any] = {
    "threads": 1,
    "dataset": {"max_documents": None},
    "encoder": {"max_length": 32, "device": "cpu"},
    "retrieve": {"depth": 20},
    "train": {"steps": 2, "batch_size": 6, "save_every": 1},
}
_WINDOW = {"window_min": 2, "window_max": 12}
_OWN: dict[str, dict[str, Any]] = {
    "adore": {"train": {"neg_topk": 12, "loss": {"cut": 12}}},
    "clusters": {"filters": {"clusters": 8}},
    "decoder-lora": {"train": {"mini_batch_size": 2}},
    "msmarco": {
        "dataset": {"eval_split": "test"},
        "sampler": _WINDOW,
        "train": {"mini_batch_size": 2},
    },
    "stdlib-ance": {
        "refresh": {"every_steps": 2, "gate": {"split": "dev"}},
        "train": {"steps": 4, "save_every": 2},
    },
    "stdlib-denoise": {"filters": {"denoise": {"max_length": 32, "depth": 10}}},
    "stdlib-reranker": {
        "reranker": {"max_length": 32, "steps": 2, "batch_size": 4, "save_every": 1, "depth": 5},
    },
}


def models(home: Path) -> None:
    """Data and one model of each kind below `home`."""
    toy_dataset(home / "data", DOCUMENTS, QUERIES)
    lines = (home / "data" / "qrels" / "train.tsv").read_text("utf-8").splitlines()
    # a third split without queries of the others
    dev = [line for line in lines[1:] if line.split("\t")[0] in ("q0001", "q0005", "q0009")]
    rest = [line for line in lines if line not in dev]
    (home / "data" / "qrels" / "train.tsv").write_text("\n".join(rest) + "\n", encoding="utf-8")
    (home / "data" / "qrels" / "dev.tsv").write_text(
        "\n".join([lines[0], *dev]) + "\n", encoding="utf-8"
    )
    tiny_model(home / "tiny")
    tiny_cross_encoder(home / "cross")
    tiny_decoder(home / "decoder")


def changes(name: str, home: Path, url: str = "") -> dict[str, Any]:
    """What a test changes of the recipe `name`: where things lie, and how much there is of them."""
    places = {"runs_dir": str(home / "runs"), "cache_dir": str(home / "cache")}
    raw = yaml.safe_load(RECIPES[name].read_text("utf-8"))
    if name == "relabel":
        stages = [_at(stage, url) for stage in raw["stages"]]
        return {**places, "data": {"path": str(home / "train.jsonl")}, "stages": stages}
    if name == "make":
        served = {"writer": _at(raw["writer"], url), "checks": [_at(c, url) for c in raw["checks"]]}
        data = {"path": str(home / "data"), "max_documents": None}
        return {**places, **served, "dataset": data}
    kind = "decoder/model" if name == "decoder-lora" else "tiny/model"
    own: dict[str, Any] = {
        **places,
        "dataset": {"path": str(home / "data")},
        "encoder": {"model": str(home / kind)},
    }
    cross = str(home / "cross" / "cross-encoder")
    if name == "stdlib-denoise":
        own["filters"] = {"denoise": {"model": cross}}
    if name == "stdlib-reranker":
        own["reranker"] = {"model": cross}
        mix = raw["sampler"]["mix"]
        own["sampler"] = {"mix": [{**mix[0], **_WINDOW}, *mix[1:]]}
    if name == "msmarco":
        sources = raw["retrieve"]["sources"]
        sources[0]["index"]["factory"] = sources[0]["index"]["factory"].replace("16384", "4")
        own["retrieve"] = {"sources": sources}
    common = dict(_TRAINING)
    if name == "stdlib-reranker":
        # the section of an encoder's training, which has no effect there
        del common["train"]
    return merged(merged(common, own), _OWN.get(name, {}))


def small(name: str, home: Path, url: str = "") -> Path:
    """The recipe as a file below `home`, with those changes."""
    raw = yaml.safe_load(RECIPES[name].read_text("utf-8"))
    path = home / "configs" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    changed = merged(raw, changes(name, home, url))
    path.write_text(yaml.safe_dump(changed), encoding="utf-8")
    return path


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, section by section."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        found[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return found


def _at(part: dict[str, Any], url: str) -> dict[str, Any]:
    """A stage or a writer whose server stands at `url`."""
    if "chat" not in part:
        return part
    return {**part, "chat": {**part["chat"], "base_url": url}}
