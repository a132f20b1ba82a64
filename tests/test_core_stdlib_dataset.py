from __future__ import annotations

import ast
import json
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from pyrite.core.beir import open_beir
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.errors import PyriteError
from pyrite.core.stdlib_dataset import Pair, build, collect, definitions, limit_by_file, split_of
from pyrite.core.store import MANIFEST

SOURCE = '''
"""The module's own docstring is no query."""
import abc

class Outer(abc.ABC):
    """Outer keeps the apples together.

    More about Outer, with rotten apples.
    """
    size = 3

    def method(self, x):
        """Method peels one single pear."""
        def inner(y):
            """Inner counts all the kernels."""
            z = y + 1
            return z
        return inner(x)

    async def fetch(self):
        """Fetch waits for the plums."""
        await self
        return 2

    class Nested:
        """Nested class of the grapes."""
        value = 1

if abc:
    try:
        @abc.abstractmethod
        def guarded(a, *, b: int = 1) -> int:
            """Guarded is below other
            statements like try."""
            # a comment that goes away
            return a
    except ImportError:
        def fallback():
            """Fallback of the import error."""
            return None

def short():
    """Too short."""
    return 1

def undocumented(x):
    y = x
    return y

def only_docstring(): "Nothing else in this body"
'''

QUERIES = {
    "Outer": "Outer keeps the apples together.",
    "Outer.method": "Method peels one single pear.",
    "Outer.method.inner": "Inner counts all the kernels.",
    "Outer.fetch": "Fetch waits for the plums.",
    "Outer.Nested": "Nested class of the grapes.",
    "guarded": "Guarded is below other statements like try.",
    "fallback": "Fallback of the import error.",
    "only_docstring": "Nothing else in this body",
}


def function(name: str, docstring: str, value: int = 1) -> str:
    return f'def {name}(a):\n    """{docstring}"""\n    return {value}\n\n'


def file_in(split: str, skip: int = 0) -> str:
    names = (f"m{i}.py" for i in range(1000))
    return [name for name in names if split_of(name) == split][skip]


def library(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source, encoding="utf-8")
    return root


def qrels_of(folder: Path) -> dict[str, list[list[str]]]:
    return {
        p.stem: [line.split("\t") for line in p.read_text(encoding="utf-8").splitlines()[1:]]
        for p in (folder / "qrels").glob("*.tsv")
    }


def test_every_kind_of_definition_is_found() -> None:
    pairs = list(definitions(SOURCE, "a.py"))
    assert {p.name: p.query for p in pairs} == QUERIES
    lines = SOURCE.splitlines()
    for pair in pairs:
        assert pair.name.split(".")[-1] in lines[pair.line - 1]
        assert pair.doc_id == f"a.py:{pair.name}:{pair.line}"


def test_no_docstring_occurs_in_a_document() -> None:
    documents = {p.name: p.document for p in definitions(SOURCE, "a.py")}
    for name, document in documents.items():
        for query in QUERIES.values():
            assert query not in document, name
        assert "rotten apples" not in document
        assert '"""' not in document
        ast.parse(document)
    assert documents["Outer"].count("def ") == 3, "the class keeps its methods"
    assert "return z" in documents["Outer"]
    assert documents["Outer.fetch"].startswith("async def fetch(self):")
    assert documents["guarded"].startswith("@abc.abstractmethod")
    assert documents["only_docstring"] == "def only_docstring():\n    pass"


def test_the_split_is_by_file_and_covers_all_three() -> None:
    splits = [split_of(f"m{i}.py") for i in range(1000)]
    assert {s: round(splits.count(s) / 100) for s in set(splits)} == {
        "train": 7,
        "dev": 1,
        "test": 2,
    }
    # the same in every process and on every machine: results are compared across them
    known = ["argparse.py", "asyncio/locks.py", "bisect.py", "heapq.py", "random.py"]
    assert [split_of(file) for file in known] == ["train", "test", "test", "train", "dev"]


def test_nobody_is_in_two_splits_and_straddlers_are_counted(tmp_path: Path) -> None:
    train, test, dev = file_in("train"), file_in("test"), file_in("dev")
    other = file_in("train", 1)
    root = library(
        tmp_path / "lib",
        {
            train: function("a", "Copied into two splits") + function("b", "Lives in train alone"),
            other: function("c", "lives  in TRAIN alone", 2) + function("d", "Also only in train"),
            test: function("e", "copied into two SPLITS", 3) + function("f", "Lives in test alone"),
            dev: function("g", "Lives in dev alone"),
        },
    )
    counts = build(tmp_path / "out", root=root).data["counts"]
    assert counts == {
        "documents": 7,
        "queries": 4,
        "files_not_parsed": 0,
        "queries_dropped_in_several_splits": 1,
        "train_pairs": 3,
        "dev_pairs": 1,
        "test_pairs": 1,
    }
    qrels = qrels_of(tmp_path / "out")
    for split, rows in qrels.items():
        for query, doc, grade in rows:
            assert split_of(query.removeprefix("q:").split(":")[0]) == split
            assert split_of(doc.split(":")[0]) == split
            assert grade == "1"
    queries = [{row[0] for row in rows} for rows in qrels.values()]
    assert sum(map(len, queries)) == len(set.union(*queries)) == 4
    dataset = open_beir(tmp_path / "out", tmp_path / "cache")
    assert not any("opied into" in text for text in dataset.queries.texts(slice(None)))
    assert len(dataset.corpus) == 7, "the documents of a dropped query stay in the corpus"
    train_qrels = dataset.qrels("train")
    assert sorted(np.diff(train_qrels.indptr).tolist()) == [0, 0, 1, 2]


