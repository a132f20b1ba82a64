"""Texts that a training file names by id: collections, corpora and queries of any known layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.digest import digest_bytes, digest_file
from ...core.errors import PyriteError
from ...core.store import Manifest
from ...core.tables import TextTable, write_texts
from ..training_row import Record, id_value, text_field
from .format import optional_text
from .layouts import JsonLines, Parquet
from .packed import plain_suffix
from .text_lines import Tabbed

_SCHEMA = 1
_IDS = ("_id", "id", "docid", "document_id", "query_id", "doc_id")
_TEXTS = ("text", "document", "query", "query_text")
_PASSAGES_HEADER = ["id", "text", "title"]


@dataclass(frozen=True, slots=True)
class NamedText:
    """An id, its title ("" without) and its text, with the line from 1."""

    line: int
    id: str
    title: str
    text: str

    @property
    def full(self) -> str:
        """Title and text as a model reads them."""
        return f"{self.title} {self.text}".strip()


def open_texts(paths: Sequence[Path], cache: Path) -> TextTable:
    """Ids and texts of files, mapped from `cache`, where they are converted at the first use.

    JSON lines or parquet with an id and a text, `pid<TAB>text`, MS MARCO documents with four
    fields, or DPR's passages with a header. Empty texts stay; in memory are the ids. Raises
    PyriteError for a malformed line or an id that stands twice.
    """
    for path in paths:
        if not path.is_file():
            raise PyriteError(
                f"{path}: no such file of texts; name one with --corpus and --queries"
            )
    digests = (digest_file(path).encode() for path in paths)
    key = digest_bytes(b"named texts", str(_SCHEMA).encode(), *digests)
    where = ", ".join(map(str, paths))
    folder = cache / "texts" / key
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.intact(folder):
        count = write_texts(
            folder / "texts.arrow", (row for path in paths for row in named_texts(path))
        )
        # a duplicate id must be found before the artefact exists
        TextTable.open(folder / "texts.arrow", key, where)
        Manifest.write(folder, schema=_SCHEMA, kind="texts", rows=count)
    return TextTable.open(folder / "texts.arrow", key, where)


def named_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts in file order, title before text; raises PyriteError with the line."""
    return ((named.id, named.full) for named in numbered_texts(path))


def numbered_texts(path: Path) -> Iterator[NamedText]:
    """Texts with their lines in file order; raises PyriteError with the line of a fault."""
    suffix = plain_suffix(path)
    if suffix in (".tsv", ".txt"):
        yield from _tabbed(path)
        return
    records = (Parquet() if suffix == ".parquet" else JsonLines()).read(path)
    for line, record in records:
        yield _named(record, line, f"{path}:{line}")


def _named(record: Record, line: int, where: str) -> NamedText:
    key, text = (next((k for k in keys if k in record), keys[0]) for keys in (_IDS, _TEXTS))
    name = id_value(record.get(key), key, where)
    title = optional_text(record, "title", where) or ""
    return NamedText(line, _checked(name, where), title, text_field(record, text, where))


def _tabbed(path: Path) -> Iterator[NamedText]:
    header = False
    for at, (line, record) in enumerate(Tabbed().read(path)):
        fields: list[str] = record["fields"]
        if at == 0 and fields == _PASSAGES_HEADER:
            header = True
            continue
        where = f"{path}:{line}"
        if header and len(fields) == 3:
            title, text = fields[2], fields[1]
        elif not header and len(fields) == 4:
            title, text = fields[2], fields[3]
        elif not header and len(fields) == 2:
            title, text = "", fields[1]
        else:
            raise PyriteError(
                f"{where}: {len(fields)} tab-separated fields; expected id and text, or docid,"
                " url, title and body, or the header id, text, title and its three fields"
            )
        yield NamedText(line, _checked(fields[0], where), title, text.strip())


def _checked(name: str | None, where: str) -> str:
    if not name or "\0" in name:
        raise PyriteError(f"{where}: empty or unprintable id; every text needs one")
    return name
