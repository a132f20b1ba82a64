"""The first documents of a BEIR folder and all judged ones, as a folder that every tool reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from reference_points import SPLIT

from pyrite.core.beir import Dataset


def judgements(dataset: Dataset) -> list[tuple[str, str, int]]:
    """Query id, document id and grade of every positive."""
    qrels = dataset.qrels(SPLIT)
    queries, docs = qrels.pairs()
    grades = qrels.grades[qrels.grades >= qrels.min_grade].tolist()
    names = dataset.queries.id_strings(queries), dataset.corpus.id_strings(docs)
    return list(zip(*names, grades, strict=True))


def write_part(dataset: Dataset, folder: Path, documents: int, queries: int = 0) -> tuple[int, int]:
    """The first `documents` and `queries` (0: all) and what is judged, as a folder of its own.

    Returns the numbers of documents and queries in it.
    """
    judged = judgements(dataset)
    chosen = dict.fromkeys(sorted({query for query, _, _ in judged})[: queries or None])
    judged = [one for one in judged if one[0] in chosen]
    ids = dataset.corpus.id_strings(slice(None))
    wanted = {*ids[: documents or None], *(doc for _, doc, _ in judged)}
    (folder / "qrels").mkdir(parents=True)
    sizes = []
    for name, texts, keep in (
        ("corpus", dataset.corpus, wanted),
        ("queries", dataset.queries, chosen),
    ):
        rows = np.array([at for at, i in enumerate(texts.id_strings(slice(None))) if i in keep])
        # beir's reader wants a title
        lines = (
            json.dumps({"_id": one, "title": "", "text": text})
            for one, text in zip(texts.id_strings(rows), texts.texts(rows), strict=True)
        )
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        sizes.append(rows.size)
    pairs = "\n".join(f"{query}\t{doc}\t{grade}" for query, doc, grade in judged)
    (folder / "qrels" / f"{SPLIT}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{pairs}\n")
    return sizes[0], sizes[1]
