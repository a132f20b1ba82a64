from __future__ import annotations

from pathlib import Path

import mteb
import numpy as np
import pytest
from fakes import BagOfWords, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.candidates import Candidates
from pyrite.core.config import parse_config
from pyrite.core.ids import IdIndex
from pyrite.core.tables import TextTable, write_texts
from pyrite.eval.config import EvalConfig
from pyrite.eval.identical_ids import drops_identical, without_identical
from pyrite.eval.search import search_held_out

BEIR = {
    **dict.fromkeys(("arguana", "fever", "fiqa", "msmarco", "quora"), True),
    **dict.fromkeys(("scifact", "nfcorpus", "scidocs", "trec-covid", "nq", "hotpotqa"), False),
    **dict.fromkeys(("climate-fever", "dbpedia-entity", "cqadupstack", "webis-touche2020"), False),
}


@pytest.mark.parametrize(("name", "drop"), BEIR.items())
def test_the_dataset_s_name_decides(name: str, drop: bool) -> None:
    assert drops_identical("auto", name) is drop
    assert drops_identical("auto", f"/some/where/{name}/") is drop
    assert drops_identical("auto", f"/quora/{name.upper()}") is drop
    assert drops_identical("keep", name) is False
    assert drops_identical("drop", name) is True


@pytest.mark.parametrize(
    "task",
    "ArguAna FiQA2018 FEVER MSMARCO QuoraRetrieval TRECDL2019 TRECDL2020 FeedbackQARetrieval"
    " MLQuestions SciFact NFCorpus SCIDOCS TRECCOVID NQ HotpotQA DBPedia ClimateFEVER"
    " Touche2020Retrieval.v3 CQADupstackAndroidRetrieval CosQA".split(),
)
def test_the_table_is_that_of_mteb_s_tasks(task: str) -> None:
    assert drops_identical("auto", task) is mteb.get_task(task).ignore_identical_ids


def table(folder: Path, name: str, ids: list[str]) -> TextTable:
    write_texts(folder / f"{name}.arrow", ((row_id, "x") for row_id in ids))
    return TextTable.open(folder / f"{name}.arrow", name, name)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    width = draw(st.integers(1, 7))
    rows = [draw(st.permutations(range(8)))[: draw(st.integers(0, width))] for _ in range(4)]
    return [list(row) for row in rows], width


@given(rankings(), st.integers(1, 8))
def test_the_query_s_own_id_goes_and_the_others_move_up(
    tmp_path_factory: pytest.TempPathFactory, ranked: tuple[list[list[int]], int], depth: int
) -> None:
    rows, width = ranked
    folder = tmp_path_factory.mktemp("tables")
    # queries 0 to 2 have documents of their id, in another order than their rows
    corpus = table(folder, "corpus", [f"i{n}" for n in range(8)])
    queries = table(folder, "queries", ["i5", "i0", "i7", "none"])
    own = [5, 0, 7, -1]
    ids = np.full((4, width), -1, dtype=np.int64)
    scores = np.full((4, width), -np.inf, dtype=np.float32)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
        scores[at, : len(row)] = -np.arange(len(row))
    found, gone = without_identical(
        Candidates.of_one(np.arange(4), ids, scores, "x"), queries, corpus, depth
    )
    found.check()
    left = [[d for d in row if d != mine][:depth] for row, mine in zip(rows, own, strict=True)]
    assert [[d for d in row if d >= 0] for row in found.ids.tolist()] == left
    assert gone == sum(mine in row for row, mine in zip(rows, own, strict=True))
    for at, row in enumerate(left):
        assert found.scores[at, : len(row)].tolist() == [-float(rows[at].index(d)) for d in row]
        assert found.source_rank[at, : len(row)].tolist() == [rows[at].index(d) + 1 for d in row]


def test_one_more_is_searched_so_that_as_many_remain(tmp_path: Path, encoder: BagOfWords) -> None:
    texts = {f"t{i}": f"w{i} w{i + 1}" for i in range(30)}
    asked = {name: texts[name] for name in ("t3", "t9")}
    judged = [("t3", "t4", 1), ("t9", "t8", 1)]
    data = write_dataset(tmp_path / "arguana", texts, asked, {"test": judged})
    kept = {}
    for how in ("auto", "keep"):
        sections = {
            "cache_dir": str(tmp_path / "cache"),
            "dataset": {"path": str(data)},
            "eval": {"measures": ["ndcg@10"], "identical_ids": how},
        }
        kept[how] = search_held_out(parse_config(EvalConfig, sections), encoder)
    assert (kept["auto"].identical, kept["keep"].identical) == (2, 0)
    assert kept["auto"].ids.shape == kept["keep"].ids.shape == (2, 10)
    assert (kept["auto"].ids >= 0).all()
    # the query is its own best document, and the nine behind it move up
    assert kept["keep"].ids[:, 0].tolist() == [3, 9]
    assert (kept["auto"].ids[:, :9] == kept["keep"].ids[:, 1:]).all()


def test_a_corpus_of_the_queries_alone_keeps_its_shape(tmp_path: Path, encoder: BagOfWords) -> None:
    texts = {f"t{i}": f"w{i}" for i in range(3)}
    judged = [(name, "t0", 1) for name in texts]
    data = write_dataset(tmp_path / "quora", texts, texts, {"test": judged})
    sections = {"cache_dir": str(tmp_path / "c"), "dataset": {"path": str(data)}}
    found = search_held_out(parse_config(EvalConfig, sections), encoder)
    assert found.identical == 3
    assert (found.ids >= 0).sum(axis=1).tolist() == [2, 2, 2]
    assert isinstance(found.inputs.corpus.ids, IdIndex)
