"""A development split: queries that are neither trained on nor reported on."""

from __future__ import annotations

import numpy as np

from ..core.beir import Dataset
from ..core.digest import digest_array, digest_json
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.run import RunConfig, open_queries
from ..core.tables import Qrels


def open_dev(run: RunConfig, split: str, knob: str) -> tuple[Dataset, Qrels, I64]:
    """The dataset, the judgements of `split` and the rows of its queries; `knob` names the split.

    Raises PyriteError if the split is missing, or shares queries with `dataset.train_split` or
    `dataset.eval_split`.
    """
    try:
        dataset, qrels, rows = open_queries(run, split)
    except PyriteError as error:
        raise PyriteError(
            f"{knob}={split}: {error}; add this split to the dataset of dataset.path, or set {knob}"
            f" to one that it has beside dataset.train_split={run.dataset.train_split} and"
            f" dataset.eval_split={run.dataset.eval_split}"
        ) from error
    for key, other in (
        ("train_split", run.dataset.train_split),
        ("eval_split", run.dataset.eval_split),
    ):
        taken = dataset.qrels(other, run.dataset.min_grade).with_positives()
        both = np.intersect1d(taken, rows).size
        if both:
            raise PyriteError(
                f"{knob}={split}: {both} of its {rows.size} queries are in dataset.{key}={other}"
                " too; set it to a split of other queries"
            )
    return dataset, qrels, rows


def dev_key(qrels: Qrels, rows: I64) -> str:
    """Digest of the judgements of a development split, which decide what is trained."""
    arrays = (rows, qrels.indptr, qrels.docs, qrels.grades)
    return digest_json([digest_array(array) for array in arrays])
