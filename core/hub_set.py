"""A judged set from Hugging Face datasets as a BEIR folder, written once into the cache."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from .digest import digest_bytes, digest_file, u64
from .errors import PyriteError
from .hub_tables import SCHEME, Record, Tables, folder_tables, hub_tables, records
from .progress import progress
from .store import atomic_write, publish, scratch_folder

logger = logging.getLogger(__name__)

_IDS = ("_id", "id")
_QUERY = ("query-id", "query_id")
_DOCUMENT = ("corpus-id", "corpus_id")
_HEADER = b"query-id\tcorpus-id\tscore\n"


def hub_set(path: str, cache: Path) -> Path:
    """The BEIR folder of `hf://datasets/OWNER/NAME` or `.../NAME/PART`, fetched at the first use.

    A part is one of several sets in a repository, or a split of its tables. Raises PyriteError if
    the hub cannot be reached, or if there is no judged set.
    """
    names = path.removeprefix(SCHEME).strip("/").split("/")
    if len(names) not in (2, 3) or not all(names):
        raise PyriteError(
            f"dataset.path={path}: expected {SCHEME}OWNER/NAME, or {SCHEME}OWNER/NAME/PART for one"
            " of several sets"
        )
    target = cache / "datasets" / "hub" / names[0] / "--".join(names[1:])
    if not target.is_dir():
        _write(hub_tables("/".join(names[:2])), names[2] if len(names) > 2 else None, target)
    return target


def folder_set(folder: Path, cache: Path) -> Path | None:
    """The BEIR folder of a folder of tables, written anew when a file changes; None if it is none.

    Raises PyriteError with table, split and row of what is malformed.
    """
    tables = folder_tables(folder)
    if tables is None:
        return None
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    names = (f"{p.relative_to(folder).as_posix()}\0{digest_file(p)}".encode() for p in files)
    key = digest_bytes(b"tables", *names)[:16]
    target = cache / "datasets" / "tables" / key / folder.resolve().name
    if not target.is_dir():
        _write(tables, None, target)
    return target


def _write(tables: Tables, part: str | None, target: Path) -> None:
    prefix = tables.prefix(part)
    judged = tables.judgements(prefix)
    if part is not None and f"{part}-" == prefix:
        part = None
    tables.say_unread({f"{prefix}corpus", f"{prefix}queries", judged}, prefix)
    with scratch_folder(target) as scratch:
        for name in ("corpus", "queries"):
            only = _split(tables, prefix + name, part, one=name == "corpus")
            rows = records(tables, prefix + name, only)
            with atomic_write(scratch / f"{name}.jsonl") as handle:
                _texts(handle, rows, f"fetch {name}", titled=name == "corpus")
        only = _split(tables, judged, part, one=False)
        for split in tables.open(judged):
            if only in (None, split):
                with atomic_write(scratch / "qrels" / f"{split}.tsv") as handle:
                    handle.write(_HEADER)
                    handle.writelines(_judgements(records(tables, judged, split)))
        publish(scratch, target)


def _split(tables: Tables, name: str, part: str | None, one: bool) -> str | None:
    """The split that is the `part`; None: all of them, which a corpus cannot have several of."""
    splits = tuple(tables.open(name))
    if part in splits:
        return part
    if part is not None and one:
        found = ", ".join(splits)
        raise PyriteError(f"{tables.where}/{part}: no such set or split; {name} has {found}")
    if one and len(splits) > 1:
        raise PyriteError(
            f"{tables.where}: {name} has the splits {', '.join(splits)}; name one as"
            f" {tables.where}/SPLIT"
        )
    return None


def _texts(handle: IO[bytes], rows: Iterable[tuple[str, Record]], what: str, titled: bool) -> None:
    """Write ids and texts; a query that stands in several splits is written once, and counted."""
    seen: dict[int, int] = {}
    unfit: Counter[str] = Counter()
    again = 0
    with progress(what, None, "texts") as bar:
        for where, record in rows:
            bar.update()
            name = _id(record, _IDS, where)
            made: Record = {"_id": name}
            if titled:
                made["title"] = _text(record, "title", where, default="")
            made["text"] = _text(record, "text", where)
            for field, value in record.items():
                if field not in (*_IDS, *made) and value is not None:
                    if _fits_json(value):
                        made[field] = value
                    else:
                        unfit[field] += 1
            line = json.dumps(made, ensure_ascii=False)
            key, content = u64(name), u64(line)
            if key not in seen:
                seen[key] = content
                handle.write(line.encode() + b"\n")
            elif seen[key] == content:
                again += 1
            else:
                raise PyriteError(f"{where}: id {name!r} stands for another text before; mend it")
    if again:
        logger.warning("%s: %d rows stood there before, with the same id and text", what, again)
    for field, count in unfit.items():
        logger.warning("%s: field %r left out %d times: JSON cannot hold it", what, field, count)


def _fits_json(value: Any) -> bool:
    """Whether a field comes back as it is: not an image, a sound or a date."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _fits_json(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(_fits_json, value))
    return value is None or isinstance(value, str | int | float)


def _judgements(rows: Iterable[tuple[str, Record]]) -> Iterator[bytes]:
    for where, record in rows:
        query, document = (_id(record, keys, where) for keys in (_QUERY, _DOCUMENT))
        value = record.get("score")
        # NanoBEIR lists positives alone
        grade = 1 if value is None else _grade(value, where)
        for name in (query, document):
            if any(letter in name for letter in "\t\n\r"):
                raise PyriteError(f"{where}: id {name!r} holds a tab or line break; rename it")
        yield f"{query}\t{document}\t{grade}\n".encode()


def _grade(value: Any, where: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        raise PyriteError(f"{where}: score {value!r} is not a whole number; mend the row")
    return int(number)


def _id(record: Record, keys: tuple[str, ...], where: str) -> str:
    value = next((record[key] for key in keys if record.get(key) is not None), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise PyriteError(f"{where}: no {keys[0]!r}; every row needs one")
    return value


def _text(record: Record, key: str, where: str, default: str | None = None) -> str:
    value = record.get(key)
    value = default if value is None else value
    if not isinstance(value, str):
        raise PyriteError(f"{where}: field {key!r} is {value!r}; it must be a string")
    return value
