"""The README of a converted data set: what was mined from what, and what is known to be amiss.

No text of the data is in it; names and settings are quoted so that none can act as Markdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ...core.digest import digest_file
from ...core.hub_tables import SCHEME
from ...core.markdown import bullets, fenced, quoted
from ...core.store import Manifest, listing
from ..audit import Audit
from ..audit_checks import Check
from ..formats.outputs import SETS
from ..formats.packed import plain_suffix
from ..negatives_file import FILE as NEGATIVES

if TYPE_CHECKING:
    from .convert import Converted

CARD = "README.md"
# files of objects that are no rows
_NO_TABLES = ("merlin_metadata.json", "counts.json", "offsets.json.gz", "hard.json")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_SIZES_ABOVE = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))
# what of a run's configuration decides which negatives come out
_SETTINGS = ("filters", "sampler", "seed")
_ENCODER = ("max_length", "query_prompt", "document_prompt", "normalize")
_IDS_ALONE = (
    "## The rows\n\n"
    f"`{NEGATIVES}` has a row for each query: ids of the query and of its negatives, with scores,"
    " ranks, probabilities and sources. Texts and positives are those of the dataset. `pyrite"
    " convert RUN OUT --to st` writes whole rows for a trainer, with a card that holds the findings"
    " of an audit and the way to the hub. These negatives themselves were not audited: `pyrite"
    " audit RUN` does that."
)
_LIMITS = (
    "- A negative is a document that nobody has judged relevant; some are false negatives.\n"
    "- The audit finds what texts and ids betray: an unlabelled relevant document with words of its"
    " own passes it.\n"
    "- The texts keep the licence and the faults of the data they come from."
)


@dataclass(frozen=True, slots=True)
class Made:
    """What a card is about: the input, its format, the result's, counts, findings in the input."""

    source: Path
    format: str
    to: str
    done: Converted
    audit: Audit | None = None


def card_of(folder: Path, made: Made) -> str:
    """The card of the files in `folder`: front matter of the hub, then sections."""
    from huggingface_hub import DatasetCardData

    run = _run_of(made.source)
    data = DatasetCardData(
        task_categories=["text-retrieval", "sentence-similarity"],
        tags=["hard-negatives", "dense-retrieval", "pyrite"],
        size_categories=[_size(made.done.records)],
        configs=_configs(folder, made.to),
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {made.to}, written by Pyrite",
        _origin(made, run),
        _counts(made.done),
        _findings(made.audit),
        _files(folder),
        f"## Limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def card_of_run(folder: Path, run: dict[str, Any]) -> str:
    """The card of negatives in `folder`, by the fields of their manifest; the same run, the same.

    The files hold ids: what loads them alone is Pyrite, and `pyrite convert` writes the texts.
    """
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        task_categories=["text-retrieval", "sentence-similarity"],
        tags=["hard-negatives", "dense-retrieval", "pyrite"],
        size_categories=[_size(run["counts"]["queries"])],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": NEGATIVES}],
            }
        ],
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {quoted(str(run['config']['name']))}, hard negatives mined by Pyrite",
        _mined({}, run),
        _IDS_ALONE,
        _files(folder),
        f"## Limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(parts) + "\n"


def _run_of(source: Path) -> dict[str, Any] | None:
    """The manifest of the run that a file of negatives belongs to."""
    home = source if source.is_dir() else source.parent
    manifest = Manifest.read(home)
    is_run = manifest is not None and manifest.data.get("kind") == "negatives"
    return manifest.data if manifest is not None and is_run else None


def _size(rows: int) -> str:
    known = (*_SIZES, *_SIZES_ABOVE)
    return next((name for limit, name in known if rows < limit), "100M<n<1B")


def _configs(folder: Path, to: str) -> list[dict[str, Any]]:
    """The tables that `datasets.load_dataset(folder, name)` finds.

    Judgements have a split for each file; texts have the names that BEIR's and PyLate's have.
    """
    tables: dict[str, list[dict[str, str]]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        rows = plain_suffix(path) in (".jsonl", ".json", ".parquet")
        if not rows or path.name in _NO_TABLES:
            continue
        table = name.partition("/")[0].partition(".")[0]
        part = path.stem if table == "qrels" else table if to in SETS else "train"
        tables.setdefault(table, []).append({"split": _word(part), "path": name})
    found = []
    for table, files in tables.items():
        alone = len(tables) == 1
        name = "default" if alone or table == "qrels" else table
        main = {"default": True} if table == "train" and not alone else {}
        found.append({"config_name": name, **main, "data_files": files})
    return found


def _word(split: str) -> str:
    """A split's name as the hub allows it."""
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in split)


