"""Files of texts and of judgements: how a line of each is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..training_row import Record
from .ledger import Ledger
from .texts import NamedText

# an id, a title, a text, and the fields besides
Render = Callable[[str, str, str, Record], Record]


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of ids and texts: its name in a folder and the record of a text.

    A record with `fields` is a line of them, without tabs and line breaks; `extras` says whether it
    holds what is said of a text besides, `known` which fields of that it does, `ids` whether it
    holds its id. `quoted` is for fields that may hold anything.
    """

    name: str
    render: Render
    titles: bool = False
    extras: bool = False
    header: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    ids: bool = True
    quoted: bool = False

    @property
    def flat(self) -> bool:
        """Whether it has lines of fields that no tab may part."""
        return self.name.endswith(".tsv")

    def record(self, ledger: Ledger, text: NamedText) -> Record:
        """The record of a text; what it cannot hold is counted.

        Raises PyriteError for an id that would part a line of fields.
        """
        ledger.lose("id of a text", text.line, not (self.ids or text.made))
        title, body = text.title, text.text
        if title and not self.titles:
            ledger.lose("title apart from its text", text.line)
            title, body = "", text.full
        if self.flat:
            ledger.word(text.id, "text", text.line, "\t\n\r")
            title = ledger.flat(title, "title", text.line)
            body = ledger.flat(body, "text", text.line)
        kept = {key: v for key, v in text.extra.items() if self.extras or key in self.known}
        ledger.extras(text.extra.keys() - kept.keys(), text.line, " of a text")
        return self.render(text.id, title, body, kept)


@dataclass(frozen=True, slots=True)
class QrelsFile:
    """A file of judgements: its name with `{split}`, and the record of a judgement."""

    name: str
    render: Callable[[str, str, int], Record]
    header: tuple[str, ...] = ()
    # ids are separated by any white space, not by tabs alone
    blanks: bool = True


def line_of(record: Record) -> bytes:
    """A record as one line: fields with tabs between, or an object."""
    if "fields" in record:
        return ("\t".join(record["fields"]) + "\n").encode()
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _named(key: str, titled: bool, text: str = "text") -> Render:
    def render(name: str, title: str, body: str, extra: Record) -> Record:
        headed: dict[str, Any] = {"title": title} if titled else {}
        return {key: name, **headed, text: body, **extra}

    return render


def _fields(name: str, title: str, text: str, extra: Record) -> Record:
    return {"fields": [name, text]}


def _beir(query: str, document: str, grade: int) -> Record:
    return {"fields": [query, document, str(grade)]}


def _marco(query: str, document: str, grade: int) -> Record:
    return {"fields": [query, "0", document, str(grade)]}


def _table(query: str, document: str, grade: int) -> Record:
    return {"query-id": query, "corpus-id": document, "score": grade}


BEIR_CORPUS = TextFile("corpus.jsonl", _named("_id", True), titles=True, extras=True)
BEIR_QUERIES = TextFile("queries.jsonl", _named("_id", False), extras=True)
MTEB_CORPUS = TextFile("corpus/corpus.jsonl", _named("_id", True), titles=True, extras=True)
MTEB_QUERIES = TextFile("queries/queries.jsonl", _named("_id", False), extras=True)
TEVATRON_CORPUS = TextFile("corpus.jsonl", _named("docid", True), titles=True, extras=True)
# a lookup table has one id and one value
PYLATE_DOCUMENTS = TextFile("documents.jsonl", _named("document_id", False))
PYLATE_QUERIES = TextFile("queries.jsonl", _named("query_id", False))
NEMO_CORPUS = TextFile("corpus/train.jsonl", _named("id", False))
COLLECTION = TextFile("collection.tsv", _fields)
MARCO_QUERIES = TextFile("queries.train.tsv", _fields)
MARCO_DOCS = TextFile(
    "msmarco-docs.tsv",
    lambda name, title, text, extra: {"fields": [name, str(extra.get("url", "")), title, text]},
    titles=True,
    known=("url",),
)
PASSAGES = TextFile(
    "psgs_w100.tsv",
    lambda name, title, text, extra: {"fields": [name, text, title]},
    titles=True,
    header=("id", "text", "title"),
)
# FlagEmbedding's candidate pool
POOL = TextFile("candidate_pool.jsonl", lambda name, title, text, extra: {"text": text}, ids=False)
TEVATRON_QUERIES = TextFile("queries.jsonl", _named("query_id", False, "query"), extras=True)
DPR_QUESTIONS = TextFile(
    "questions.qa.csv",
    lambda name, title, text, extra: {"fields": [text, repr(extra.get("answers", []))]},
    known=("answers",),
    ids=False,
    quoted=True,
)
JANSOWA_CORPUS = TextFile("corpus.jsonl", _named("id", False))
JANSOWA_QUERIES = TextFile("queries.jsonl", _named("id", False))
BEIR_QRELS = QrelsFile("qrels/{split}.tsv", _beir, ("query-id", "corpus-id", "score"), False)
MTEB_QRELS = QrelsFile("qrels/{split}.jsonl", _table)
JANSOWA_RELEVANT = QrelsFile(
    "relevant.jsonl", lambda query, document, grade: {"query_id": query, "document_id": document}
)
MARCO_QRELS = QrelsFile("qrels.{split}.tsv", _marco)
TREC_QRELS = QrelsFile("qrels.trec", _marco)
