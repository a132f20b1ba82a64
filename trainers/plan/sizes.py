"""How much there is to do: documents, queries and their lengths, of a dataset or as it is said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core import stdlib_dataset
from ...core.beir import check_split
from ...core.dataset import CORPUS, EMBEDDED, DatasetConfig
from ...core.digest import digest_json
from ...core.encoder import Role
from ...core.errors import PyriteError
from ...core.ids import I64
from ...core.store import Manifest
from .line_sample import sample_lines
from .made_texts import made_texts

Lengths = Callable[[list[str], Role], I64]
SAMPLE = 1024
QUERIES = "queries.jsonl"
_QUERY_TOKENS = 32
_TOKEN_BYTES, _ID_BYTES = 4.5, 8.0


@dataclass(frozen=True, slots=True)
class TextFacts:
    """A sample of texts: `tokens_S` int64 [S] ascending and the `texts` in the same order.

    `text_bytes` and `id_bytes` are means in UTF-8.
    """

    tokens_S: I64
    texts: tuple[str, ...]
    text_bytes: float
    id_bytes: float
    longest_id: int

    @property
    def mean_tokens(self) -> float:
        return float(self.tokens_S.mean())


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a run would go through.

    `queries` are mined and have `pairs` positives; `held_out` queries are measured on; `asked` is
    the number of queries in the table, whatever split they are of. `where` is what was counted.
    """

    documents: int
    queries: int
    held_out: int
    asked: int
    pairs: int
    document: TextFacts
    query: TextFacts
    where: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """Sizes that stand in the place of counted ones; None: as counted."""

    documents: int | None = None
    queries: int | None = None
    held_out: int | None = None
    document_tokens: int | None = None
    query_tokens: int | None = None


def dataset_folder(config: DatasetConfig, cache: Path) -> Path | None:
    """The folder of the dataset if it is on this machine; nothing is fetched."""
    if config.path == EMBEDDED:
        key = digest_json({"schema": stdlib_dataset.SCHEMA, "max": config.max_documents})
        folder = cache / "datasets" / f"stdlib-{key[:12]}"
        if Manifest.read(folder) is None:
            stdlib_dataset.build(folder, config.max_documents)
        return folder
    places = (Path(config.path), cache / "datasets" / "beir" / config.path)
    return next((place for place in places if (place / CORPUS).is_file()), None)


def sizes_of(config: DatasetConfig, cache: Path, lengths: Lengths, said: Said, most: int) -> Sizes:
    """Count what is there, and take the rest from `said`; `most` tokens of a text are read.

    Raises PyriteError if the dataset is not on this machine and its sizes are not said.
    """
    folder = dataset_folder(config, cache)
    if folder is None:
        return _as_said(config, lengths, said, most)
    document, documents = _facts(folder / CORPUS, lengths, "document", said.document_tokens)
    query, asked = _facts(folder / QUERIES, lengths, "query", said.query_tokens)
    check_split(folder, config.train_split)
    queries, pairs = count_judged(folder / "qrels" / f"{config.train_split}.tsv", config.min_grade)
    held_path = folder / "qrels" / f"{config.eval_split}.tsv"
    held_out = count_judged(held_path, config.min_grade)[0] if held_path.is_file() else 0
    wanted = said.queries or queries
    return Sizes(
        said.documents or documents,
        wanted,
        held_out if said.held_out is None else said.held_out,
        asked + wanted - queries,
        round(pairs * wanted / max(queries, 1)),
        document,
        query,
        str(folder),
    )


def _as_said(config: DatasetConfig, lengths: Lengths, said: Said, most: int) -> Sizes:
    if said.documents is None or said.queries is None:
        raise PyriteError(
            f"dataset.path={config.path} is not on this machine, so its size is not known; give"
            " --docs and --queries, or set dataset.path to a BEIR folder"
        )
    held_out = said.held_out or 0
    document = _made(lengths, "document", said.document_tokens or most)
    query = _made(lengths, "query", min(said.query_tokens or _QUERY_TOKENS, most))
    asked = said.queries + held_out
    return Sizes(said.documents, said.queries, held_out, asked, said.queries, document, query, None)


def _facts(path: Path, lengths: Lengths, role: Role, tokens: int | None) -> tuple[TextFacts, int]:
    """A sample of the texts of a `.jsonl`, and the number of its lines."""
    if not path.is_file():
        raise PyriteError(f"{path}: no such file; a BEIR folder holds {CORPUS} and {QUERIES}")
    lines, count = sample_lines(path, SAMPLE)
    try:
        rows = [json.loads(line) for line in lines]
        pairs = [(str(r["_id"]), f"{r.get('title') or ''} {r['text']}".strip()) for r in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PyriteError(f"{path}: a line is no object with _id and text ({error!r})") from error
    if not pairs:
        raise PyriteError(f"{path}: no texts; at least one line is needed")
    found = _sampled([text for _, text in pairs], lengths, role)
    ids = [len(name.encode()) for name, _ in pairs]
    facts = TextFacts(*found, float(np.mean(ids)), max(ids))
    if tokens is not None:
        made = _made(lengths, role, tokens)
        facts = TextFacts(
            made.tokens_S, made.texts, made.text_bytes, facts.id_bytes, facts.longest_id
        )
    return facts, count


def _made(lengths: Lengths, role: Role, tokens: int) -> TextFacts:
    texts = made_texts(64, tokens)
    found = _sampled(texts, lengths, role)
    # the words of the sample are short ones
    return TextFacts(
        np.full(len(texts), tokens, dtype=np.int64), found[1], _TOKEN_BYTES * tokens, _ID_BYTES, 16
    )


def _sampled(texts: list[str], lengths: Lengths, role: Role) -> tuple[I64, tuple[str, ...], float]:
    tokens = lengths(texts, role)
    order = np.argsort(tokens, kind="stable")
    size = float(np.mean([len(text.encode("utf-8", "surrogatepass")) for text in texts]))
    return tokens[order], tuple(texts[at] for at in order), size


def count_judged(path: Path, min_grade: int) -> tuple[int, int]:
    """Queries of a qrels file that have a positive, and the number of all positives."""
    counts: Counter[bytes] = Counter()
    with path.open("rb") as handle:
        for line in handle:
            fields = line.rstrip(b"\r\n").split(b"\t")
            if (
                len(fields) == 3
                and fields[2].lstrip(b"-").isdigit()
                and int(fields[2]) >= min_grade
            ):
                counts[fields[0]] += 1
    return len(counts), counts.total()
