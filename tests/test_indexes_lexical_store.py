from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from lexical_oracle import text_table

from pyrite.core.beir import open_beir
from pyrite.core.store import MANIFEST, Manifest, listing
from pyrite.core.tables import TextTable
from pyrite.eval.measures import per_query
from pyrite.indexes.bm25s_index import Bm25sIndex
from pyrite.indexes.lexical import LexicalConfig, LexicalIndex, open_lexical

PLAIN = LexicalConfig(stemmer="none", stopwords="none")
TEXTS = {f"d{i}": f"common w{i} w{i % 3} \u00e9t\u00e9" for i in range(9)}
QUERIES = ["common w1", "w2 w2 \u00e9t\u00e9", ""]


@pytest.fixture
def table(tmp_path: Path) -> TextTable:
    return text_table(tmp_path, TEXTS)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folder of every build, in order."""
    seen: list[Path] = []
    build = Bm25sIndex.build

    def counted(folder: Path, *rest: Any) -> None:
        seen.append(folder)
        build(folder, *rest)

    monkeypatch.setattr(Bm25sIndex, "build", staticmethod(counted))
    return seen


def keys(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "lexical").iterdir())


def results(index: LexicalIndex) -> bytes:
    ids, scores = index.search(QUERIES, 5)
    return ids.tobytes() + scores.tobytes()


# --- reopening ------------------------------------------------------------------------------


def test_an_index_is_built_once(tmp_path: Path, table: TextTable, builds: list[Path]) -> None:
    first = results(open_lexical(PLAIN, table, tmp_path))
    (key,) = keys(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "lexical" / key).iterdir()}
    assert results(open_lexical(PLAIN, table, tmp_path, threads=3)) == first
    assert len(builds) == 1
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "lexical" / key).iterdir()}


def test_files_are_plain_mapped_arrays_and_json(tmp_path: Path, table: TextTable) -> None:
    index = open_lexical(PLAIN, table, tmp_path)
    folder = tmp_path / "lexical" / keys(tmp_path)[0]
    assert {p.suffix for p in folder.iterdir()} == {".npy", ".json"}
    for path in folder.glob("*.npy"):
        np.load(path, allow_pickle=False)
    assert isinstance(index, Bm25sIndex)
    assert isinstance(index._scores, np.memmap)
    assert isinstance(index._rows, np.memmap)
    words = {word for text in TEXTS.values() for word in text.split()}
    assert set(json.loads((folder / "vocab.index.json").read_bytes())) == words
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.data["rows"] == len(TEXTS)
    assert manifest.data["settings"] == PLAIN.model_dump(mode="json")


BUILD = """
import os, signal, sys
from pathlib import Path
from lexical_oracle import text_table
from pyrite.core.store import Manifest
from pyrite.indexes.lexical import LexicalConfig, open_lexical

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

texts = {f"d{i}": f"common w{i} w{i % 3} \\u00e9t\\u00e9" for i in range(9)}
here = Path(sys.argv[1])
if sys.argv[2] == "die":
    Manifest.write = die
