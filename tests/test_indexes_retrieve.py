from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset
from lexical_oracle import text_table

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.run import RunConfig, prepare
from pyrite.indexes.retrieve import RetrieveConfig, Retrieved, retrieve
from pyrite.indexes.sources import DenseSource, LexicalSource, SearchInputs
from pyrite.miner.mine import MineConfig, mine

DEPTH = 15
Rows = list[list[tuple[str, float, str, int]]]  # (document, score, source, rank there)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieve")
    toy_dataset(folder / "data")
    return folder


@pytest.fixture(scope="module")
def inputs(home: Path) -> SearchInputs:
    sections = {"cache_dir": str(home / "cache"), "dataset": {"path": str(home / "data")}}
    return SearchInputs.of(prepare(parse_config(RunConfig, sections), BagOfWords(), "train"))


@pytest.fixture(scope="module")
def run_path(home: Path, inputs: SearchInputs) -> str:
    """Somebody else's run: a few documents for two queries of three."""
    generator = np.random.default_rng(5)
    lines = []
    for at, query in enumerate(inputs.queries.id_strings(inputs.rows)):
        for rank, doc in enumerate(generator.permutation(120)[: 9 if at % 3 else 0], start=1):
            lines.append(f"{query} Q0 d{doc:04d} {rank} {20 - rank} other")
    path = home / "other.trec"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def settings(*sources: Any, **changes: Any) -> RetrieveConfig:
    """A retrieval; a source is a kind or a mapping."""
    given = [s if isinstance(s, dict) else {"kind": s} for s in sources]
    return RetrieveConfig.model_validate({"depth": DEPTH, "sources": given, **changes})


def three(run_path: str, *quotas: int | None, **changes: Any) -> RetrieveConfig:
    kinds: list[dict[str, Any]] = [
        {"kind": "dense"},
        {"kind": "bm25s", "name": "words"},
        {"kind": "run", "name": "other", "path": run_path},
    ]
    given = quotas or (None, None, None)
    return settings(*({**k, "quota": q} for k, q in zip(kinds, given, strict=True)), **changes)


def rows_of(found: Retrieved, inputs: SearchInputs) -> Rows:
    candidates = found.candidates
    candidates.check()
    np.testing.assert_array_equal(candidates.query_rows, inputs.rows)
    out = []
    for at in range(inputs.rows.size):
        block = candidates.block(at, at + 1)
        real = block.ids[0] >= 0
        docs = inputs.corpus.id_strings(block.ids[0][real])
        names = [candidates.sources[s] for s in block.source[0][real]]
        columns = (docs, block.scores[0][real].tolist(), names, block.source_rank[0][real].tolist())
        out.append(list(zip(*columns, strict=True)))
    return out


def alone(inputs: SearchInputs, config: RetrieveConfig, cache: Path) -> list[list[list[str]]]:
    """The lists [source][query] of each source by itself, cut to its quota."""
    out = []
    for source in config.sources:
        depth = source.quota or config.depth
        one = RetrieveConfig(depth=depth, sources=(source,))
        found = rows_of(retrieve(inputs, one, cache, 1), inputs)
        assert all([r for _, _, _, r in row] == list(range(1, len(row) + 1)) for row in found)
        out.append([[doc for doc, _, _, _ in row] for row in found])
    return out


def similarity(inputs: SearchInputs, at: int, doc: str) -> float:
    assert inputs.query_vectors is not None
    assert inputs.corpus_vectors is not None
    left = inputs.query_vectors.take(np.array([at]))[0].tolist()
    right = inputs.corpus_vectors.take(inputs.corpus.ids.find([doc]))[0].tolist()
    return float(np.float32(math.fsum(a * b for a, b in zip(left, right, strict=True))))


def fused_value(lists: list[list[str]], doc: str, how: str) -> float:
    places = [(found.index(doc) + 1, s) for s, found in enumerate(lists) if doc in found]
    if how == "rrf":
        return math.fsum(1 / (60 + rank) for rank, _ in places)
    rank, source = min(places)
    return -(rank * len(lists) + source)


@pytest.mark.parametrize("quotas", [(None, None, None), (4, 7, 2), (1, 1, 15), (40, 3, 9)])
def test_a_union_is_what_each_source_finds_alone(
    home: Path, inputs: SearchInputs, run_path: str, quotas: tuple[int | None, ...]
) -> None:
    config = three(run_path, *quotas)
    lists = alone(inputs, config, home / "cache")
    found = rows_of(retrieve(inputs, config, home / "cache", 1), inputs)
    labels = [s.label for s in config.sources]
    for at, row in enumerate(found):
        mine = [per_query[at] for per_query in lists]
        assert all(len(m) <= (q or DEPTH) for m, q in zip(mine, quotas, strict=True))
        scores = {d: similarity(inputs, at, d) for d in set().union(*mine)}
        order = sorted(scores, key=lambda d: (-scores[d], d))[:DEPTH]
        assert [doc for doc, _, _, _ in row] == order
        for doc, score, source, rank in row:
            assert score == scores[doc]
            best = min((m.index(doc) + 1, s) for s, m in enumerate(mine) if doc in m)
            assert (rank, source) == (best[0], labels[best[1]])


