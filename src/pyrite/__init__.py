"""Pyrite: hard-negative mining, refresh and contrastive training for dense retrieval.

The verbs are functions: `mine`, `train`, `evaluate`, each with a configuration that
`load_config` reads from YAML. Names are imported at their first use, so `import pyrite` is quick.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.config import load_config
    from .core.errors import PyriteError
    from .eval.evaluate import EvalConfig, Evaluation, evaluate
    from .miner.mine import MineConfig, Mined, mine
    from .miner.relabel.config import RelabelConfig
    from .miner.relabel.relabel import Relabelled, relabel
    from .trainers.run_config import TrainConfig
    from .trainers.train import Trained, train

try:
    __version__ = version("pyrite")
except PackageNotFoundError:
    __version__ = "0+unknown"

_HOMES = {
    "load_config": "core.config",
    "PyriteError": "core.errors",
    "EvalConfig": "eval.evaluate",
    "Evaluation": "eval.evaluate",
    "evaluate": "eval.evaluate",
    "audit": "miner.audit",
    "suggest": "miner.suggest",
    "truth_test": "miner.truth",
    "MineConfig": "miner.mine",
    "Mined": "miner.mine",
    "mine": "miner.mine",
    "RelabelConfig": "miner.relabel.config",
    "Relabelled": "miner.relabel.relabel",
    "relabel": "miner.relabel.relabel",
    "TrainConfig": "trainers.run_config",
    "Trained": "trainers.train",
    "train": "trainers.train",
}

__all__ = [
    "EvalConfig",
    "Evaluation",
    "MineConfig",
    "Mined",
    "PyriteError",
    "RelabelConfig",
    "Relabelled",
    "TrainConfig",
    "Trained",
    "__version__",
    "audit",
    "evaluate",
    "load_config",
    "mine",
    "relabel",
    "suggest",
    "train",
    "truth_test",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
