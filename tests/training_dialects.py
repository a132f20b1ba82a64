"""The same rows in every dialect of training files, written without Pyrite."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pyrite.miner.formats.sources import Sources


@dataclass(frozen=True)
class Row:
    query: str
    positive: str
    negatives: list[str]
    score: float = 0.9
    scores: list[float] = field(default_factory=list)

    def neg_scores(self) -> list[float]:
        return self.scores or [0.5] * len(self.negatives)


Write = Callable[[Path, Sequence[Row], "Ids"], Path]
NOWHERE = "<nowhere>"


@dataclass(frozen=True)
class Ids:
    """An id for each text: P1, P2, ... in order of appearance; `NOWHERE` has no text."""

    known: dict[str, str]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Ids:
        texts = [text for row in rows for text in (row.positive, *row.negatives)]
        return cls({text: f"P{at}" for at, text in enumerate(dict.fromkeys(texts))})

    def __call__(self, text: str) -> str:
        return self.known[text]

    def all(self, texts: Sequence[str]) -> list[str]:
        return [self(text) for text in texts]


@dataclass(frozen=True)
class Dialect:
    """One format: how rows are written, and what it can hold."""

    name: str
    write: Write
    negatives: int = 2
    scores: bool = False
    ids: bool = False
    pads: bool = False  # whether a row may lack negatives
    inline: bool = False  # whether the negatives' texts stand in the file

    def put(self, folder: Path, rows: Sequence[Row]) -> tuple[Path, Sources]:
        ids = Ids.of(rows)
        path = self.write(folder, rows, ids)
        corpus, queries, qrels = (folder / n for n in ("collection.tsv", "queries.tsv", "q.trec"))
        texts = [(name, text) for text, name in ids.known.items() if text != NOWHERE]
        corpus.write_text("".join(f"{name}\t{text}\n" for name, text in texts), encoding="utf-8")
        asked = (f"{1 + at}\t{row.query}\n" for at, row in enumerate(rows))
        queries.write_text("".join(asked), encoding="utf-8")
        judged = (f"{1 + at} 0 {ids(row.positive)} 1\n" for at, row in enumerate(rows))
        qrels.write_text("".join(judged), encoding="utf-8")
        sources = Sources(corpus, queries, qrels, folder / "cache")
        return path, sources if self.ids else Sources(cache=folder / "cache")


def lines(make: Callable[[int, Row, Ids], Any], name: str = "train.jsonl") -> Write:
    def write(folder: Path, rows: Sequence[Row], ids: Ids) -> Path:
        made = [make(at, row, ids) for at, row in enumerate(rows, start=1)]
        texts = [record if isinstance(record, str) else json.dumps(record) for record in made]
        (folder / name).write_text("".join(text + "\n" for text in texts), encoding="utf-8")
        return folder / name

    return write


def dpr(folder: Path, rows: Sequence[Row], ids: Ids) -> Path:
    records = [
        {
            "question": row.query,
            "answers": [],
            "positive_ctxs": [{"title": "", "text": row.positive, "score": row.score}],
            "negative_ctxs": [
                {"text": t, "score": s, "passage_id": ids(t)}
                for t, s in list(zip(row.negatives, row.neg_scores(), strict=True))[:1]
            ],
            "hard_negative_ctxs": [
                {"text": t, "score": s, "psg_id": ids(t)}
                for t, s in list(zip(row.negatives, row.neg_scores(), strict=True))[1:]
            ],
        }
        for row in rows
    ]
    (folder / "train.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    return folder / "train.json"


def nemo(folder: Path, rows: Sequence[Row], ids: Ids) -> Path:
    """NeMo's own arrangement: the texts lie in a parquet file beside it."""
    data = [
        {
            "question_id": at,
            "question": row.query,
            "corpus_id": "c",
            "pos_doc": [{"id": ids(row.positive), "score": row.score}],
            "neg_doc": [
                {"id": ids(t), "score": s}
                for t, s in zip(row.negatives, row.neg_scores(), strict=True)
            ],
        }
        for at, row in enumerate(rows)
    ]
    (folder / "c").mkdir(exist_ok=True)
    named = [{"id": n, "text": t} for t, n in ids.known.items() if t != NOWHERE]
    pq.write_table(pa.Table.from_pylist(named), folder / "c" / "train.parquet")
    whole = {"corpus": [{"path": "c"}], "data": data, "mining": {"args": {}}}
    (folder / "train.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return folder / "train.json"


def _tevatron(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    return {
        "query_id": str(at),
        "query": row.query,
        "positive_passages": [{"docid": ids(row.positive), "text": row.positive}],
        "negative_passages": [
            {"docid": ids(t), "title": "", "text": t, "score": s}
            for t, s in zip(row.negatives, row.neg_scores(), strict=True)
        ],
    } | {"subset": "x"}


def _flag(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    return {
        "query": row.query,
        "pos": [row.positive],
        "neg": row.negatives,
        "pos_scores": [row.score],
        "neg_scores": row.neg_scores(),
        "prompt": "Find:",
    }


def _columns(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    numbered = {f"negative_{i}": text for i, text in enumerate(row.negatives, start=1)}
    return {"anchor": row.query, "positive": row.positive, **numbered}


def _run(at: int, row: Row, ids: Ids) -> str:
    ranked = enumerate(zip(row.negatives, row.neg_scores(), strict=True), start=1)
    return "\n".join(f"{at} Q0 {ids(text)} {rank} {score} tag" for rank, (text, score) in ranked)


def _by_system(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    names = ids.all(row.negatives)
    return {
        "qid": at,
        "pos": [ids(row.positive)],
        "neg": {"bm25": names[:1], "x": names},
    }


def _scored(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    return {
        "query_id": at,
        "document_ids": ids.all([row.positive, *row.negatives]),
        "scores": [row.score, *row.neg_scores()],
    }


def _spelt(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    record = _scored(at, row, ids)
    return {**record, "document_ids": repr(record["document_ids"])}


def _simans(at: int, row: Row, ids: Ids) -> str:
    pairs = zip(ids.all(row.negatives), row.neg_scores(), strict=True)
    negatives = ",".join(f"{name} {score}" for name, score in pairs)
    return f"{at}\t{row.query}\t{ids(row.positive)} {row.score}\t{negatives}"


def _top1000(at: int, row: Row, ids: Ids) -> str:
    return "\n".join(f"{at}\t{ids(text)}\t{row.query}\t{text}" for text in row.negatives)


def _lightning(graded: bool) -> Callable[[int, Row, Ids], str]:
    def make(at: int, row: Row, ids: Ids) -> str:
        pairs = [(row.positive, row.score), *zip(row.negatives, row.neg_scores(), strict=True)]
        records = [
            {"query_id": at, "query": row.query, "doc_id": ids(t), "text": t, "rank": i, "score": s}
            | ({"relevance": int(i == 1)} if graded else {})
            for i, (t, s) in enumerate(pairs, start=1)
        ]
        return "\n".join(json.dumps(r) for r in (records if graded else records[1:]))

    return make


def _rerank(at: int, row: Row, ids: Ids) -> str:
    records = (
        {"query_id": at, "query": row.query, "docid": ids(t), "title": "", "text": t, "score": s}
        for t, s in zip(row.negatives, row.neg_scores(), strict=True)
    )
    return "\n".join(json.dumps(record) for record in records)


def _messages(at: int, row: Row, ids: Ids) -> dict[str, Any]:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    negatives = [said(text) for text in row.negatives]
    sides = {"positive_messages": [said(row.positive)], "negative_messages": negatives}
    return {"messages": said(row.query), **sides}


def _beir_run(folder: Path, rows: Sequence[Row], ids: Ids) -> Path:
    found = {
        str(at): dict(zip(ids.all(row.negatives), row.neg_scores(), strict=True))
        for at, row in enumerate(rows, start=1)
    }
    (folder / "run.json").write_text(json.dumps(found), encoding="utf-8")
    return folder / "run.json"


def _star(folder: Path, rows: Sequence[Row], ids: Ids) -> Path:
    found = {str(at): ids.all(row.negatives) for at, row in enumerate(rows, start=1)}
    (folder / "hard.json").write_text(json.dumps(found), encoding="utf-8")
    return folder / "hard.json"


LATER = [
    Dialect("MS MARCO top1000", lines(_top1000, "top1000.dev"), ids=True, inline=True),
    Dialect("lightning-ir run", lines(_lightning(True)), scores=True, pads=True),
    Dialect("lightning-ir run", lines(_lightning(False)), ids=True, inline=True),
    Dialect("STAR", _star, ids=True, pads=True),
    Dialect("Tevatron rerank input", lines(_rerank), ids=True, inline=True),
    Dialect("ms-swift messages", lines(_messages), pads=True),
    Dialect("BEIR run", _beir_run, ids=True),
]
DIALECTS = [
    Dialect("FlagEmbedding", lines(_flag), scores=True, pads=True),
    Dialect("Tevatron", lines(_tevatron), scores=False, pads=True),
    Dialect(
        "Tevatron teacher",
        lines(
            lambda at, r, ids: {
                "query_id": at,
                "query": r.query,
                "passages": [{"title": "", "text": t} for t in (r.positive, *r.negatives)],
                "scores": [r.score, *r.neg_scores()],
            }
        ),
        scores=True,
        pads=True,
    ),
    Dialect(
        "Tevatron by id",
        lines(
            lambda at, r, ids: {
                "query_id": at,
                "query_text": r.query,
                "query_image": None,
                "positive_document_ids": [ids(r.positive)],
                "negative_document_ids": ids.all(r.negatives),
            }
        ),
        ids=True,
        pads=True,
    ),
    Dialect("DPR", dpr, scores=True, pads=True),
    Dialect("NeMo", nemo, scores=True, pads=True),
    Dialect(
        "NeMo inline",
        lines(
            lambda at, r, ids: {
                "question": r.query,
                "pos_doc": r.positive,
                "neg_doc": [{"text": t} for t in r.negatives],
            }
        ),
        pads=True,
    ),
    Dialect(
        "contrastors",
        lines(
            lambda at, r, ids: {
                "query": r.query,
                "document": r.positive,
                "negatives": r.negatives,
                "pos_score": r.score,
                "scores": r.neg_scores(),
                "metadata": {"objective": {}},
            }
        ),
        scores=True,
        pads=True,
    ),
    Dialect(
        "ms-swift",
        lines(
            lambda at, r, ids: {
                "query": r.query,
                "response": r.positive,
                "rejected_response": r.negatives,
            }
        ),
        pads=True,
    ),
    Dialect("sentence-transformers", lines(_columns)),
    Dialect(
        "sentence-transformers labelled list",
        lines(
            lambda at, r, ids: {
                "anchor": r.query,
                "answers": [*r.negatives, r.positive],
                "labels": [*(0 for _ in r.negatives), 1],
            }
        ),
        pads=True,
    ),
    Dialect(
        "sentence-transformers ids",
        lines(
            lambda at, r, ids: {
                "query_id": at,
                "positive_id": ids(r.positive),
                "negative_id": ids(r.negatives[0]),
            }
        ),
        negatives=1,
        ids=True,
    ),
    Dialect("PyLate", lines(_scored), scores=True, ids=True, pads=True),
    Dialect("PyLate", lines(_spelt), scores=False, ids=True, pads=True),
    Dialect("MS MARCO hard negatives", lines(_by_system), ids=True),
    Dialect(
        "MS MARCO triples",
        lines(lambda at, r, ids: f"{r.query}\t{r.positive}\t{r.negatives[0]}", "triples.tsv"),
        negatives=1,
    ),
    Dialect(
        "MS MARCO id triples",
        lines(
            lambda at, r, ids: f"{at}\t{ids(r.positive)}\t{ids(r.negatives[0])}",
            "qidpidtriples.tsv",
        ),
        negatives=1,
        ids=True,
    ),
    Dialect(
        "MS MARCO id triples",
        lines(
            lambda at, r, ids: f"{at}\t{ids(r.positive)}\t{','.join(ids.all(r.negatives))}",
            "ann_training_data_3",
        ),
        ids=True,
    ),
    Dialect("SimANS", lines(_simans, "train_ce.tsv"), scores=True, ids=True),
    Dialect("TREC run", lines(_run, "train.trec"), scores=True, ids=True),
    Dialect(
        "ranking",
        lines(
            lambda at, r, ids: "\n".join(
                f"{at}\t{ids(t)}\t{s}" for t, s in zip(r.negatives, r.neg_scores(), strict=True)
            ),
            "rank.txt",
        ),
        ids=True,
    ),
]

DIALECTS += LATER

CLEAN = [
    Row("what is red", "a red thing", ["green thing there", "blue thing there"]),
    Row("what is green", "a green thing", ["red dye", "violet dye"]),
    Row("what is blue", "a blue thing", ["amber ink", "black ink"]),
]
