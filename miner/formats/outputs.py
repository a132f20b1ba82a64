"""Every format that is written: its records, its kinds of file, and what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...core.errors import PyriteError
from . import beside, targets_by_id, targets_columns, targets_inline, targets_listed
from .beside import QrelsFile, TextFile
from .grouped import JsonMap
from .layouts import JsonLines, JsonList, Layout, Parquet
from .target import Target
from .text_lines import Ranked, Tabbed

_LINES: Mapping[str, Layout] = {".jsonl": JsonLines(), ".ndjson": JsonLines()}
_OBJECTS: Mapping[str, Layout] = {**_LINES, ".json": JsonList(), ".parquet": Parquet()}
_FIELDS: Mapping[str, Layout] = {".tsv": Tabbed(), ".txt": Tabbed()}
_RUNS: Mapping[str, Layout] = {s: Ranked(6) for s in (".trec", ".run", ".res", ".txt")}


@dataclass(frozen=True, slots=True)
class Output:
    """A format that training rows are written in.

    `main` is the file of rows in a folder, beside which texts and judgements may lie; `layouts` are
    the kinds of file by suffix. A set has its rows' negatives in a run.
    """

    target: type[Target]
    main: str
    layouts: Mapping[str, Layout] = field(default_factory=lambda: _OBJECTS)
    documents: TextFile | None = None
    queries: TextFile | None = None
    qrels: QrelsFile | None = None


_BESIDE_MARCO = (beside.COLLECTION, beside.MARCO_QUERIES, beside.MARCO_QRELS)
_MARCO = Output(targets_by_id.IdTriplesTarget, "qidpidtriples.train.tsv", _FIELDS, *_BESIDE_MARCO)
OUTPUTS: Mapping[str, Output] = {
    "tevatron": Output(targets_inline.TevatronTarget, "train.jsonl"),
    "parquet": Output(targets_inline.TevatronTarget, "train.parquet", {".parquet": Parquet()}),
    "tevatron-teacher": Output(targets_inline.TeacherTarget, "train.jsonl"),
    "tevatron-ids": Output(
        targets_by_id.TevatronIdsTarget, "train.jsonl", documents=beside.TEVATRON_CORPUS
    ),
    "flag": Output(targets_inline.FlagTarget, "train.jsonl"),
    "dpr": Output(targets_inline.DprTarget, "train.json"),
    "nemo": Output(
        targets_by_id.NemoTarget, "train.json", {".json": JsonList()}, beside.NEMO_CORPUS
    ),
    "nemo-inline": Output(targets_inline.NemoInlineTarget, "train.jsonl"),
    "st": Output(targets_columns.TupleTarget, "train.jsonl"),
    "st-triplet": Output(targets_columns.TripletTarget, "train.jsonl"),
    "st-pair": Output(targets_columns.PairTarget, "train.jsonl"),
    "st-list": Output(targets_columns.ListTarget, "train.jsonl"),
    "st-scores": Output(targets_columns.ScoresTarget, "train.jsonl"),
    "st-ids": Output(
        targets_by_id.IdTripletTarget,
        "train.jsonl",
        documents=beside.PYLATE_DOCUMENTS,
        queries=beside.PYLATE_QUERIES,
    ),
    "pylate": Output(
        targets_by_id.PyLateTarget,
        "train.jsonl",
        documents=beside.PYLATE_DOCUMENTS,
        queries=beside.PYLATE_QUERIES,
    ),
    "triples": Output(targets_inline.TriplesTarget, "triples.train.tsv", _FIELDS),
    "contrastors": Output(
        targets_inline.ContrastorsTarget, "shard-00000.jsonl.gz", {".jsonl": JsonLines(ascii=True)}
    ),
    "ms-swift": Output(targets_inline.SwiftTarget, "train.jsonl"),
    "ms-swift-messages": Output(targets_inline.SwiftMessagesTarget, "train.jsonl"),
    "msmarco-hard-negatives": Output(
        targets_by_id.BySystemTarget,
        "train.jsonl",
        documents=beside.COLLECTION,
        queries=beside.MARCO_QUERIES,
    ),
    "ance": Output(
        targets_by_id.AnceTarget, "ann_training_data_0", {**_FIELDS, "": Tabbed()}, *_BESIDE_MARCO
    ),
    "simans": Output(targets_by_id.SimansTarget, "train.tsv", _FIELDS, beside.COLLECTION),
    "star": Output(targets_listed.StarTarget, "hard.json", {".json": JsonMap()}, *_BESIDE_MARCO),
    "top1000": Output(targets_listed.Top1000Target, "top1000.train.tsv", _FIELDS, *_BESIDE_MARCO),
    "lightning-ir": Output(targets_listed.LightningTarget, "train.jsonl", _LINES),
    "tevatron-rerank": Output(
        targets_listed.RerankTarget,
        "train.jsonl",
        _LINES,
        beside.TEVATRON_CORPUS,
        beside.TEVATRON_QUERIES,
        beside.TREC_QRELS,
    ),
    "jansowa": Output(
        targets_listed.JansowaTarget,
        "negatives.parquet",
        {".parquet": Parquet()},
        beside.JANSOWA_CORPUS,
        beside.JANSOWA_QUERIES,
        beside.JANSOWA_RELEVANT,
    ),
    "triples-ids": _MARCO,
    "msmarco": _MARCO,
    "trec": Output(
        targets_listed.RunTarget,
        "run.trec",
        _RUNS,
        beside.BEIR_CORPUS,
        beside.BEIR_QUERIES,
        beside.TREC_QRELS,
    ),
    "beir": Output(
        targets_listed.RunTarget,
        "negatives.trec",
        _RUNS,
        beside.BEIR_CORPUS,
        beside.BEIR_QUERIES,
        beside.BEIR_QRELS,
    ),
    "mteb": Output(
        targets_listed.RunTarget,
        "negatives.trec",
        _RUNS,
        beside.MTEB_CORPUS,
        beside.MTEB_QUERIES,
        beside.MTEB_QRELS,
    ),
}
# texts by id, whichever they are
TEXTS: Mapping[str, TextFile] = {
    "corpus": beside.BEIR_CORPUS,
    "queries": beside.BEIR_QUERIES,
    "collection": beside.COLLECTION,
    "documents": beside.PYLATE_DOCUMENTS,
    "tevatron-corpus": beside.TEVATRON_CORPUS,
    "msmarco-docs": beside.MARCO_DOCS,
    "psgs": beside.PASSAGES,
    "tevatron-queries": beside.TEVATRON_QUERIES,
    "candidate-pool": beside.POOL,
    "dpr-questions": beside.DPR_QUESTIONS,
}
JUDGED: Mapping[str, QrelsFile] = {
    "qrels": beside.BEIR_QRELS,
    "mteb-qrels": beside.MTEB_QRELS,
    "msmarco-qrels": beside.MARCO_QRELS,
    "trec-qrels": beside.TREC_QRELS,
}
SETS = ("beir", "mteb", "msmarco")
RUNS = ("trec", "marco-run", "ranking", "beir-run")
ALL = tuple(dict.fromkeys((*OUTPUTS, *RUNS, *TEXTS, *JUDGED)))


def layout_for(layouts: Mapping[str, Layout], suffix: str, to: str, out: str) -> Layout:
    """The kind of file that a suffix stands for; raises PyriteError for one that is none."""
    if suffix not in layouts:
        raise PyriteError(f"{out}: --to {to} has a name that ends with {' or '.join(layouts)}")
    return layouts[suffix]
