"""Training rows on disk: which query, which positives, and the hashes that draws start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..core.beir import Dataset
from ..core.digest import digest_array, digest_json
from ..core.ids import I64
from ..core.mapped import Mapped
from ..core.rng import U64, combine
from ..core.store import Manifest, discard, write_array
from ..miner.ngame import Points
from .pool import Asked
from .training_set import TrainingSet

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RowTable:
    """R training rows, memory-mapped; N documents.

    `queries` int64 [R] query rows; `places` int64 [R], each row's number among what negatives were
    mined for; row r's positives are `positives[starts[r]:starts[r + 1]]`, document rows;
    `text_of_N` numbers texts, equal ones alike; `query_hashes` uint64 [R] and `doc_hashes_N`
    uint64 [N] are of the ids.
    """

    queries: Mapped[np.int64]
    places: Mapped[np.int64]
    starts: Mapped[np.int64]
    positives: Mapped[np.int64]
    query_hashes: Mapped[np.uint64]
    text_of_N: Mapped[np.int64]
    doc_hashes_N: Mapped[np.uint64]

    def __len__(self) -> int:
        return int(self.queries.array.size)


def write_rows(
    folder: Path,
    pairs: TrainingSet,
    dataset: Dataset,
    positives: Literal["all", "one"],
    each: bool = False,
    made_hashes: U64 | None = None,
) -> RowTable:
    """Write the rows of `pairs`, one for each pair or one for each query, or keep what is there.

    A query's pairs must stand side by side. With `each`, every pair has its own negatives.
    `made_hashes` are those of the ids of documents behind the corpus.
    """
    changes = _begins(pairs, each)
    place = np.cumsum(changes) - 1
    size = pairs.queries.size
    first = np.flatnonzero(changes) if positives == "one" else np.arange(size)
    queries = pairs.queries[first]
    key = digest_json(
        {
            "schema": SCHEMA,
            "dataset": dataset.digest(),
            "arrays": [digest_array(a) for a in (queries, pairs.positives, pairs.text_of_N)],
            "each": each,
            **({} if made_hashes is None else {"made": digest_array(made_hashes)}),
        }
    )
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("key") != key or not manifest.intact(folder):
        discard(folder)
        doc_hashes_N = dataset.corpus.id_hashes()
        if made_hashes is not None:
            doc_hashes_N = np.concatenate((doc_hashes_N, made_hashes))
        arrays: dict[str, Any] = {
            "queries": queries,
            "places": place[first],
            "starts": np.append(first, size),
            "positives": pairs.positives,
            "query_hashes": dataset.queries.id_hashes()[queries],
            "text_of_N": pairs.text_of_N,
            "doc_hashes_N": doc_hashes_N,
        }
        for name, values in arrays.items():
            write_array(folder / f"{name}.npy", values)
        counts = {"rows": int(first.size), "pairs": int(size)}
        Manifest.write(folder, schema=SCHEMA, kind="rows", key=key, counts=counts)
    return RowTable(*(Mapped[Any](folder / f"{name}.npy") for name in RowTable.__slots__))


def asked_of(pairs: TrainingSet, each: bool = False) -> Asked:
    """The training queries, or with `each` all pairs, in the order of `RowTable.places`."""
    return Asked(pairs.queries[_begins(pairs, each)], pairs.positives if each else None)


def _begins(pairs: TrainingSet, each: bool) -> npt.NDArray[np.bool_]:
    if each:
        return np.ones(pairs.queries.size, dtype=bool)
    return np.append(True, pairs.queries[1:] != pairs.queries[:-1])


def points_of(rows: RowTable, dataset: Dataset, vectors_RD: Any) -> Points:
    """The rows as NGAME's points: in the order of the ids of query and first positive."""
    first = rows.positives.array[rows.starts.array[:-1]]
    queries, docs = dataset.queries.ids.rank_N, dataset.corpus.ids.rank_N
    order = np.lexsort((docs[first], queries[rows.queries.array]))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return Points(vectors_RD, _pair_hashes(rows, first), rank)


def _pair_hashes(rows: RowTable, first_R: I64) -> U64:
    return combine(rows.query_hashes.array, rows.doc_hashes_N.array[first_R])
