"""Exact search and retrieval end to end, beside FAISS, one sgemm, and sentence-transformers.

    python benchmarks/retrieval.py [--queries 10000] [--documents 100000] [--rounds 3]

`ratio` is the peer's time over ours: above 1 we are faster. Memory is the growth of anonymous
memory over what the process held with the vectors mapped (ours) or loaded (the peers need that);
either way the vectors are in memory before the clock starts.
Every contestant runs in a process of its own, in turns, with the same number of threads; imports
are not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import Reading, in_process, measured, publish, report, rounds, row

DIMENSION, K, THREADS = 384, 100, 2
SEARCH = ["ours", "faiss", "sgemm"]
END_TO_END = ["ours-mine", "st-faiss", "st"]


def write_inputs(folder: Path, queries: int, documents: int) -> None:
    """Clustered unit vectors, and a BEIR folder with one positive for each query."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((256, DIMENSION), dtype=np.float32)

    def vectors(rows: int) -> np.ndarray[Any, Any]:
        values = centres[rng.integers(0, 256, rows)]
        values = values + 1.5 * rng.standard_normal((rows, DIMENSION), dtype=np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    docs = vectors(documents)
    noise = 0.05 * rng.standard_normal((queries, DIMENSION), dtype=np.float32)
    asked = docs[:queries] + noise
    np.save(folder / "corpus.npy", docs)
    np.save(folder / "queries.npy", asked / np.linalg.norm(asked, axis=1, keepdims=True))
    (folder / "qrels").mkdir()
    for name, letter, count in (("corpus", "d", documents), ("queries", "q", queries)):
        lines = (
            json.dumps({"_id": f"{letter}{i:07d}", "text": f"{name} text {i}"})
            for i in range(count)
        )
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    pairs = "\n".join(f"q{i:07d}\td{i:07d}\t1" for i in range(queries))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{pairs}\n")


def limit_threads() -> None:
    import faiss
    import torch

    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)


def read_through(folder: Path) -> None:
    """Bring mapped files into the page cache."""
    for path in folder.rglob("*.npy"):
        with path.open("rb", buffering=0) as handle:
            while handle.read(1 << 20):
                pass


def search_ours(folder: Path) -> Reading:
    from pyrite.core.embeddings import Embeddings
    from pyrite.indexes.flat import FlatIndex
    from pyrite.indexes.torch_tiles import TorchProposer

    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy", mmap_mode="r")
    index_vectors = Embeddings((corpus,), len(corpus), "")
    read_through(folder)
    with measured() as reading:
        index = FlatIndex(index_vectors, np.arange(len(corpus)), TorchProposer(index_vectors))
        for start in range(0, len(queries), 1024):
            index.search(np.asarray(queries[start : start + 1024]), K)
    return reading


def search_faiss(folder: Path) -> Reading:
    import faiss

    corpus, queries = np.load(folder / "corpus.npy"), np.load(folder / "queries.npy")
    index = faiss.IndexFlatIP(DIMENSION)
    index.add(corpus)
    with measured() as reading:
        index.search(queries, K)
    return reading


def search_sgemm(folder: Path) -> Reading:
    import torch

    corpus = torch.from_numpy(np.load(folder / "corpus.npy"))
    queries = torch.from_numpy(np.load(folder / "queries.npy"))
    with measured() as reading:
        out = torch.empty((1024, len(corpus)))
        for start in range(0, len(queries), 1024):
            block = queries[start : start + 1024]
            torch.matmul(block, corpus.T, out=out[: len(block)])
    return reading


def mine_ours(folder: Path) -> Reading:
    from matplotlib import figure  # noqa: F401
    from matplotlib.backends import backend_agg  # noqa: F401

    import pyrite.indexes.torch_tiles
    import pyrite.miner.report  # noqa: F401
    from pyrite import MineConfig, mine
    from pyrite.core.config import parse_config
    from pyrite.core.run import build_encoder, prepare

    with tempfile.TemporaryDirectory(dir=folder) as runs:
        config = parse_config(
            MineConfig,
            {
                "runs_dir": runs,
                "cache_dir": f"{runs}/cache",
                "threads": THREADS,
                "dataset": {"path": str(folder)},
                "encoder": {
                    "kind": "precomputed",
                    "normalize": False,
                    "precomputed": {
                        "corpus": str(folder / "corpus.npy"),
                        "queries": str(folder / "queries.npy"),
                    },
                },
                "retrieve": {"depth": K},
                "sampler": {"name": "topk", "n": 3},
            },
        )
        # reading JSON is not part of what the peer is measured on
        prepare(config, build_encoder(config), "train")
        read_through(folder)
        with measured() as reading:
            mine(config)
    return reading


def mine_peer(folder: Path, use_faiss: bool) -> Reading:
    import torch
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    class Stub:
        """A model whose vectors are known already."""

        device = torch.device("cpu")

        def __init__(self) -> None:
            self.corpus = np.load(folder / "corpus.npy")
            self.queries = np.load(folder / "queries.npy")

        def encode_document(self, texts: list[str], **_: Any) -> Any:
            return self.corpus

        def encode_query(self, texts: list[str], **_: Any) -> Any:
            return self.queries

        def get_embedding_dimension(self) -> int:
            return DIMENSION

        def similarity(self, a: Any, b: Any) -> Any:
            return torch.as_tensor(a) @ torch.as_tensor(b).T

        def similarity_pairwise(self, a: Any, b: Any) -> Any:
            return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)

    corpus = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").open()]
    asked = [json.loads(line)["text"] for line in (folder / "queries.jsonl").open()]
    pairs = Dataset.from_dict({"anchor": asked, "positive": corpus[: len(asked)]})
    model = Stub()
    with measured() as reading:
        mine_hard_negatives(
            pairs,
            model,
            corpus=corpus,
            range_max=K - 1,
            relative_margin=0.05,
            num_negatives=3,
            use_faiss=use_faiss,
            verbose=False,
        )
    return reading


CONTESTANTS = {
    "ours": search_ours,
    "faiss": search_faiss,
    "sgemm": search_sgemm,
    "ours-mine": mine_ours,
    "st-faiss": lambda folder: mine_peer(folder, True),
    "st": lambda folder: mine_peer(folder, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--contestant", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.contestant:
        limit_threads()
        report(CONTESTANTS[options.contestant](options.folder))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_inputs(folder, options.queries, options.documents)

        def run(name: str) -> Reading:
            return in_process(Path(__file__), name, folder)

        found = rounds(options.rounds, run, [*SEARCH, *END_TO_END])
    publish(
        "retrieval",
        [
            row("exact search: FAISS IndexFlatIP", found["ours"], found["faiss"]),
            row("exact search: one sgemm (floor)", found["ours"], found["sgemm"]),
            row("end to end: sentence-transformers + FAISS", found["ours-mine"], found["st-faiss"]),
            row("end to end: sentence-transformers", found["ours-mine"], found["st"]),
        ],
        f"{options.queries} queries x {options.documents} documents x {DIMENSION}, k={K},"
        f" {THREADS} threads",
    )


if __name__ == "__main__":
    main()
