"""Judging what nobody judged: the systems' unjudged top documents, and verdicts about them.

The file of pairs is one that `pyrite relabel` reads (STAR's: a list of document ids for each
query), with the dataset's positives beside each; what it writes comes back as judgements.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.digest import digest_file
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.json_lines import json_object
from ..core.store import Manifest, write_json
from ..core.tables import Qrels
from .compared_data import ComparedData, Rankings
from .incomplete import judged

_RELABELLED = "relabelled"  # the kind of a manifest that `pyrite relabel` writes
_NOTES = "verdicts.jsonl"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Judgements with those of a judge added, and how many of each there are."""

    qrels: Qrels
    relevant: int
    irrelevant: int
    unknown: int

    def sentence(self) -> str:
        """What a person learns from it."""
        return (
            f"{self.relevant:,} unjudged documents were judged relevant, {self.irrelevant:,} not;"
            f" {self.unknown:,} without a verdict stay unjudged"
        )


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A file of pairs that nobody judged, and the command that has them judged."""

    path: Path
    pairs: int
    command: str

    def sentence(self) -> str:
        """What a person learns from it."""
        return (
            f"wrote {self.pairs:,} unjudged pairs to {self.path}; to have them judged:\n"
            f"{self.command}"
        )


def write_unjudged(path: Path, rankings: Rankings, depth: int) -> Unjudged:
    """Write the unjudged among the first `depth` results of any system.

    A query's documents stand in the order of their best rank, then of their ids. Queries without
    one are left out. Raises PyriteError if nothing is unjudged.
    """
    data = rankings.data
    ranked = [ids[:, :depth] for ids in rankings.ids.values()]
    unjudged = [np.where(judged(data.qrels, data.rows, ids) | (ids < 0), -1, ids) for ids in ranked]
    found: dict[str, list[str]] = {}
    for at, query in enumerate(data.dataset.queries.id_strings(data.rows)):
        best: dict[int, int] = {}
        for ids in unjudged:
            for rank, doc in enumerate(ids[at].tolist()):
                if doc >= 0:
                    best[doc] = min(rank, best.get(doc, rank))
        order = sorted(best, key=lambda doc: (best[doc], data.dataset.corpus.ids.rank_N[doc]))
        if order:
            found[query] = data.dataset.corpus.id_strings(order)
    if not found:
        raise PyriteError(
            f"the first {depth} results of every system are all judged, so there is nothing to"
            " write; raise --depth"
        )
    write_json(path, found)
    return Unjudged(path, sum(len(documents) for documents in found.values()), _command(path, data))


def _command(path: Path, data: ComparedData) -> str:
    folder = data.dataset.folder
    settings = {
        "path": path,
        "format": "star",
        "corpus": folder,
        "qrels": folder / "qrels" / f"{data.split}.tsv",
    }
    given = [f"data.{name}={value}" for name, value in settings.items()]
    return shlex.join(["pyrite", "relabel", "CONFIG", *given, "counted=relevant"])


def read_verdicts(folder: Path, data: ComparedData) -> Verdicts:
    """The judgements with the verdicts of a finished `pyrite relabel` on such a file.

    A false negative is a positive, of grade `min_grade`; what the judge called clean is a judged
    negative; what it did not decide stays unjudged. A pair of the dataset's own judgements keeps
    its grade. Raises PyriteError for a folder that is none, or whose file of pairs has changed.
    """
    inner = folder / "relabel"
    folder = inner if (inner / _NOTES).is_file() else folder
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("kind") != _RELABELLED or not manifest.intact(folder):
        raise PyriteError(
            f"{folder}: no finished relabelling; name the folder that pyrite relabel wrote, such as"
            " runs/relabel/relabel"
        )
    asked = Path(manifest.data["config"]["data"]["path"])
    if not asked.is_file() or digest_file(asked) != manifest.data["inputs"]["data"]:
        raise PyriteError(
            f"{asked}: is not the file that {folder} has verdicts about; put it back or run pyrite"
            " relabel again"
        )
    return _united(_pairs(asked, data), _states(folder / _NOTES), data)


def _pairs(path: Path, data: ComparedData) -> list[tuple[str, str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(query, str(doc)) for query, documents in found.items() for doc in documents]
    except (ValueError, AttributeError, TypeError) as error:
        raise PyriteError(
            f"{path}: not what --unjudged writes ({error}); relabel such a file"
        ) from error
    rows = data.dataset.queries.ids.find([query for query, _ in pairs])
    docs = data.dataset.corpus.ids.find([doc for _, doc in pairs])
    if (rows < 0).any() or (docs < 0).any():
        query, doc = pairs[int(np.flatnonzero((rows < 0) | (docs < 0))[0])]
        raise PyriteError(
            f"{path}: query {query!r} or document {doc!r} is not in {data.dataset.folder}; take the"
            " verdicts about the dataset that is compared on"
        )
    return pairs


def _states(path: Path) -> dict[tuple[str, str], str]:
    found = {}
    for line, raw in enumerate(path.read_bytes().splitlines(), start=1):
        note = json_object(raw, f"{path}:{line}")
        found[note["query_id"], note["doc_id"]] = note["state"]
    return found


def _united(
    pairs: list[tuple[str, str]], states: dict[tuple[str, str], str], data: ComparedData
) -> Verdicts:
    qrels = data.qrels
    ruled = np.array(["clean" if p not in states else states[p] for p in pairs], dtype=object)
    known = np.flatnonzero(ruled != "unknown")
    query = data.dataset.queries.ids.find([pairs[at][0] for at in known])
    doc = data.dataset.corpus.ids.find([pairs[at][1] for at in known])
    relevant = ruled[known] == "false_negative"
    grade = np.where(relevant, qrels.min_grade, 0).astype(np.int64)
    own = np.repeat(np.arange(len(qrels)), np.diff(qrels.indptr))
    new = ~_among(own, qrels.docs, query, doc, len(data.dataset.corpus))
    united = Qrels.build(
        np.concatenate((own, query[new])),
        np.concatenate((qrels.docs, doc[new])),
        np.concatenate((qrels.grades.astype(np.int64), grade[new])),
        len(qrels),
        qrels.min_grade,
    )
    count = int(relevant[new].sum())
    return Verdicts(united, count, int(new.sum()) - count, len(pairs) - known.size)


def _among(own: I64, own_docs: I64, query: I64, doc: I64, documents: int) -> np.ndarray:
    """Which of the pairs are judged already, bool [P]."""
    return np.isin(query * documents + doc, own * documents + own_docs)