def test_building_twice_is_a_no_op(tmp_path: Path) -> None:
    root = library(tmp_path / "lib", {"a.py": function("a", "One two three")})
    first = build(tmp_path / "out", root=root)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert build(tmp_path / "out", root=root) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == stamps


def test_a_changed_library_or_a_damaged_file_is_built_again(tmp_path: Path) -> None:
    root = library(tmp_path / "lib", {"a.py": function("a", "One two three")})
    first = build(tmp_path / "out", root=root)
    corpus = tmp_path / "out" / "corpus.jsonl"
    good = corpus.read_bytes()
    corpus.write_bytes(good.replace(b"return", b"retour"))
    assert build(tmp_path / "out", root=root) == first
    assert corpus.read_bytes() == good
    library(root, {"a.py": function("a", "One two three", value=2)})
    assert build(tmp_path / "out", root=root).data["digest"] != first.data["digest"]
    assert b"return 2" in corpus.read_bytes()


def test_what_does_not_parse_is_counted_and_tests_are_skipped(tmp_path: Path) -> None:
    good = function("a", "One two three")
    root = library(
        tmp_path / "lib",
        {
            "bad.py": "def f(:\n",
            "nul.py": "a\0b",
            "pkg/good.py": good,
            "test/t.py": good,
            "pkg/tests/t.py": good,
            "site-packages/x.py": "def f(:\n",
            "data.txt": good,
        },
    )
    (root / "latin.py").write_bytes(b"# caf\xe9\n")
    pairs, unparsed = collect(root)
    assert [p.file for p in pairs] == ["pkg/good.py"]
    assert unparsed == 3
    assert build(tmp_path / "out", root=root).data["counts"]["files_not_parsed"] == 3


def test_a_library_without_docstrings_is_an_error(tmp_path: Path) -> None:
    root = library(tmp_path / "lib", {"a.py": "x = 1\n"})
    with pytest.raises(PyriteError, match="no documented Python source found"):
        build(tmp_path / "out", root=root)
    assert not (tmp_path / "out" / MANIFEST).exists()


def pairs_of(sizes: list[int]) -> list[Pair]:
    return [
        Pair(f"f{at}.py", f"n{i}", i, "one two three", "doc")
        for at, size in enumerate(sizes)
        for i in range(size)
    ]


@pytest.mark.parametrize("limit", [1, 5, 10, 23, 54, 55, 99, None])
def test_a_limit_keeps_whole_files_up_to_it(limit: int | None) -> None:
    sizes = list(range(1, 11))
    pairs = pairs_of(sizes)
    kept = limit_by_file(pairs, limit)
    assert kept == limit_by_file(list(pairs), limit)
    assert len(kept) <= (len(pairs) if limit is None else limit)
    files = {p.file for p in kept}
    assert kept == [p for p in pairs if p.file in files], "whole files, in the order they came"
    left_out = [size for at, size in enumerate(sizes) if f"f{at}.py" not in files]
    if limit is None or limit >= 55:
        assert left_out == []
    else:
        assert len(kept) + min(left_out) > limit, "no file that is left out would still fit"


def test_the_files_kept_do_not_depend_on_their_order() -> None:
    pairs = pairs_of([3, 3, 3, 3, 3, 3])
    forward = {p.file for p in limit_by_file(pairs, 9)}
    assert len(forward) == 3
    assert {p.file for p in limit_by_file(pairs[::-1], 9)} == forward
    assert forward != {"f0.py", "f1.py", "f2.py"}, "chosen by digest, not by name"


def test_the_embedded_dataset_opens_and_limits_have_their_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"m{i}.py": function("a", f"Number {i} of many") * 2 for i in range(12)}
    root = library(tmp_path / "lib", files)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(root)})
    whole = open_dataset(DatasetConfig(), tmp_path / "cache")
    part = open_dataset(DatasetConfig(max_documents=10), tmp_path / "cache")
    assert (len(whole.corpus), len(part.corpus)) == (24, 10)
    assert whole.folder != part.folder
    assert whole.splits() == ["dev", "test", "train"]
    manifest = json.loads((part.folder / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["counts"]["documents"] == 10
