"""The page on sentence-transformers: its snippet runs, and its lines mine what the call mines."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from datasets import Dataset
from doc_pages import DOCS, blocks
from fakes import BagOfWords
from sentence_transformers.util import mine_hard_negatives

from pyrite.core.config import parse_config
from pyrite.core.encoder import F32
from pyrite.miner.mine import MineConfig, mine

PAGE = DOCS / "migration-sentence-transformers.md"


def block(start: str) -> str:
    (found,) = [text for text in blocks(PAGE.read_text("utf-8")) if text.startswith(start)]
    return found


class AsModel:
    """The little that the miner asks of a model."""

    device = torch.device("cpu")

    def __init__(self, encoder: BagOfWords) -> None:
        self._encoder = encoder

    def encode_document(self, texts: list[str], **_: Any) -> F32:
        return self._encoder.encode_documents(texts)

    def encode_query(self, texts: list[str], **_: Any) -> F32:
        return self._encoder.encode_queries(texts)

    def similarity(self, a: Any, b: Any) -> torch.Tensor:
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> torch.Tensor:
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)


def made_up(count: int, words: int, draw: random.Random) -> list[str]:
    texts = {" ".join(f"w{draw.randrange(40)}" for _ in range(words)) for _ in range(count)}
    return sorted(texts)


def write(folder: Path, dataset: dict[str, list[str]], corpus: list[str]) -> None:
    """Run the page's snippet, as it stands there, from another folder."""
    code = block("import json").replace('Path("data/mine")', "folder")
    exec(compile(code, str(PAGE), "exec"), {"folder": folder, "dataset": dataset, "corpus": corpus})


def texts_of(folder: Path, name: str) -> dict[str, str]:
    lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
    return {record["_id"]: record["text"] for record in map(json.loads, lines)}


def test_the_page_s_lines_mine_what_the_call_mines(tmp_path: Path) -> None:
    draw, encoder = random.Random(0), BagOfWords()
    corpus, queries = made_up(150, 6, draw), made_up(40, 4, draw)
    answers = [max(corpus, key=lambda text: len({*text.split()} & {*q.split()})) for q in queries]
    write(tmp_path / "data", {"query": queries, "answer": answers}, corpus)

    (config,) = (t for t in blocks(PAGE.read_text("utf-8")) if "ties: keep" in t and "topk" in t)
    sections = {**yaml.safe_load(config), "dataset": {"path": str(tmp_path / "data")}}
    folders = {"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    mined = mine(parse_config(MineConfig, {**sections, **folders}), encoder)
    rows = pq.read_table(mined.folder / "negatives.parquet").to_pylist()
    asked, found = (texts_of(tmp_path / "data", name) for name in ("queries", "corpus"))
    ours = {asked[row["query_id"]]: [found[i] for i in row["negative_ids"]] for row in rows}

    call = block("mine_hard_negatives(dataset, model, corpus")
    pairs = Dataset.from_dict({"query": queries, "answer": answers})
    names = {"dataset": pairs, "model": AsModel(encoder), "corpus": corpus}
    theirs: dict[str, list[str]] = {query: [] for query in queries}
    for row in eval(call, {**names, "mine_hard_negatives": mine_hard_negatives}):
        theirs[row["query"]].append(row["negative"])

    assert ours == theirs
    lengths = np.array([len(negatives) for negatives in ours.values()])
    # the ceiling rejects, and most queries still have all
    assert lengths.max() == 5
    assert mined.tally.reasons["PERCENT"] > 0
