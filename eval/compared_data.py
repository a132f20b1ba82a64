"""The dataset, the judgements and the rankings behind finished evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.beir import Dataset
from ..core.config import parse_config
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.run import RunConfig, open_queries
from ..core.tables import Qrels
from ..indexes.run_file import read_run
from ..indexes.sources import SearchInputs
from .finished_runs import Measured, Systems
from .measures import F64, cutoff, per_query
from .results import data_digests


@dataclass(frozen=True, slots=True)
class ComparedData:
    """What the systems were asked: `rows` int64 [Q] are the queries, in the systems' order."""

    dataset: Dataset
    split: str
    qrels: Qrels
    rows: I64

    @property
    def queries(self) -> list[str]:
        """The text of each query."""
        return self.dataset.queries.texts(self.rows)


@dataclass(frozen=True, slots=True)
class Rankings:
    """Ranked corpus rows int64 [Q, K], padded with -1, of each system: one for each seed."""

    data: ComparedData
    seeds: Mapping[str, list[I64]]

    @property
    def ids(self) -> dict[str, I64]:
        """Those of each system's first seed."""
        return {name: ids[0] for name, ids in self.seeds.items()}

    def judged_by(self, qrels: Qrels) -> Rankings:
        """The same rankings under other judgements."""
        return Rankings(replace(self.data, qrels=qrels), self.seeds)

    def measured(self, measures: Sequence[str]) -> dict[str, dict[str, F64]]:
        """Each measure of each system, float64 [S, Q]."""
        data = self.data
        found: dict[str, dict[str, F64]] = {}
        for name, seeds in self.seeds.items():
            of_seeds = [per_query(measures, data.qrels, data.rows, ids) for ids in seeds]
            found[name] = {m: np.stack([values[m] for values in of_seeds]) for m in measures}
        return found


def open_compared(systems: Systems, feature: str) -> ComparedData:
    """The dataset that all systems were measured on, as the first one's configuration names it.

    Raises PyriteError, naming `feature`, for several datasets, and if texts or judgements are no
    longer those that were measured.
    """
    systems.one_dataset(feature)
    first = next(iter(systems.runs.values()))[0][0]
    known = {key: first.config[key] for key in RunConfig.model_fields if key in first.config}
    config = parse_config(RunConfig, known, str(first.folder))
    every = first.config.get("eval", {}).get("convention") == "trec_eval"
    dataset, qrels, asked = open_queries(config, config.dataset.eval_split, all_judged=every)
    inputs = SearchInputs(dataset.queries, dataset.corpus, asked, None, None)
    if data_digests(inputs, qrels) == first.data:
        # trec_eval's convention leaves out queries without results
        rows = dataset.queries.ids.find(systems.query_ids)
        return ComparedData(dataset, config.dataset.eval_split, qrels, rows)
    raise PyriteError(
        f"{dataset.folder}: texts or judgements have changed since {first.folder} was written, and"
        f" {feature} needs them; evaluate again"
    )


def open_rankings(systems: Systems, data: ComparedData, feature: str) -> Rankings:
    """What each system ranked; raises PyriteError, naming `feature`, where no ranking was kept."""
    depth = cutoff([m for values in systems.values.values() for m in values])
    return Rankings(
        data,
        {
            name: [_ranking(one, data, depth, feature) for one in groups[0]]
            for name, groups in systems.runs.items()
        },
    )


def _ranking(one: Measured, data: ComparedData, depth: int, feature: str) -> I64:
    if one.ranking is None:
        model = Path("models") / one.name / "model"
        raise PyriteError(
            f"{one.folder}: keeps no ranking of {one.name or 'the system'}, and {feature} needs it;"
            f" run pyrite eval with encoder.model={one.folder / model} and compare what it writes"
        )
    run = read_run(one.ranking, data.dataset.queries, data.dataset.corpus)
    deepest = int(np.diff(run.indptr)[data.rows].max(initial=1))
    return run.search(data.rows, min(depth, deepest))[0]
