"""The verb `convert`: training files, judged sets, texts, judgements and runs in another format.

Everything is streamed; a format whose columns depend on all rows costs one reading more. Nothing
appears under the name of the result before all of it is written and synced.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core.errors import PyriteError
from ...core.hub_push import check_token, push
from ...core.hub_set import folder_set, hub_set
from ...core.hub_tables import SCHEME, hub_tables
from ...core.store import publish, scratch_folder, sync_folder, write_bytes
from ..audit import Audit, audit_file
from ..formats.grouped import JsonRun
from ..formats.hub_rows import is_saved
from ..formats.ledger import Ledger
from ..formats.outputs import ALL, JUDGED, OUTPUTS, RUNS, SETS, TEXTS
from ..formats.packed import plain_suffix
from ..formats.registry import layout_of
from ..formats.sets import SetFolder
from ..formats.sources import Sources
from ..training_file import holds_rows
from .card import CARD, Made, card_of
from .plain_out import judgements_to_file, run_to_file, texts_to_file
from .rows_out import RowsOut, Written
from .sets_out import set_to_folder
from .source import Rows, open_rows

logger = logging.getLogger(__name__)

_LINES = (".trec", ".run", ".res", ".tsv", ".txt")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What a conversion is asked for besides its input and its output.

    `split` is that of a set or a Hugging Face dataset that is read, and of the judgements that are
    written; `config` names one of several of the latter; `wanted` the input's format in place of
    the guess. `negatives` is the number in a format of fixed width, by default the commonest. A
    `strict` conversion refuses what would be lost. `push_to_hub` is a repository's name.
    """

    sources: Sources = field(default_factory=Sources)
    wanted: str | None = None
    config: str | None = None
    split: str = "train"
    negatives: int | None = None
    strict: bool = False
    push_to_hub: str | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished conversion: what the input was read as, and what was lost and made on the way."""

    path: str
    out: Path
    format: str
    to: str
    rows: int
    records: int
    lost: dict[str, int]
    made: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "path": self.path,
            "out": str(self.out),
            "format": self.format,
            "to": self.to,
            "rows": self.rows,
            "records": self.records,
            "lost": self.lost,
            "made": self.made,
        }


def convert(
    path: str | Path, out: Path, to: str, options: ConvertOptions | None = None
) -> Converted:
    """Write the file, folder or `hf://datasets/NAME` at `path` to `out` in the format `to`.

    A name without a suffix is a folder, which gets a card and the texts of ids; with one it is a
    file, packed if it ends in `.gz` or `.zst`. Raises PyriteError if `out` exists, for a malformed
    input with file and line, and before anything is read for options that do not fit.
    """
    chosen, place = options or ConvertOptions(), str(path)
    _check(out, to, chosen)
    ledger = Ledger(place, f"--to {to}", chosen.strict)
    if to in TEXTS or to in JUDGED or _is_run(place, to):
        return _plain(Path(place), out, to, ledger)
    found = _judged_set(place, chosen)
    ledger.source = found or place
    if to in SETS and found is not None and _is_set(Path(found)):
        done = _set(Path(found), out, to, ledger, chosen)
    else:
        done = _rows(found or place, out, to, ledger, chosen)
    return replace(done, path=place)


def _judged_set(place: str, options: ConvertOptions) -> str | None:
    """The folder of a judged set: `place`, or a BEIR folder made of its Hugging Face tables."""
    cache = options.sources.cache
    if place.startswith(SCHEME):
        names = place.removeprefix(SCHEME).strip("/").split("/")
        part = len(names) > 2 or hub_tables("/".join(names)).is_set
        chosen = "/".join([place.rstrip("/"), *filter(None, [options.config])])
        return str(hub_set(chosen, cache)) if part else None
    folder = Path(place)
    if not folder.is_dir() or holds_rows(folder) or is_saved(folder) or _is_set(folder):
        return place
    return str(folder_set(folder, cache) or folder)


def _check(out: Path, to: str, options: ConvertOptions) -> None:
    if to not in ALL:
        raise PyriteError(f"--to {to}: no such format; one of {', '.join(ALL)}")
    if out.exists():
        raise PyriteError(f"{out}: exists and is never overwritten; name another file or folder")
    if options.negatives is not None and not (to in OUTPUTS and OUTPUTS[to].target.needs_shape):
        raise PyriteError(f"--negatives={options.negatives} is for --to st alone; leave it out")
    if options.push_to_hub is not None:
        if plain_suffix(out):
            raise PyriteError(
                f"--push-to-hub {options.push_to_hub}: {out} is a file; name a folder, which gets"
                " a card, to push"
            )
        check_token(f"--push-to-hub {options.push_to_hub}", "leave it out")


def _is_run(path: str, to: str) -> bool:
    """Whether ranked lines are asked for as ranked lines, whose texts nobody needs."""
    if to not in RUNS:
        return False
    file = Path(path)
    if to not in OUTPUTS or not file.is_file():
        return to not in OUTPUTS
    scores = plain_suffix(file) == ".json" and isinstance(layout_of(file), JsonRun)
    return scores or plain_suffix(file) in _LINES


def _is_set(folder: Path) -> bool:
    if not folder.is_dir() or holds_rows(folder):
        return False
    files = SetFolder.find(folder)
    return bool(files.corpus and files.queries and files.qrels)


def _plain(path: Path, out: Path, to: str, ledger: Ledger) -> Converted:
    if not path.is_file():
        raise PyriteError(f"{path}: no such file; --to {to} takes one file")
    if not plain_suffix(out):
        raise PyriteError(f"{out}: --to {to} makes one file; give its name a suffix")
    if to in TEXTS:
        written, what = texts_to_file(path, to, out, ledger), "texts by id"
    elif to in JUDGED:
        written, what = judgements_to_file(path, to, out, ledger), "judgements"
    else:
        written, what = run_to_file(path, to, out, ledger), "ranked documents"
    return _done(str(path), out, what, to, written, ledger)


def _set(folder: Path, out: Path, to: str, ledger: Ledger, options: ConvertOptions) -> Converted:
    files = SetFolder.find(folder)
    if plain_suffix(out):
        raise PyriteError(f"{out}: --to {to} makes a folder; give its name no suffix")
    with scratch_folder(out) as scratch:
        written = set_to_folder(files, to, scratch, ledger)
        done = _done(str(folder), out, f"{files.name} set", to, written, ledger)
        _publish(scratch, out, Made(folder, done.format, to, done), options)
    return done


def _rows(path: str, out: Path, to: str, ledger: Ledger, options: ConvertOptions) -> Converted:
    rows = open_rows(path, options.sources, options.wanted, options.config, options.split)
    logger.info("%s", rows.sentence())
    ledger.source = str(rows.path)
    conversion = RowsOut.of(rows, to, ledger, options.negatives, options.split)
    if plain_suffix(out):
        if to in SETS and to != "msmarco":
            raise PyriteError(f"{out}: --to {to} makes a folder; give its name no suffix")
        written = conversion.to_file(out)
        return _done(path, out, rows.format, to, written, ledger)
    with scratch_folder(out) as scratch:
        written = conversion.to_folder(scratch, out.name)
        done = _done(path, out, rows.format, to, written, ledger)
        made = Made(rows.path, rows.format, to, done, _audited(rows))
        _publish(scratch, out, made, options)
    return done


def _audited(rows: Rows) -> Audit | None:
    """The findings in the input; a dataset that is no file is not read for them again."""
    return None if rows.file is None or not rows.path.is_file() else audit_file(rows.file)


def _done(path: str, out: Path, what: str, to: str, written: Written, ledger: Ledger) -> Converted:
    counts = (dict(sorted(counted.items())) for counted in (ledger.lost, ledger.made))
    return Converted(path, out, what, to, written.rows, written.records, *counts)


def _publish(scratch: Path, out: Path, made: Made, options: ConvertOptions) -> None:
    """Give the folder its card and its name; push it if that was asked for."""
    write_bytes(scratch / CARD, card_of(scratch, made).encode())
    for folder in (*(p for p in scratch.rglob("*") if p.is_dir()), scratch):
        sync_folder(folder)
    publish(scratch, out)
    repository = options.push_to_hub
    if repository is not None:
        knob = f"--push-to-hub {repository}"
        push(out, repository, "dataset", knob, "upload it from there")
