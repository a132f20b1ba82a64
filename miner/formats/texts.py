"""Texts that a training file names by id: collections, corpora and queries of any known layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...core.digest import digest_bytes, digest_file, u64
from ...core.errors import PyriteError
from ...core.ids import DuplicateIdError
from ...core.store import Manifest
from ...core.tables import TextTable, write_titled
from ..training_row import Record, as_text, id_value, rest, text_field
from .by_id import written_list
from .format import optional_text
from .layouts import JsonLines, Parquet
from .packed import plain_suffix
from .text_lines import Questions, Tabbed

_SCHEMA = 2
_IDS = ("_id", "id", "docid", "document_id", "query_id", "doc_id")
_TEXTS = ("text", "document", "query", "query_text")
_PASSAGES_HEADER = ["id", "text", "title"]


@dataclass(frozen=True, slots=True)
class NamedText:
    """An id, its title ("" without), its text, and what else its record says; lines are from 1.

    `made`: the file has no ids, and this one is the hash of what it says.
    """

    line: int
    id: str
    title: str
    text: str
    extra: Record = field(default_factory=dict)
    made: bool = False

    @property
    def full(self) -> str:
        """Title and text as a model reads them."""
        return f"{self.title} {self.text}".strip()


def open_texts(paths: Sequence[Path], cache: Path) -> TextTable:
    """Ids and texts of files, mapped from `cache`, where they are converted at the first use.

    JSON lines or parquet with an id and a text, `pid<TAB>text`, MS MARCO documents with four
    fields, or DPR's passages with a header. `para.title.txt` beside `para.txt` has its titles.
    Titles stand apart. Empty texts stay; in memory are the
    ids. Raises PyriteError with the line of what is malformed or of an id that stands twice.
    """
    for path in paths:
        if not path.is_file():
            raise PyriteError(
                f"{path}: no such file of texts; name one with --corpus and --queries"
            )
    files = (f for path in paths for f in (path, titles_beside(path)) if f is not None)
    digests = (digest_file(path).encode() for path in files)
    key = digest_bytes(b"named texts", str(_SCHEMA).encode(), *digests)
    where = ", ".join(map(str, paths))
    folder = cache / "texts" / key
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.intact(folder):
        named = (named for path in paths for named in numbered_texts(path))
        count = write_titled(
            folder / "texts.arrow", ((one.id, one.text, one.title) for one in named)
        )
        # a duplicate id must be found before the artefact exists
        try:
            TextTable.open(folder / "texts.arrow", key, where)
        except DuplicateIdError as error:
            raise _twice(paths, error) from error
        Manifest.write(folder, schema=_SCHEMA, kind="texts", rows=count)
    return TextTable.open(folder / "texts.arrow", key, where)


def _twice(paths: Sequence[Path], error: DuplicateIdError) -> DuplicateIdError:
    """The error with the file and the lines of both."""
    places = [
        f"{path}:{named.line}"
        for path in paths
        for named in numbered_texts(path)
        if named.id == error.row_id
    ]
    return DuplicateIdError(places[1], error.row_id, f"{places[0]} too")


def named_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts in file order, title before text; raises PyriteError with the line."""
    return ((named.id, named.full) for named in numbered_texts(path))


def numbered_texts(path: Path) -> Iterator[NamedText]:
    """Texts with their lines in file order; raises PyriteError with the line of a fault."""
    suffix = plain_suffix(path)
    titles = titles_beside(path)
    if titles is not None:
        yield from _with_titles(path, titles)
        return
    if suffix in (".tsv", ".txt"):
        yield from _tabbed(path)
        return
    if suffix == ".csv":
        yield from _questions(path)
        return
    pool = False
    records = (Parquet() if suffix == ".parquet" else JsonLines()).read(path)
    for at, (line, record) in enumerate(records):
        # FlagEmbedding's candidate pool has texts and nothing else, in each line
        pool = pool or (at == 0 and record.keys() == {"text"})
        where = f"{path}:{line}"
        yield _of_pool(record, line, where) if pool else _named(record, line, where)


def titles_beside(path: Path) -> Path | None:
    """RocketQA's file of titles, which lies beside that of the texts."""
    head, dot, tail = path.name.partition(".")
    beside = path.with_name(f"{head}.title.{tail}")
    return (
        beside if head == "para" and dot and tail.startswith("txt") and beside.is_file() else None
    )


def _with_titles(path: Path, titles: Path) -> Iterator[NamedText]:
    """Texts of one file with the titles of another, both in the same order."""
    heads = _tabbed(titles)
    for text in _tabbed(path):
        head = next(heads, None)
        if head is None or head.id != text.id:
            found = "ends" if head is None else f"has {head.id!r}"
            raise PyriteError(
                f"{path}:{text.line}: id {text.id!r}, where {titles} {found}; both must have the"
                " same ids in the same order"
            )
        yield replace(text, title=head.text)
    left = next(heads, None)
    if left is not None:
        raise PyriteError(f"{titles}:{left.line}: id {left.id!r} stands after the end of {path}")


def made_id(kind: str, title: str, text: str) -> str:
    """An id for what has none, of its text; digits, so that nothing has to be quoted anywhere."""
    content = u64(f"{title}\0{text}", salt="text out")
    return f"{kind}{content}"


def _of_pool(record: Record, line: int, where: str) -> NamedText:
    text = text_field(record, "text", where)
    if record.keys() != {"text"}:
        raise PyriteError(
            f"{where}: other fields than 'text', unlike the first line; mend the line"
        )
    return NamedText(line, made_id("d", "", text), "", text, made=True)


def _questions(path: Path) -> Iterator[NamedText]:
    for line, record in Questions().read(path):
        where, fields = f"{path}:{line}", record["fields"]
        if len(fields) != 2:
            raise PyriteError(f"{where}: {len(fields)} tab-separated fields, expected 2")
        values = written_list({"answers": fields[1]}, "answers", where)
        answers = [as_text(value, "answers", where) for value in values]
        name = made_id("q", "", fields[0])
        yield NamedText(line, name, "", fields[0], {"answers": answers}, made=True)


def _named(record: Record, line: int, where: str) -> NamedText:
    key, text = (next((k for k in keys if k in record), keys[0]) for keys in (_IDS, _TEXTS))
    name = id_value(record.get(key), key, where)
    title = optional_text(record, "title", where) or ""
    body, extra = text_field(record, text, where), rest(record, (key, "title", text))
    return NamedText(line, _checked(name, where), title, body, extra)


def _tabbed(path: Path) -> Iterator[NamedText]:
    header = False
    for at, (line, record) in enumerate(Tabbed().read(path)):
        fields: list[str] = record["fields"]
        if at == 0 and fields == _PASSAGES_HEADER:
            header = True
            continue
        where, extra = f"{path}:{line}", {}
        if header and len(fields) == 3:
            title, text = fields[2], fields[1]
        elif not header and len(fields) == 4:
            title, text = fields[2], fields[3]
            extra = {"url": fields[1]} if fields[1] else {}
        elif not header and len(fields) == 2:
            title, text = "", fields[1]
        else:
            raise PyriteError(
                f"{where}: {len(fields)} tab-separated fields; expected id and text, or docid,"
                " url, title and body, or the header id, text, title and its three fields"
            )
        yield NamedText(line, _checked(fields[0], where), title, text, extra)


def _checked(name: str | None, where: str) -> str:
    if not name or "\0" in name:
        raise PyriteError(f"{where}: empty or unprintable id; every text needs one")
    return name
