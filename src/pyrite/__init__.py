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
    from .eval.compare import CompareOptions, compare_runs
    from .eval.compared import Compared
    from .eval.config import EvalConfig
    from .eval.evaluate import evaluate
    from .eval.evaluate_all import evaluate_all
    from .eval.nevir import NevirConfig, PairedAccuracy, nevir
    from .eval.results import Evaluation
    from .miner.convert.convert import Converted, ConvertOptions, convert
    from .miner.made.config import MakeConfig
    from .miner.made.make import Made, make
    from .miner.mine import MineConfig, Mined, mine
    from .miner.relabel.calibrate import Calibrated, calibrate
    from .miner.relabel.config import RelabelConfig
    from .miner.relabel.relabel import Relabelled, relabel
    from .trainers.plan.plan import Plan, PlanOptions, plan
    from .trainers.run_config import TrainConfig
    from .trainers.run_report.report import Reported, report
    from .trainers.train import Trained, train

try:
    __version__ = version("pyrite")
except PackageNotFoundError:
    __version__ = "0+unknown"

_HOMES = {
    "load_config": "core.config",
    "PyriteError": "core.errors",
    "CompareOptions": "eval.compare",
    "compare_runs": "eval.compare",
    "Compared": "eval.compared",
    "NevirConfig": "eval.nevir",
    "PairedAccuracy": "eval.nevir",
    "nevir": "eval.nevir",
    "EvalConfig": "eval.config",
    "Evaluation": "eval.results",
    "evaluate": "eval.evaluate",
    "evaluate_all": "eval.evaluate_all",
    "audit": "miner.audit",
    "ConvertOptions": "miner.convert.convert",
    "Converted": "miner.convert.convert",
    "convert": "miner.convert.convert",
    "suggest": "miner.suggest",
    "truth_test": "miner.truth",
    "MakeConfig": "miner.made.config",
    "Made": "miner.made.make",
    "make": "miner.made.make",
    "MineConfig": "miner.mine",
    "Mined": "miner.mine",
    "mine": "miner.mine",
    "Calibrated": "miner.relabel.calibrate",
    "calibrate": "miner.relabel.calibrate",
    "RelabelConfig": "miner.relabel.config",
    "Relabelled": "miner.relabel.relabel",
    "relabel": "miner.relabel.relabel",
    "Plan": "trainers.plan.plan",
    "PlanOptions": "trainers.plan.plan",
    "plan": "trainers.plan.plan",
    "TrainConfig": "trainers.run_config",
    "Trained": "trainers.train",
    "train": "trainers.train",
    "Reported": "trainers.run_report.report",
    "report": "trainers.run_report.report",
}

__all__ = [
    "Calibrated",
    "CompareOptions",
    "Compared",
    "ConvertOptions",
    "Converted",
    "EvalConfig",
    "Evaluation",
    "Made",
    "MakeConfig",
    "MineConfig",
    "Mined",
    "NevirConfig",
    "PairedAccuracy",
    "Plan",
    "PlanOptions",
    "PyriteError",
    "RelabelConfig",
    "Relabelled",
    "Reported",
    "TrainConfig",
    "Trained",
    "__version__",
    "audit",
    "calibrate",
    "compare_runs",
    "convert",
    "evaluate",
    "evaluate_all",
    "load_config",
    "make",
    "mine",
    "nevir",
    "plan",
    "relabel",
    "report",
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
