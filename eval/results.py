"""A finished evaluation: its means, each query's values and the ranking, in one folder.

`results.json` holds the facts and the means, `per_query.parquet` a row for each query (`query_id`,
then a float64 column for each measure), `run.parquet` what was ranked (query_id, doc_id, rank,
score), which `pyrite eval --run` reads again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.digest import digest_json, digest_texts
from ..core.errors import PyriteError
from ..core.store import Manifest, atomic_write, discard, write_json
from ..core.tables import Qrels
from ..indexes.sources import SearchInputs
from .measures import F64

SCHEMA = 2
KIND = "evaluation"
RESULTS, PER_QUERY, RANKING = "results.json", "per_query.parquet", "run.parquet"
QUERY_ID = "query_id"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of one system: each query's value, aligned with `query_ids`, and the means.

    `missing` queries among them had no result at all.
    """

    query_ids: list[str]
    values: dict[str, F64]
    missing: int = 0

    def means(self) -> dict[str, float]:
        """Mean of each measure over all judged queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


@dataclass(frozen=True, slots=True)
class Finished:
    """An evaluation read back: the folder, the facts of its `results.json`, and the values."""

    folder: Path
    facts: dict[str, Any]
    evaluation: Evaluation

    @property
    def ranking(self) -> Path:
        """The run that was measured, as `indexes.run_file.read_run` reads it."""
        return self.folder / RANKING


def data_digests(inputs: SearchInputs, qrels: Qrels) -> dict[str, str]:
    """Digests of what was asked and judged: evaluations are comparable if all of them agree.

    `queries` covers ids and texts of the queries, `qrels` their judgements by id, and `corpus` the
    file of the documents.
    """
    ids, texts = inputs.queries.id_strings(inputs.rows), inputs.queries.texts(inputs.rows)
    judged = []
    for row, query in zip(inputs.rows.tolist(), ids, strict=True):
        part = slice(int(qrels.indptr[row]), int(qrels.indptr[row + 1]))
        documents = inputs.corpus.id_strings(qrels.docs[part])
        judged.append([query, sorted(zip(documents, qrels.grades[part].tolist(), strict=True))])
    return {
        "queries": digest_texts([*ids, *texts]),
        "qrels": digest_json([qrels.min_grade, judged]),
        "corpus": inputs.corpus.digest,
    }


def write_evaluation(
    folder: Path, evaluation: Evaluation, facts: Mapping[str, Any], **manifest: Any
) -> None:
    """Write `results.json` and `per_query.parquet`, then the manifest of `folder`.

    A `run.parquet` that lies there is recorded too. `facts` come first in `results.json`.
    """
    discard(folder)
    result = {
        **facts,
        "queries": len(evaluation.query_ids),
        "n_missing": evaluation.missing,
        "measures": evaluation.means(),
    }
    write_json(folder / RESULTS, result)
    write_per_query(folder / PER_QUERY, evaluation)
    names = [RESULTS, PER_QUERY, *([RANKING] if (folder / RANKING).is_file() else [])]
    Manifest.write(folder, only=names, schema=SCHEMA, kind=KIND, verb="eval", **manifest)


def write_per_query(path: Path, evaluation: Evaluation) -> None:
    """One row for each query: `query_id`, then a column for each measure."""
    columns: dict[str, Any] = {QUERY_ID: evaluation.query_ids, **evaluation.values}
    with atomic_write(path) as handle:
        pq.write_table(pa.table(columns), handle)


def read_evaluation(folder: Path) -> Finished:
    """Read what `pyrite eval` left in `folder`, or in the `eval` below it.

    Raises PyriteError where there is no finished evaluation or its files are damaged.
    """
    inner = folder / "eval"
    folder = inner if (inner / RESULTS).is_file() else folder
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("kind") != KIND:
        raise PyriteError(
            f"{folder}: no finished evaluation; name the folder of one, such as runs/NAME/eval"
        )
    if manifest.data.get("schema") != SCHEMA or not manifest.intact(folder):
        raise PyriteError(
            f"{folder}: the evaluation is of another version or its files were changed; run"
            " pyrite eval again"
        )
    facts: dict[str, Any] = json.loads((folder / RESULTS).read_text("utf-8"))
    table = pq.read_table(folder / PER_QUERY)
    values = {
        name: np.asarray(table.column(name).to_numpy(), dtype=np.float64)
        for name in table.column_names
        if name != QUERY_ID
    }
    evaluation = Evaluation(table.column(QUERY_ID).to_pylist(), values, int(facts["n_missing"]))
    return Finished(folder, facts, evaluation)