open_lexical(LexicalConfig(stemmer="none", stopwords="none"), text_table(here, texts), here)
"""


def build_in_a_process(folder: Path, mode: str, seed: str) -> int:
    folder.mkdir(exist_ok=True)
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-c", BUILD, str(folder), mode]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def test_another_process_builds_the_same_bytes(tmp_path: Path, table: TextTable) -> None:
    open_lexical(PLAIN, table, tmp_path)
    other = tmp_path / "other"
    assert build_in_a_process(other, "finish", "7") == 0
    assert keys(other) == keys(tmp_path)
    (key,) = keys(tmp_path)
    assert listing(other / "lexical" / key) == listing(tmp_path / "lexical" / key)


# --- broken builds --------------------------------------------------------------------------


def test_a_killed_process_leaves_nothing_that_is_read(
    tmp_path: Path, table: TextTable, builds: list[Path]
) -> None:
    assert build_in_a_process(tmp_path, "die", "0") == -signal.SIGKILL
    (left,) = keys(tmp_path)
    assert ".tmp-" in left
    shutil.copytree(tmp_path / "lexical" / left, tmp_path / "lexical" / left.partition(".")[0])
    rebuilt = results(open_lexical(PLAIN, table, tmp_path))
    assert len(builds) == 1
    assert rebuilt == results(open_lexical(PLAIN, table, tmp_path / "fresh"))
    assert keys(tmp_path) == [left.partition(".")[0]], "the killed build's folder was swept up"


def test_a_build_that_fails_cleans_up(
    tmp_path: Path, table: TextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **fields: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bm25s.BM25, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_lexical(PLAIN, table, tmp_path)
    assert keys(tmp_path) == []
    assert len(open_lexical(PLAIN, table, tmp_path)) == len(TEXTS)


@pytest.mark.parametrize("name", ["data.csc.index.npy", "vocab.index.json", MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_file_means_a_new_build(
    tmp_path: Path,
    table: TextTable,
    builds: list[Path],
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: str,
) -> None:
    good = results(open_lexical(PLAIN, table, tmp_path))
    (key,) = keys(tmp_path)
    path = tmp_path / "lexical" / key / name
    data = path.read_bytes()
    path.unlink()
    if damage != "delete":
        path.write_bytes(data[:-1] if damage == "cut" else b"\x07" + data[1:])
    with caplog.at_level(logging.WARNING):
        assert results(open_lexical(PLAIN, table, tmp_path)) == good
    if (name, damage) == (MANIFEST, "cut"):  # only the last line break is gone
        assert len(builds) == 1
        return
    assert len(builds) == 2
    assert ("building again" in caplog.text) == ((name, damage) != (MANIFEST, "delete"))
    assert results(open_lexical(PLAIN, table, tmp_path)) == good
    assert len(builds) == 2


def test_a_build_finished_meanwhile_by_another_process_is_kept(
    tmp_path: Path, table: TextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_lexical(PLAIN, table, tmp_path / "other")
    theirs = tmp_path / "other" / "lexical" / keys(tmp_path / "other")[0]
    target = tmp_path / "lexical" / theirs.name
    inodes: list[int] = []
    build = Bm25sIndex.build

    def overtaken(folder: Path, *rest: Any) -> None:
        build(folder, *rest)
        shutil.copytree(theirs, target)
        inodes.append(target.stat().st_ino)

    monkeypatch.setattr(Bm25sIndex, "build", staticmethod(overtaken))
    open_lexical(PLAIN, table, tmp_path)
    assert keys(tmp_path) == [theirs.name]
    assert target.stat().st_ino == inodes[0]


# --- keys -----------------------------------------------------------------------------------


def test_content_and_settings_make_the_key(tmp_path: Path, table: TextTable) -> None:
    open_lexical(PLAIN, table, tmp_path)
    seen = set(keys(tmp_path))
    for change in (
        {"k1": 0.91},
        {"b": 0.41},
        {"stemmer": "english"},
        {"stemmer": "porter"},
        {"stopwords": "english"},
    ):
        open_lexical(PLAIN.model_copy(update=change), table, tmp_path)
        assert len(keys(tmp_path)) == len(seen) + 1, change
        seen = set(keys(tmp_path))
    edited = {**TEXTS, "d4": TEXTS["d4"] + " more"}
    renamed = {("e" if i == "d4" else i): text for i, text in TEXTS.items()}
    for texts in (edited, renamed):
        open_lexical(PLAIN, text_table(tmp_path, texts), tmp_path)
        assert len(keys(tmp_path)) == len(seen) + 1
        seen = set(keys(tmp_path))


def test_names_and_threads_are_not_in_the_key(tmp_path: Path, table: TextTable) -> None:
    moved = TextTable(table.table, table.ids, table.digest, "elsewhere")
    open_lexical(PLAIN, table, tmp_path, threads=1)
    open_lexical(PLAIN, moved, tmp_path, threads=5)
    open_lexical(PLAIN, table, tmp_path / "cache")
    assert len(keys(tmp_path)) == 1
    assert keys(tmp_path / "cache") == keys(tmp_path)


def test_versions_of_the_analysis_are_in_the_key(
    tmp_path: Path, table: TextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_lexical(PLAIN, table, tmp_path)
    assert "bm25s" in Bm25sIndex.identity()
    assert "PyStemmer" in Bm25sIndex.identity()
    monkeypatch.setattr(Bm25sIndex, "identity", staticmethod(lambda: "next"))
    open_lexical(PLAIN, table, tmp_path)
    assert len(keys(tmp_path)) == 2


# --- size and quality -----------------------------------------------------------------------


def test_memory_stays_below_the_bound(tmp_path: Path) -> None:
    # the worst case: every document matches, and all of them tie
    texts = {f"d{i}": "w0 w1 w2" for i in range(20_000)}
    index = open_lexical(PLAIN, text_table(tmp_path, texts), tmp_path)
    queries = ["w0 w1", "w2"] * 4
    index.search(queries, 100)
    tracemalloc.start()
    try:
        index.search(queries, 100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bound = index.memory_bytes(len(queries), 100)
    assert bound / 2 < peak < bound


def test_scifact_quality(scifact: Path, tmp_path: Path) -> None:
    dataset = open_beir(scifact, tmp_path)
    qrels = dataset.qrels("test")
    rows = qrels.with_positives()
    index = open_lexical(LexicalConfig(), dataset.corpus, tmp_path)
    ids, _ = index.search(dataset.queries.texts(rows), 100)
    values = per_query(("ndcg@10", "recall@100"), qrels, rows, ids)
    assert values["ndcg@10"].mean() == pytest.approx(0.679, abs=0.02)
    assert values["recall@100"].mean() == pytest.approx(0.925, abs=0.02)
