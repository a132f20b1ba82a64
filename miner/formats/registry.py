"""Every format by name, the guess at a file's format, and the kind of file it stands in.

A guess looks at the first record only and is printed; `--format` overrules it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ...core.errors import PyriteError
from ...core.tables import TextTable
from ..training_row import Record
from .columns import Columns
from .dpr import Dpr
from .flag_embedding import FlagEmbedding
from .format import Format
from .grouped import Grouped, JsonMap, JsonRun
from .json_stream import JsonStream
from .labelled import LabelledList, LabelledPair
from .layouts import JsonLines, JsonList, JsonObject, Layout, Parquet
from .listed import Jansowa, Judged, LightningIr, Rerank, Star, Top1000
from .named import BySystem, IdTriplet, NemoById, ScoredList
from .outputs import OUTPUTS, Output
from .packed import plain_suffix
from .plain import CONTRASTORS, MS_SWIFT, NEMO_INLINE, SwiftMessages
from .ranked_rows import RankedRun
from .run import RunFormat
from .sources import Sources
from .tabbed_rows import IdTriple, Simans, TextTriple
from .tevatron import Tevatron, TevatronById, TevatronTeacher
from .text_lines import Ranked, Tabbed, text_lines

# a file's path, its first record, its line, and what the user named beside it
Make = Callable[[Path, Record, str, Sources], Format | None]
_ID = re.compile(r"[A-Za-z]{0,3}\d+")
_JSON = (".jsonl", ".ndjson")
_SAMPLE = 1000
_LISTED = Grouped(JsonLines(), "query_id", "JSON lines by query")
_JANSOWA = Grouped(Parquet(), "query_id", "a parquet file by query")
_LINES = (".tsv", ".txt", ".trec", ".run", ".res")


@dataclass(frozen=True, slots=True)
class Kind:
    """One format: whether a first record looks like it, and how it is made of that record.

    `layout` is for lines whose fields do not tell what they are; None: the file's own. `output` is
    how it is written, if it is.
    """

    fits: Callable[[Record], bool]
    make: Make
    layout: Layout | None = None
    output: Output | None = None


def _has(*keys: str) -> Callable[[Record], bool]:
    return lambda record: all(key in record for key in keys)


def _any(*keys: str) -> Callable[[Record], bool]:
    return lambda record: any(key in record for key in keys)


def _inline(maker: Callable[[], Format]) -> Make:
    return lambda path, record, where, sources: maker()


def _nemo_inline(path: Path, record: Record, where: str, sources: Sources) -> Format:
    return NEMO_INLINE["query" not in record]


def _nemo(path: Path, record: Record, where: str, sources: Sources) -> Format:
    if sources.corpus is None:
        listed = JsonObject().others(path).get("corpus") if plain_suffix(path) == ".json" else None
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict):
            folder = path.parent / str(listed[0].get("path", ""))
            sources = replace(sources, corpus=folder / "train.parquet")
    return NemoById(sources.open_corpus(where))


def _with_queries(maker: Callable[..., Format]) -> Make:
    def make(path: Path, record: Record, where: str, sources: Sources) -> Format:
        return maker(sources.open_corpus(where), sources.open_queries(where))

    return make


def _with_corpus(maker: Callable[..., Format]) -> Make:
    return lambda path, record, where, sources: maker(sources.open_corpus(where))


def _ranked(name: str, document: int, score: int | None) -> Make:
    def make(path: Path, record: Record, where: str, sources: Sources) -> Format:
        corpus, queries = sources.open_corpus(where), sources.open_queries(where)
        qrels = sources.open_qrels(queries, corpus, where)
        return RankedRun(corpus, queries, qrels, name, document, score)

    return make


def _judged(sources: Sources, where: str) -> Judged:
    corpus, queries = sources.open_corpus(where), sources.open_queries(where)
    return Judged(corpus, queries, sources.open_qrels(queries, corpus, where))


def _top1000(path: Path, record: Record, where: str, sources: Sources) -> Format:
    return Top1000(_judged(sources, where))


def _rerank(path: Path, record: Record, where: str, sources: Sources) -> Format:
    return Rerank(_judged(sources, where))


def _lightning(path: Path, record: Record, where: str, sources: Sources) -> Format:
    graded = any("relevance" in row for row in record["rows"])
    return LightningIr(None if graded else _judged(sources, where))


def _listed(maker: Callable[[TextTable, TextTable, Judged], Format]) -> Make:
    def make(path: Path, record: Record, where: str, sources: Sources) -> Format:
        truth = _judged(sources, where)
        return maker(truth.corpus, truth.queries, truth)

    return make


def _rows_have(*keys: str) -> Callable[[Record], bool]:
    return lambda record: "rows" in record and all(key in record["rows"][0] for key in keys)


def _fields(count: int, ids: bool) -> Callable[[Record], bool]:
    def fits(record: Record) -> bool:
        fields = record.get("fields", [])
        return len(fields) == count and ids == all(
            _ID.fullmatch(part) for field in fields[:3] for part in field.split(",")
        )

    return fits


def _lines(width: int) -> Callable[[Record], bool]:
    return lambda record: bool(record.get("lines")) and len(record["lines"][0]) == width


def _is_marco_run(record: Record) -> bool:
    ranks = [fields[2] for fields in record.get("lines", []) if len(fields) == 3]
    return bool(ranks) and ranks == [str(rank) for rank in range(1, len(ranks) + 1)]


def _is_nemo_by_id(record: Record) -> bool:
    values = record.get("pos_doc")
    if "question" not in record or not isinstance(values, list):
        return False
    return "corpus_id" in record or any(isinstance(v, dict) and "id" in v for v in values)


# the first that fits is taken
_KINDS: Mapping[str, Kind] = {
    "pyrite": Kind(
        _has("negative_ids", "query_id"),
        lambda path, record, where, s: RunFormat.open(path, s.titled),
    ),
    "tevatron": Kind(_any("positive_passages", "negative_passages"), _inline(Tevatron)),
    "tevatron-ids": Kind(
        _any("positive_document_ids", "negative_document_ids"), _with_corpus(TevatronById)
    ),
    "tevatron-teacher": Kind(_has("query", "passages"), _inline(TevatronTeacher)),
    "dpr": Kind(_any("positive_ctxs", "hard_negative_ctxs"), _inline(Dpr)),
    "msmarco-hard-negatives": Kind(_has("qid", "pos", "neg"), _with_queries(BySystem)),
    "flag": Kind(_any("pos", "neg"), _inline(FlagEmbedding)),
    "nemo": Kind(_is_nemo_by_id, _nemo),
    "nemo-inline": Kind(_any("pos_doc", "neg_doc"), _nemo_inline),
    "pylate": Kind(_has("query_id", "document_ids"), _with_queries(ScoredList)),
    "st-ids": Kind(_has("query_id", "positive_id", "negative_id"), _with_queries(IdTriplet)),
    "contrastors": Kind(_has("query", "document", "negatives"), _inline(lambda: CONTRASTORS)),
    "ms-swift": Kind(_has("query", "rejected_response"), _inline(lambda: MS_SWIFT)),
    "ms-swift-messages": Kind(_has("messages", "positive_messages"), _inline(SwiftMessages)),
    "st": Kind(
        lambda record: Columns.of(record) is not None, lambda path, r, where, s: Columns.of(r)
    ),
    "st-pair": Kind(
        lambda r: LabelledPair.of(r) is not None, lambda path, r, where, s: LabelledPair.of(r)
    ),
    "st-list": Kind(
        lambda r: LabelledList.of(r) is not None, lambda path, r, where, s: LabelledList.of(r)
    ),
    "beir-run": Kind(_has("scores_by_document"), _ranked("BEIR run", 1, 2), JsonRun()),
    "trec": Kind(_lines(6), _ranked("TREC run", 2, 4), Ranked(6)),
    "marco-run": Kind(_is_marco_run, _ranked("MS MARCO run", 1, None), Ranked(3)),
    "ranking": Kind(_lines(3), _ranked("ranking", 1, 2), Ranked(3)),
    "top1000": Kind(
        _rows_have("fields"), _top1000, Grouped(Tabbed(), 0, "tab-separated passages by query")
    ),
    "lightning-ir": Kind(_rows_have("query", "doc_id", "text"), _lightning, _LISTED),
    "tevatron-rerank": Kind(_rows_have("query", "docid", "text"), _rerank, _LISTED),
    "jansowa": Kind(_rows_have("document_id"), _listed(Jansowa), _JANSOWA),
    "star": Kind(_has("query_id", "hard"), _listed(Star), JsonMap()),
    "triples-ids": Kind(_fields(3, ids=True), _with_queries(IdTriple), Tabbed()),
    "triples": Kind(_fields(3, ids=False), _inline(TextTriple), Tabbed()),
    "simans": Kind(_fields(4, ids=False), _with_corpus(Simans), Tabbed()),
}

FORMATS: Mapping[str, Kind] = {
    name: replace(kind, output=OUTPUTS.get(name)) for name, kind in _KINDS.items()
}


def open_format(
    path: Path, sources: Sources, wanted: str | None = None, given: Layout | None = None
) -> tuple[Format, Layout, str]:
    """The format of a file, the kind of file, and the format's name in `FORMATS`.

    `given` reads what is no file.
    Raises PyriteError if the file has no row, or `wanted` or the first record is of no format here.
    """
    if wanted is not None and wanted not in FORMATS:
        knob = f"{sources.option}format"
        raise PyriteError(f"{knob}={wanted!r}: no such format; one of {', '.join(FORMATS)}")
    layout = given or (FORMATS[wanted].layout if wanted else None) or layout_of(path)
    found = list(islice(layout.read(path), 1))
    if not found:
        raise PyriteError(f"{path}: no rows; at least one is needed")
    line, record = found[0]
    where = f"{path}:{line}"
    name = wanted or guess(record, where)
    made = FORMATS[name].make(path, record, where, sources)
    if made is None:
        knob = f"{sources.option}format={name}"
        raise PyriteError(f"{where}: the first row is not of {knob}; leave it out")
    return made, layout, name


def guess(record: Record, where: str) -> str:
    """The name of the first format that fits; raises PyriteError where none does."""
    name = next((name for name, kind in FORMATS.items() if kind.fits(record)), None)
    if name is None:
        raise PyriteError(
            f"{where}: fields {', '.join(map(repr, record)) or 'none'} are of no format that is"
            " known here; expected query, pos, neg (FlagEmbedding), query, positive_passages,"
            " negative_passages (Tevatron), anchor, positive, negative (sentence-transformers) or"
            f" those of another of --format={', '.join(FORMATS)}"
        )
    return name


def layout_of(path: Path) -> Layout:
    """The kind of a file, by its name or else by its first letter."""
    suffix = plain_suffix(path)
    if suffix == ".parquet":
        return _by_query(Parquet(), path)
    if suffix in _JSON:
        return _by_query(JsonLines(), path)
    stream = JsonStream(path)
    first = "" if suffix in _LINES else stream.peek()
    if first == "[":
        return JsonList()
    if first == "{":
        return _object_of(stream, path)
    return _lines_of(path)


def _by_query(layout: Layout, path: Path) -> Layout:
    """Grouped where the first record is one document of a query."""
    _, first = next(iter(layout.read(path)), (0, {}))
    listed = {"query_id", "query", "text"} <= first.keys()
    if listed and first.keys() & {"doc_id", "docid"}:
        return Grouped(layout, "query_id", f"{layout.kind} by query")
    if {"query_id", "document_id", "retrieval_score"} <= first.keys():
        return Grouped(layout, "query_id", f"{layout.kind} by query")
    return layout


def _object_of(stream: JsonStream, path: Path) -> Layout:
    """One object with the list `data`, with lists or scores by query id, or an object a line."""
    stream.take("{")
    first = True
    while stream.peek() == '"':
        name = stream.value()
        stream.take(":")
        if name == "data":
            return JsonObject() if stream.peek() == "[" else JsonLines()
        if first and _ID.fullmatch(name) and stream.peek() == "[":
            return JsonMap()
        value = stream.value()
        if first and _are_scores(value):
            return JsonRun()
        first = False
        if stream.peek() != ",":
            break
        stream.take(",")
    return _by_query(JsonLines(), path)


def _are_scores(value: object) -> bool:
    """Whether a member is documents with their scores, as a run has for a query."""
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in value.values())


def _lines_of(path: Path) -> Layout:
    first = next((text for _, text in text_lines(path)), "")
    fields = first.split()
    if len(fields) == 6 and _is_number(fields[4]):
        return Ranked(6)
    tabbed = first.split("\t")
    if len(tabbed) == 4 and all(map(_ID.fullmatch, tabbed[:2])):
        return Grouped(Tabbed(), 0, "tab-separated passages by query")
    if len(tabbed) == 3 and _counts_ranks(path):
        return Ranked(3)
    # a whole number could be an id as well: only a score tells a ranking from a triple
    if len(tabbed) == 3 and not _ID.fullmatch(tabbed[2].strip()) and _is_number(tabbed[2]):
        return Ranked(3)
    return Tabbed()


def _counts_ranks(path: Path) -> bool:
    """Whether the third column is 1, 2, ... for each query, as no list of negatives is."""
    query, rank = "", 0
    count = 0
    for _, text in islice(text_lines(path), _SAMPLE):
        fields = text.split("\t")
        rank = rank + 1 if count and fields[0] == query else 1
        if len(fields) != 3 or fields[2].strip() != str(rank):
            return False
        query, count = fields[0], count + 1
    # one line alone may as well be a triple
    return count > 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
