"""The embedded dataset: Python's own standard library as code search, in BEIR layout.

A query is the first paragraph of a docstring; its relevant documents are the functions and
classes that carry that paragraph, with the docstring removed. Modules are split into train, dev
and test by a digest of their file name, so no file is in two splits. A paragraph that occurs in
files of different splits is left out, and counted: it would leak test queries into training.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .beir import write_beir
from .digest import digest_texts, u64
from .errors import PyriteError
from .store import Manifest
from .text import normalise

SCHEMA = 1
SPLITS = ("train", "train", "train", "train", "train", "train", "train", "dev", "test", "test")
_SKIPPED_FOLDERS = {"site-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3"}
_MIN_QUERY_WORDS = 3
_MIN_DOCUMENT_LINES = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """One documented definition: `document` is its source without the docstring."""

    file: str
    name: str
    line: int
    query: str
    document: str

    @property
    def doc_id(self) -> str:
        return f"{self.file}:{self.name}:{self.line}"


def split_of(file: str) -> str:
    """The split of a library file, `train`, `dev` or `test`: a function of its name alone."""
    return SPLITS[u64(file) % len(SPLITS)]


def library_files(root: Path) -> list[Path]:
    """The library's Python files below `root`, without its tests, in path order."""
    files = (p for p in root.rglob("*.py") if not _SKIPPED_FOLDERS & set(p.relative_to(root).parts))
    return sorted(files, key=lambda p: p.relative_to(root).as_posix())


def definitions(source: str, file: str) -> Iterator[Pair]:
    """Each function, method and class of `source` with a usable docstring, in source order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = ast.parse(source)
    yield from _walk(tree, file, "")


def _walk(node: ast.AST, file: str, prefix: str) -> Iterator[Pair]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            # the children first: taking the docstring out changes the node
            yield from _walk(child, file, f"{name}.")
            pair = _pair(child, file, name)
            if pair is not None:
                yield pair
        elif not isinstance(child, ast.expr):
            yield from _walk(child, file, prefix)


def _pair(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, file: str, name: str
) -> Pair | None:
    docstring = ast.get_docstring(node)
    if not docstring:
        return None
    query = " ".join(docstring.split("\n\n")[0].split())
    node.body = node.body[1:] or [ast.Pass()]
    document = ast.unparse(node)
    if len(query.split()) < _MIN_QUERY_WORDS or document.count("\n") + 1 < _MIN_DOCUMENT_LINES:
        return None
    return Pair(file, name, node.lineno, query, document)


def collect(root: Path) -> tuple[list[Pair], int]:
    """All pairs below `root`, and the number of files that this Python could not parse."""
    pairs: list[Pair] = []
    unparsed = 0
    for path in library_files(root):
        file = path.relative_to(root).as_posix()
        try:
            pairs.extend(definitions(path.read_text(encoding="utf-8"), file))
        except (SyntaxError, UnicodeDecodeError):
            unparsed += 1
    return pairs, unparsed


def limit_by_file(pairs: list[Pair], max_documents: int | None) -> list[Pair]:
    """Whole files in digest order until `max_documents` documents are reached (all if None)."""
    if max_documents is None or len(pairs) <= max_documents:
        return pairs
    by_file: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_file[pair.file].append(pair)
    kept: set[str] = set()
    count = 0
    for file in sorted(by_file, key=lambda f: (u64(f, salt="limit"), f)):
        if count + len(by_file[file]) > max_documents:
            continue
        kept.add(file)
        count += len(by_file[file])
    return [p for p in pairs if p.file in kept]


def build(folder: Path, max_documents: int | None = None, root: Path | None = None) -> Manifest:
    """Write the dataset to `folder` in BEIR layout, manifest last; keep it if it is complete.

    Raises PyriteError if this Python has no library source to read.
    """
    done = Manifest.read(folder)
    root = root or Path(sysconfig.get_paths()["stdlib"])
    pairs, unparsed = collect(root)
    if not pairs:
        raise PyriteError(
            f"{root}: no documented Python source found; this Python ships its standard library"
            " without source, so point dataset.path at a BEIR folder instead"
        )
    pairs = limit_by_file(pairs, max_documents)
    if not pairs:
        raise PyriteError(
            f"dataset.max_documents={max_documents}: every library file holds more documents;"
            " raise dataset.max_documents"
        )
    digest = digest_texts(f"{p.doc_id}\0{p.query}\0{p.document}" for p in pairs)
    if done is not None and done.data.get("digest") == digest and done.intact(folder):
        return done
    queries, qrels, leaked = _judgements(pairs)
    write_beir(folder, {p.doc_id: ("", p.document) for p in pairs}, queries, qrels)
    counts = {
        "documents": len(pairs),
        "queries": len(queries),
        "files_not_parsed": unparsed,
        "queries_dropped_in_several_splits": leaked,
        **{f"{split}_pairs": len(rows) for split, rows in qrels.items()},
    }
    return Manifest.write(
        folder, schema=SCHEMA, kind="dataset", digest=digest, counts=counts, name="stdlib"
    )


def _judgements(
    pairs: list[Pair],
) -> tuple[dict[str, str], dict[str, list[tuple[str, str, int]]], int]:
    by_query: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_query[normalise(pair.query)].append(pair)
    queries: dict[str, str] = {}
    qrels: dict[str, list[tuple[str, str, int]]] = {"train": [], "dev": [], "test": []}
    leaked = 0
    for group in by_query.values():
        splits = {split_of(p.file) for p in group}
        if len(splits) > 1:
            leaked += 1
            continue
        query_id = f"q:{group[0].doc_id}"
        queries[query_id] = group[0].query
        qrels[splits.pop()].extend((query_id, p.doc_id, 1) for p in group)
    return queries, qrels, leaked