@pytest.mark.parametrize("how", ["rrf", "round_robin"])
def test_fused_orders(home: Path, inputs: SearchInputs, run_path: str, how: str) -> None:
    config = three(run_path, 9, 12, 5, fuse=how)
    lists = alone(inputs, config, home / "cache")
    for at, row in enumerate(rows_of(retrieve(inputs, config, home / "cache", 1), inputs)):
        mine = [per_query[at] for per_query in lists]
        value = {d: fused_value(mine, d, how) for d in set().union(*mine)}
        order = sorted(value, key=lambda d: (-np.float32(value[d]), d))[:DEPTH]
        assert [doc for doc, _, _, _ in row] == order
        assert [score for _, score, _, _ in row] == [similarity(inputs, at, d) for d in order]


def test_dense_alone_is_similarity_order(home: Path, inputs: SearchInputs) -> None:
    found = rows_of(retrieve(inputs, settings("dense"), home / "cache", 1), inputs)
    everything = inputs.corpus.id_strings(np.arange(120))
    for at, row in enumerate(found):
        scores = {d: similarity(inputs, at, d) for d in everything}
        assert [d for d, _, _, _ in row] == sorted(scores, key=lambda d: (-scores[d], d))[:DEPTH]


def columns_of(found: Retrieved) -> list[bytes]:
    c = found.candidates
    return [np.asarray(a).tobytes() for a in (c.ids, c.scores, c.source, c.source_rank)]


@pytest.mark.parametrize("how", ["union", "rrf", "score"])
def test_blocks_and_threads_change_no_byte_and_no_key(
    tmp_path: Path, inputs: SearchInputs, run_path: str, how: str
) -> None:
    first = retrieve(inputs, three(run_path, 9, 12, 5, fuse=how), tmp_path / "a", 1)
    assert not first.reused
    for number, (block, threads) in enumerate([(1, 1), (4, 2), (7, 1), (30, 2)]):
        config = three(run_path, 9, 12, 5, fuse=how, block_queries=block)
        again = retrieve(inputs, config, tmp_path / f"b{number}", threads)
        assert (again.key, again.reused) == (first.key, False)
        assert columns_of(again) == columns_of(first)
        assert retrieve(inputs, config, tmp_path / "a", threads).reused
    folder = tmp_path / "a" / "candidates" / first.key
    assert not list(folder.glob("part-*")), "parts go when the stage is done"


def test_the_exact_backend_is_not_in_the_key(tmp_path: Path, inputs: SearchInputs) -> None:
    found = [
        retrieve(inputs, settings({"index": {"backend": backend}}), tmp_path / backend, 1)
        for backend in ("torch", "faiss")
    ]
    assert found[0].key == found[1].key
    assert columns_of(found[0]) == columns_of(found[1])


def test_what_decides_the_result_is_in_the_key(
    tmp_path: Path, inputs: SearchInputs, run_path: str
) -> None:
    other = tmp_path / "other.trec"
    other.write_text(Path(run_path).read_text("utf-8").replace("d0007", "d0008", 1), "utf-8")
    dense: dict[str, Any] = {"kind": "dense"}
    words: dict[str, Any] = {"kind": "bm25s"}
    configs = [
        settings(dense),
        settings(dense, depth=14),
        settings(words),
        settings({**words, "lexical": {"k1": 1.5}}),
        settings({**dense, "name": "mine"}),
        settings(dense, words),
        settings(words, dense),
        settings({**dense, "quota": 4}, words),
        settings(dense, {**words, "quota": 4}),
        # more than the depth: the similarity order then picks from more documents
        settings(dense, {**words, "quota": 60}),
        settings(dense, words, fuse="rrf"),
        settings(dense, {**words, "weight": 2.0}, fuse="rrf"),
        settings(dense, words, fuse="rrf", rrf_k=10),
        settings(dense, words, fuse="score"),
        settings(dense, words, fuse="round_robin"),
        settings({"kind": "run", "path": run_path}),
        settings({"kind": "run", "path": str(other)}),
        settings({**dense, "index": {"backend": "faiss", "factory": "IVF2,Flat"}}),
        settings({**dense, "index": {"backend": "faiss", "factory": "IVF2,Flat", "nprobe": 2}}),
    ]
    keys = [retrieve(inputs, config, tmp_path, 1).key for config in configs]
    assert len(set(keys)) == len(keys)
    salted = replace(inputs, rows=inputs.rows[:-1])
    if inputs.query_vectors is not None:
        less = inputs.query_vectors.take(np.arange(inputs.rows.size - 1))
        salted = replace(salted, query_vectors=type(inputs.query_vectors).from_array(less, "x"))
    assert retrieve(salted, configs[0], tmp_path, 1).key not in keys