def _origin(made: Made, run: dict[str, Any] | None) -> str:
    facts = {"source": made.source.name, "read as": made.format}
    if made.source.is_file():
        facts["digest of the source"] = digest_file(made.source)
    if run is None:
        return "## Where it comes from\n\n" + bullets(facts)
    return _mined(facts, run)


def _mined(facts: dict[str, str], run: dict[str, Any]) -> str:
    """What was mined from what, by the manifest of a run, after other facts."""
    config = run["config"]
    facts = facts | {
        "mined from": _origin_of(config["dataset"]["path"]),
        "split": config["dataset"]["train_split"],
        "digest of the dataset": run["inputs"]["dataset"],
        "model": _unrooted(config["encoder"]["model"]),
        "sampler": _sampler(config["sampler"]),
        "seed": str(run["seed"]),
    }
    counts = {
        key.replace("_", " "): str(value)
        for key, value in run["counts"].items()
        if isinstance(value, int)
    }
    rejected = {k.lower(): v for k, v in run["counts"].get("reasons", {}).items() if v}
    if rejected:
        counts["rejected"] = ", ".join(f"{k} {v}" for k, v in rejected.items())
    # servers and folders of this machine are nobody's business
    settings = {
        "encoder": {name: config["encoder"][name] for name in _ENCODER},
        "retrieve": {name: config["retrieve"][name] for name in ("depth", "fuse")},
        **{name: _unrooted_within(config[name]) for name in _SETTINGS},
    }
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return (
        f"## What was mined from what\n\n{bullets(facts)}\n\n### Counts of the run\n\n"
        f"{bullets(counts)}\n\n### Settings\n\n{fenced(text, 'yaml')}"
    )


def _origin_of(dataset: str) -> str:
    """The address of a set of the hub, or a folder's name without where it lies here."""
    return dataset if dataset.startswith(SCHEME) else Path(dataset).name


def _unrooted(name: str) -> str:
    """The name of a model without the folder it lies in here."""
    return Path(name).name if Path(name).is_absolute() else name


def _unrooted_within(settings: Any) -> Any:
    """Settings whose names of models, functions and files say nothing of this machine's folders."""
    if isinstance(settings, dict):
        return {key: _unrooted_within(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [_unrooted_within(value) for value in settings]
    return _unrooted(settings) if isinstance(settings, str) else settings


def _sampler(settings: dict[str, Any]) -> str:
    return f"{settings.get('name')}, {settings.get('n')} a query"


def _counts(done: Converted) -> str:
    lines = [f"- rows read: {done.rows:,}", f"- records written: {done.records:,}"]
    for title, counts in (("not kept", done.lost), ("made on the way", done.made)):
        lines += [f"- {title}: {quoted(what)} ({count:,})" for what, count in counts.items()]
    return "## What became of the rows\n\n" + "\n".join(lines)


def _findings(audit: Audit | None) -> str:
    if audit is None:
        return "## Audit\n\nThe source was not audited."
    rows = [
        f"| {check.severity} | {check.value} | {audit.counts[check]:,} |"
        for check in Check
        if audit.counts[check]
    ]
    table = "\n".join(["| severity | finding | count |", "|---|---|---:|", *rows])
    found = table if rows else "Nothing was found."
    return (
        f"## Audit of the source\n\n{audit.rows:,} rows, {audit.positives:,} positives,"
        f" {audit.negatives:,} negatives.\n\n{found}"
    )


def _files(folder: Path) -> str:
    rows = [
        f"| {quoted(name)} | {entry['bytes']:,} | {entry['digest']} |"
        for name, entry in listing(folder).items()
        if name != CARD
    ]
    return "\n".join(["## Files", "", "| file | bytes | digest |", "|---|---:|---|", *rows])
