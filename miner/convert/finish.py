"""What lies beside the rows in a peer's own kind of file, made once all rows are written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from ...core.store import write_json
from ..formats.layouts import JsonLines, write_parquet
from ..formats.packed import numbered_lines, packing
from ..formats.target import Target
from ..formats.targets_by_id import NemoTarget
from ..formats.targets_inline import ContrastorsTarget
from ..formats.targets_listed import JansowaTarget
from ..training_row import Record
from .durable import durable

_TEXTS = pa.schema([("id", pa.string()), ("text", pa.string())])
_RELEVANT = pa.schema(
    [("query_id", pa.string()), ("document_id", pa.string()), ("positive_ranking", pa.int64())]
)
# the bucket that contrastors' own script takes for granted
_BUCKET = "contrastive"


def finish(target: type[Target], folder: Path, name: str) -> None:
    """Finish the folder of a conversion that will be called `name`."""
    steps: Mapping[type[Target], Callable[[], None]] = {
        NemoTarget: lambda: _nemo(folder),
        JansowaTarget: lambda: _jansowa(folder),
        ContrastorsTarget: lambda: _contrastors(folder, name),
    }
    if target in steps:
        steps[target]()


def _nemo(folder: Path) -> None:
    """The texts as the parquet file that NeMo reads, with its description."""
    home = folder / NemoTarget.CORPUS
    _as_table(home / "train.jsonl", _TEXTS)
    facts = {"class": "TextQADataset", "corpus_id": NemoTarget.CORPUS}
    write_json(home / "merlin_metadata.json", facts)


def _jansowa(folder: Path) -> None:
    """Texts and positives as tables; a positive's place among those of its query is its rank."""
    for name in ("corpus", "queries"):
        _as_table(folder / f"{name}.jsonl", _TEXTS)
    places: Counter[str] = Counter()

    def placed(records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            places[record["query_id"]] += 1
            yield {**record, "positive_ranking": places[record["query_id"]]}

    _as_table(folder / "relevant.jsonl", _RELEVANT, placed)


def _as_table(
    lines: Path,
    schema: pa.Schema,
    change: Callable[[Iterable[Record]], Iterable[Record]] = lambda records: records,
) -> None:
    """JSON lines as the parquet file of the same name."""
    with durable(lines.with_suffix(".parquet")) as handle:
        write_parquet(handle, change(record for _, record in JsonLines().read(lines)), schema)
    lines.unlink()


def _contrastors(folder: Path, name: str) -> None:
    """How many lines a shard has and where each begins, unpacked, under the shard's address."""
    [shard] = folder.glob("shard-*")
    address = f"{_BUCKET}/{name}/{shard.name}"
    count = start = 0
    offsets = folder / "offsets.json.gz"
    with durable(offsets) as handle, packing(handle, offsets) as packed:
        packed.write(f"{{{json.dumps(address)}: {{".encode())
        for _, line in numbered_lines(shard):
            between = ", " if count else ""
            packed.write(f'{between}"{count}": [{start}, {start + len(line)}]'.encode())
            start += len(line)
            count += 1
        packed.write(b"}}\n")
    counts = {"count_per_file": {address: count}, "total_count": count}
    write_json(folder / "counts.json", counts)