def test_one_source_keeps_its_own_order_whatever_the_fusion(tmp_path: Path) -> None:
    """Scores that one step of float32 keeps apart, and a mapping to 0..1 would not."""
    corpus = text_table(tmp_path, {"a": "x", "b": "y", "c": "z"})
    queries = text_table(tmp_path, {"q": "x"})
    path = tmp_path / "run.trec"
    path.write_text("q Q0 b 1 2e-8 t\nq Q0 a 2 1e-8 t\nq Q0 c 3 -1000 t\n", encoding="utf-8")
    inputs = SearchInputs(queries, corpus, np.array([0]), None, None)
    alone = settings({"kind": "run", "path": str(path)}, depth=3)
    found = [
        retrieve(inputs, alone.model_copy(update={"fuse": how}), tmp_path / how, 1)
        for how in ("union", "score", "rrf", "round_robin")
    ]
    assert len({f.key for f in found}) == 1
    assert all(columns_of(f) == columns_of(found[0]) for f in found)
    assert [d for d, _, _, _ in rows_of(found[0], inputs)[0]] == ["b", "a", "c"]


def test_a_run_of_renamed_queries_or_documents_is_not_read_from_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 b 1 2 t\nq1 Q0 c 2 1 t\n", encoding="utf-8")
    config = settings({"kind": "run", "path": str(path)}, depth=2)

    def search(query: str, *documents: str) -> list[str]:
        corpus = text_table(tmp_path, {d: "x" for d in documents})
        queries = text_table(tmp_path, {query: "x"})
        inputs = SearchInputs(queries, corpus, np.array([0]), None, None)
        (row,) = rows_of(retrieve(inputs, config, tmp_path / "cache", 1), inputs)
        return [doc for doc, _, _, _ in row]

    assert search("q1", "a", "b", "c") == ["b", "c"]
    assert search("q1", "b", "c", "d") == ["b", "c"]
    assert search("q2", "b", "c", "d") == []


@pytest.mark.parametrize("kind", [DenseSource, LexicalSource])
@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_killed_search_goes_on_at_its_block(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    inputs: SearchInputs,
    run_path: str,
    kind: type[DenseSource] | type[LexicalSource],
    stop_at: int,
) -> None:
    config = three(run_path, 9, 12, 5, block_queries=7)
    whole = retrieve(inputs, config, tmp_path / "whole", 1)
    searched: list[int] = []
    killed = [True]
    original = kind.search

    def search(self: Any, start: int, stop: int, k: int) -> Any:
        searched.append(start)
        if killed[0] and len(searched) == stop_at:
            raise KeyboardInterrupt
        return original(self, start, stop, k)

    monkeypatch.setattr(kind, "search", search)
    with pytest.raises(KeyboardInterrupt):
        retrieve(inputs, config, tmp_path / "cache", 1)
    assert not (tmp_path / "cache" / "candidates" / whole.key / "manifest.json").exists()
    killed[0] = False
    done, all_blocks = searched[: stop_at - 1], list(range(0, inputs.rows.size, 7))
    searched.clear()
    again = retrieve(inputs, config, tmp_path / "cache", 1)
    assert done + searched == all_blocks
    assert (again.reused, columns_of(again)) == (False, columns_of(whole))
    searched.clear()
    assert retrieve(inputs, config, tmp_path / "cache", 1).reused
    assert searched == []


def test_damaged_candidates_are_searched_again(tmp_path: Path, inputs: SearchInputs) -> None:
    first = retrieve(inputs, settings("dense"), tmp_path, 1)
    wanted = columns_of(first)
    path = tmp_path / "candidates" / first.key / "ids.npy"
    path.write_bytes(path.read_bytes()[:-8])
    again = retrieve(inputs, settings("dense"), tmp_path, 1)
    assert (again.reused, columns_of(again)) == (False, wanted)


def test_a_source_with_a_small_quota_leaves_padding(tmp_path: Path, inputs: SearchInputs) -> None:
    found = retrieve(inputs, settings({"quota": 4}), tmp_path, 1)
    assert found.candidates.ids.shape == (inputs.rows.size, DEPTH)
    assert all(len(row) == 4 for row in rows_of(found, inputs))


