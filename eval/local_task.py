"""A dataset of ours as a task of mteb, and the same ranking by mteb's own evaluation.

Importing this file needs the package `mteb`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mteb
from datasets import Dataset
from datasets.table import InMemoryTable
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta

from ..core.digest import digest_json
from ..core.tables import TextTable
from .as_run import Judged, Run, as_run
from .measures import cutoff
from .results import data_digests
from .search import Searched

_SCORES = {
    "ndcg": "ndcg",
    "map": "map",
    "recall": "recall",
    "precision": "precision",
    "mrr": "mrr",
    "success": "hit_rate",
}


class LocalTask(AbsTaskRetrieval):  # type: ignore[misc]
    """Retrieval over tables that are here already; nothing is downloaded.

    The corpus stays mapped. Texts are title and text joined, as mteb joins them itself.
    """

    def __init__(
        self,
        name: str,
        split: str,
        queries: TextTable,
        corpus: TextTable,
        judged: Judged,
        revision: str,
        cutoffs: Iterable[int] = (),
        drops_identical: bool = False,
    ) -> None:
        self.metadata = TaskMetadata(
            name=task_name(name),
            description=f"A folder in BEIR layout: {name}, split {split}.",
            dataset={"path": name, "revision": revision},
            type="Retrieval",
            category="t2t",
            eval_splits=[split],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )
        super().__init__()
        self.k_values = sorted({*AbsTaskRetrieval.k_values, *cutoffs})
        self._top_k = max(self.k_values)
        self.ignore_identical_ids = drops_identical
        self._tables = queries, corpus
        self._judged = judged

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:
        queries, corpus = (Dataset(InMemoryTable(table.table)) for table in self._tables)
        asked = [at for at, query in enumerate(queries["id"]) if query in self._judged]
        (split,) = self.metadata.eval_splits
        parts = {
            "corpus": corpus,
            "queries": queries.select(asked),
            "relevant_docs": self._judged,
            "top_ranked": None,
        }
        self.dataset = {"default": {split: parts}}
        self.data_loaded = True

    def unload_data(self) -> None:
        """Keep what is mapped; mteb would clear the whole object."""


class Ranked:
    """A ranking that is there already, as a model of mteb."""

    def __init__(self, run: Run, label: str, revision: str) -> None:
        self._run = run
        self.mteb_model_meta = model_meta(label, revision)

    def index(self, corpus: Any, **_: Any) -> None:
        """Nothing is left to be searched."""

    def search(self, queries: Any, **_: Any) -> Run:
        asked = set(queries["id"])
        return {query: dict(found) for query, found in self._run.items() if query in asked}


def task_name(name: str) -> str:
    """A task's name names a file."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "dataset"


def model_meta(label: str, revision: str, **known: Any) -> ModelMeta:
    """What mteb's result files say of one of our systems."""
    name = f"pyrite/{task_name(label)}"
    return ModelMeta.create_empty({"name": name, "revision": revision, **known})


def by_mteb(
    found: Searched, measures: Sequence[str], system: str, dataset: str, split: str, folder: Path
) -> dict[str, float]:
    """Those of the measures that mteb has; its result file goes below `folder`."""
    judged, run = as_run(found)
    inputs = found.inputs
    cutoffs = {cutoff([m]) for m in measures if "@" in m}
    revision = digest_json(data_digests(inputs, found.qrels))[:16]
    task = LocalTask(dataset, split, inputs.queries, inputs.corpus, judged, revision, cutoffs)
    ranked = Ranked(run, system, digest_json(run)[:16])
    cache = mteb.ResultCache(folder)
    result = mteb.evaluate(
        ranked, task, cache=cache, overwrite_strategy="always", show_progress_bar=False
    )
    return picked(result.task_results[0].scores[split][0], measures)


def picked(scores: dict[str, Any], measures: Sequence[str]) -> dict[str, float]:
    """Our measures out of a task's scores."""
    values = {}
    for measure in measures:
        base, _, k = measure.partition("@")
        name = f"{_SCORES.get(base)}_at_{k}"
        if name in scores:
            values[measure] = float(scores[name])
    return values
