"""Exact search over a mapped corpus stays within the memory that it says it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

DOCUMENTS, DIMENSION, QUERIES, K = 1_000_000, 128, 1024, 100
LIMIT = 1 << 30

# mapped pages do not count: the kernel takes them back whenever it needs them
CHILD = """
import json, sys, threading
from pathlib import Path
import numpy as np
from pyrite.core.embeddings import Embeddings
from pyrite.indexes.flat import FlatIndex
from pyrite.indexes.torch_tiles import TorchProposer

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this kernel does not say RssAnon")

folder, k = Path(sys.argv[1]), int(sys.argv[2])
corpus = np.load(folder / "corpus.npy", mmap_mode="r")
queries = np.load(folder / "queries.npy")
vectors = Embeddings((corpus,), len(corpus), "")
index = FlatIndex(vectors, np.arange(len(corpus)), TorchProposer(vectors, 2))
# what libraries set up at their first call is not the search's
small = Embeddings((np.array(corpus[:9000]),), 9000, "")
FlatIndex(small, np.arange(9000), TorchProposer(small, 2)).search(queries[:2], 5)

before = peak = anonymous()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
ids, scores = index.search(queries, k)
done.set()
watcher.join()
peak = max(peak, anonymous())
np.save(folder / "ids.npy", ids)
np.save(folder / "scores.npy", scores)
print(json.dumps({"growth": peak - before, "bound": index.memory_bytes(len(queries), k)}))
"""


def write_corpus(path: Path, documents: int, rising: bool) -> None:
    """Unit vectors in blocks; `rising` puts the corpus in ascending order for the first axis."""
    shape = (documents, DIMENSION)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, documents, 50_000):
        generator = np.random.default_rng([7, start])
        block = generator.standard_normal((min(50_000, documents - start), DIMENSION))
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        if rising:
            block *= 0.01
            block[:, 0] = 1 + np.arange(start, start + len(block)) / documents
        out[start : start + len(block)] = block
    out.flush()


def measured(folder: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(K)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def assert_true_top(folder: Path, rows: tuple[int, ...]) -> None:
    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy").astype(np.float64)
    ids, scores = np.load(folder / "ids.npy"), np.load(folder / "scores.npy")
    for row in rows:
        parts = [
            (corpus[at : at + 50_000].astype(np.float64) * queries[row]).sum(axis=1)
            for at in range(0, len(corpus), 50_000)
        ]
        exact = np.concatenate(parts).astype(np.float32)
        best = np.lexsort((np.arange(exact.size), -exact))[:K]
        np.testing.assert_array_equal(ids[row], best)
        assert scores[row].tobytes() == exact[best].tobytes()


def test_a_million_documents(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.npy", DOCUMENTS, rising=False)
    queries = np.random.default_rng(8).standard_normal((QUERIES, DIMENSION))
    np.save(tmp_path / "queries.npy", queries.astype(np.float32))
    found = measured(tmp_path)
    assert 0 < found["growth"] <= found["bound"] <= LIMIT
    assert_true_top(tmp_path, (0, 500, QUERIES - 1))


@pytest.mark.parametrize("climbers", [1, QUERIES])
def test_documents_in_the_worst_order(tmp_path: Path, climbers: int) -> None:
    """For `climbers` queries every document is better than all before it."""
    write_corpus(tmp_path / "corpus.npy", 200_000, rising=True)
    queries = np.random.default_rng(8).standard_normal((QUERIES, DIMENSION))
    queries[:climbers, 0] = 100
    queries[climbers:, 0] = 0
    np.save(tmp_path / "queries.npy", queries.astype(np.float32))
    found = measured(tmp_path)
    assert 0 < found["growth"] <= found["bound"] <= LIMIT
    assert_true_top(tmp_path, (0, QUERIES - 1))