def test_without_an_encoder_words_are_enough(tmp_path: Path, inputs: SearchInputs) -> None:
    plain = replace(inputs, query_vectors=None, corpus_vectors=None)
    found = retrieve(plain, settings("bm25s"), tmp_path, 1)
    scored = retrieve(inputs, settings("bm25s"), tmp_path, 1)
    assert found.key != scored.key
    for row, other in zip(rows_of(found, plain), rows_of(scored, inputs), strict=True):
        assert [d for d, _, _, _ in row] == [d for d, _, _, _ in other]
        bm25 = [s for _, s, _, _ in row]
        assert bm25 == sorted(bm25, reverse=True)
        assert min(bm25) > 0
    with pytest.raises(PyriteError, match="a source of kind dense needs an encoder"):
        retrieve(plain, settings("dense"), tmp_path, 1)


def test_a_depth_over_the_corpus_is_an_error(tmp_path: Path, inputs: SearchInputs) -> None:
    with pytest.raises(PyriteError, match=r"^retrieve\.depth=121 but the corpus has 120 docum"):
        retrieve(inputs, settings("dense", depth=121), tmp_path, 1)
    assert retrieve(inputs, settings({"quota": 500}, depth=120), tmp_path, 1).key


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ([{"kind": "dense"}, {"kind": "dense"}], "two sources are called 'dense'"),
        (
            [{"kind": "dense", "name": "a"}, {"kind": "bm25s", "name": "a"}],
            "two sources are called",
        ),
        ([{"kind": "dense", "name": "bm25s"}, {"kind": "bm25s"}], "two sources are called 'bm25s'"),
        ([], "at least 1 item"),
        ([{"kind": "run"}], "a run needs a path"),
        ([{"kind": "dense", "path": "x.trec"}], "only a run has one"),
    ],
)
def test_sources_that_make_no_sense_are_refused(sources: list[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(*sources)


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_a_missing_gpu_is_one_of_the_source_that_asks_for_it(
    tmp_path: Path, inputs: SearchInputs, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delattr("faiss.StandardGpuResources", raising=False)
    config = settings("bm25s", {"index": {"backend": backend, "device": "cuda"}})
    with pytest.raises(PyriteError) as error:
        retrieve(inputs, config, tmp_path, 1)
    assert str(error.value).startswith("retrieve.sources[1].index.device=cuda but ")
    assert str(error.value).endswith("set retrieve.sources[1].index.device=cpu")


def test_an_approximate_index_records_its_recall(tmp_path: Path, inputs: SearchInputs) -> None:
    index = {"backend": "faiss", "factory": "IVF4,Flat", "nprobe": 4, "recall_sample": 12}
    found = retrieve(inputs, settings({"index": index, "name": "few"}, "bm25s"), tmp_path, 1)
    assert found.manifest.data["recall"] == {"few": {"value": 1.0, "k": DEPTH, "queries": 12}}
    assert found.manifest.data["sources"] == ["few", "bm25s"]
    exact = retrieve(inputs, settings({"name": "few"}, "bm25s"), tmp_path, 1)
    assert exact.manifest.data["recall"] == {}
    assert exact.key != found.key
    assert columns_of(exact) == columns_of(found)
    low = {**index, "nprobe": 1, "min_recall": 1.0}
    with pytest.raises(PyriteError, match=r"raise retrieve\.sources\[0\]\.index\.nprobe \(now 1\)"):
        retrieve(inputs, settings({"index": low}), tmp_path, 1)


def mining(folder: Path, data: Path, **retrieval: Any) -> MineConfig:
    sections: dict[str, Any] = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": DEPTH, **retrieval},
        "sampler": {"name": "topk", "n": 2},
    }
    return parse_config(MineConfig, sections)


def test_mining_exports_what_was_retrieved_and_mines_from_it(home: Path, tmp_path: Path) -> None:
    both = [{"kind": "dense"}, {"kind": "bm25s"}]
    mined = mine(mining(tmp_path, home / "data", export=True, sources=both), BagOfWords())
    path = mined.folder / "candidates.parquet"
    table = pq.read_table(path)
    columns = ["query_id", "doc_id", "rank", "score", "source", "source_rank"]
    assert table.column_names == columns
    assert table.num_rows == 30 * DEPTH
    assert set(table.column("source").to_pylist()) == {"dense", "bm25s"}
    rows = table.to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, DEPTH + 1)) * 30
    kept = tmp_path / "kept.parquet"
    kept.write_bytes(path.read_bytes())
    source = {"kind": "run", "path": str(kept)}
    again = mine(mining(tmp_path / "again", home / "data", sources=[source]), BagOfWords())
    assert not (again.folder / "candidates.parquet").exists()
    first, second = (pq.read_table(m.folder / "negatives.parquet") for m in (mined, again))
    shared = ["query_id", "pos_score", "negative_ids", "scores"]
    assert first.select(shared).equals(second.select(shared))
