"""Lexical retrieval: BM25 indexes behind one protocol, built once and kept by content key.

Both backends score with Lucene's form of BM25,

    sum over terms t:  count_q(t) * idf(t) * tf / (tf + k1 * (1 - b + b * |d| / avgdl))
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

that is, without the factor k1 + 1 of the textbook, which changes no rank. Defaults k1 = 0.9 and
b = 0.4 are those of Anserini. See Kamphuis et al., "Which BM25 do you mean?", ECIR 2020.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pydantic import Field, model_validator

from ..core.config import Section
from ..core.digest import digest_json
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.store import Manifest, discard, publish, scratch_folder, sync_folder
from ..core.tables import TextTable

if TYPE_CHECKING:
    from .bm25s_index import Bm25sIndex
    from .lucene_index import LuceneIndex

logger = logging.getLogger(__name__)

SCHEMA = 1
MAX_QUERY_TERMS = 1024  # Lucene's own limit of clauses in one query

StemmerName = Literal[
    "none",
    "english",
    "porter",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
]
StopwordsName = Literal[
    "none",
    "english",
    "english_plus",
    "chinese",
    "danish",
    "dutch",
    "french",
    "german",
    "italian",
    "korean",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]


class LexicalIndex(Protocol):
    """Search by shared terms; every backend gives the same total order.

    `search` takes B query texts and gives ids int64 [B, k] (corpus rows) and scores float32
    [B, k], by score descending and then document id ascending. A document that shares no term
    with the query is no candidate: rows with fewer than k candidates are padded with -1 and -inf.
    Of a query's terms the first 1,024 different ones count, each as often as it occurs. Raises
    PyriteError if k is over the corpus size. `memory_bytes` bounds one `search` in bytes, beside
    the mapped index and the texts themselves.
    """

    def __len__(self) -> int: ...

    def search(self, texts: Sequence[str], k: int) -> tuple[I64, F32]: ...

    def memory_bytes(self, batch: int, k: int) -> int: ...


class LexicalConfig(Section):
    """Which BM25, and how texts become terms."""

    backend: Literal["bm25s", "lucene"] = Field(
        "bm25s", description="`lucene` needs the extra of that name"
    )
    k1: float = Field(0.9, ge=0, description="how slowly repeated terms saturate; 0: not counted")
    b: float = Field(0.4, ge=0, le=1, description="how far long documents are discounted")
    stemmer: StemmerName = Field(
        "english", description="a Snowball algorithm or `none`; in Lucene `english` is Porter's"
    )
    stopwords: StopwordsName = Field("english", description="words left out, or `none`")

    @model_validator(mode="after")
    def _lucene_speaks_english(self) -> Self:
        if self.backend == "lucene":
            if self.stemmer not in ("none", "english", "porter"):
                raise ValueError(
                    f"lexical.stemmer={self.stemmer} is not in Lucene's English analysis; choose"
                    " none, english or porter, or lexical.backend=bm25s"
                )
            if self.stopwords not in ("none", "english"):
                raise ValueError(
                    f"lexical.stopwords={self.stopwords} is not in Lucene's English analysis;"
                    " choose none or english, or lexical.backend=bm25s"
                )
        return self


def open_lexical(
    config: LexicalConfig, table: TextTable, cache: Path, threads: int = 0
) -> LexicalIndex:
    """Open the index of `table` below `cache/lexical/<key>`, building it if it is not intact.

    `threads` (0: one for each core) is how many Lucene uses to build and to search; it changes no
    result. Raises PyriteError if the corpus has no term, MissingExtraError without the extra.
    """
    backend = _backend(config)
    folder = cache / "lexical" / lexical_key(config, table)
    workers = threads or os.cpu_count() or 1
    if not _complete(folder):
        _build(backend, folder, config, table, workers)
    return backend(folder, config, table, workers)


def lexical_key(config: LexicalConfig, table: TextTable) -> str:
    """Digest of the texts, the settings and the versions of what cuts texts into terms."""
    return digest_json(
        {
            "schema": SCHEMA,
            "corpus": table.digest,
            "analysis": _backend(config).identity(),
            **config.model_dump(mode="json"),
        }
    )


def _backend(config: LexicalConfig) -> type[Bm25sIndex] | type[LuceneIndex]:
    # imported on demand: one backend's libraries must not be needed by the other
    if config.backend == "lucene":
        from .lucene_index import LuceneIndex

        return LuceneIndex
    from .bm25s_index import Bm25sIndex

    return Bm25sIndex


def _build(
    backend: type[Bm25sIndex] | type[LuceneIndex],
    folder: Path,
    config: LexicalConfig,
    table: TextTable,
    workers: int,
) -> None:
    """Build beside `folder`, then rename: two builds at once cannot mix their files."""
    logger.info("%s: building the %s index", table.where, config.backend)
    with scratch_folder(folder) as scratch:
        backend.build(scratch, config, table, workers)
        _sync(scratch)
        Manifest.write(
            scratch,
            schema=SCHEMA,
            kind="lexical",
            settings=config.model_dump(mode="json"),
            analysis=backend.identity(),
            rows=len(table),
        )
        if not _complete(folder):
            discard(folder)
            shutil.rmtree(folder, ignore_errors=True)
            publish(scratch, folder)


def _complete(folder: Path) -> bool:
    try:
        manifest = Manifest.read(folder)
    except PyriteError as error:
        logger.warning("%s: building again", error)
        return False
    if manifest is not None and not manifest.intact(folder):
        logger.warning("%s does not match its manifest: building again", folder)
        return False
    return manifest is not None


def _sync(folder: Path) -> None:
    """Make files durable that a library wrote."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def count_terms(terms: Iterable[str]) -> dict[str, int]:
    """How often each of the first 1,024 different terms of a query occurs."""
    counts = Counter(terms)  # in the order of the first occurrence
    return dict(list(counts.items())[:MAX_QUERY_TERMS])


def check_depth(k: int, documents: int) -> None:
    """Raise PyriteError unless 1 <= k <= documents."""
    if not 1 <= k <= documents:
        raise PyriteError(
            f"k={k} but the corpus has {documents} documents; set retrieve.depth to at least 1 and"
            f" at most {documents}"
        )
