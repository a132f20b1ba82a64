from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from cli_setup import snapshot
from fakes import BagOfWords, toy_dataset

from pyrite import MineConfig, RelabelConfig, audit, mine, relabel
from pyrite.core.config import parse_config
from pyrite.miner.relabel.case import Case, Verdict
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.training_file import open_training_file


def test_a_mining_run_gets_judgements_beside_its_negatives(tmp_path: Path) -> None:
    toy_dataset(tmp_path / "data", 40, 16)
    settings = {
        "name": "toy",
        "runs_dir": str(tmp_path / "runs"),
        "cache_dir": str(tmp_path / "cache"),
        "dataset": {"path": str(tmp_path / "data")},
        "retrieve": {"depth": 20},
        "sampler": {"name": "topk", "n": 3},
    }
    encoder = BagOfWords()
    mined = mine(parse_config(MineConfig, settings), encoder)
    before = snapshot(mined.folder)

    def first_is_false(case: Case) -> list[Verdict]:
        return [
            Verdict(at == 0, "better", 0.75 if at else 1.0) for at in range(len(case.documents))
        ]

    repair = {
        "name": "fixed",
        "runs_dir": str(tmp_path / "runs"),
        "cache_dir": str(tmp_path / "cache"),
        "data": {"path": str(tmp_path / "runs" / "toy")},
        "stages": [{"judge": "scripted", "scripted": {"function": "x:y"}}],
    }
    judges = [ScriptedJudge(first_is_false)]
    done = relabel(parse_config(RelabelConfig, repair), judges)
    assert snapshot(mined.folder) == before
    old = list(open_training_file(mined.folder.parent).rows())
    new = list(open_training_file(done.folder / "negatives.parquet").rows())
    assert [r.query_id for r in new] == [r.query_id for r in old]
    assert [[d.id for d in r.negatives] for r in new] == [
        [d.id for d in r.negatives[1:]] for r in old
    ]
    judged = (done.folder / "positives.tsv").read_text("utf-8").splitlines()[1:]
    assert judged == [f"{r.query_id}\t{r.negatives[0].id}\t1" for r in old if r.negatives]
    # the miner takes them: they are positives of the next run, and none of its negatives
    settings["dataset"]["qrels"] = [str(done.folder / "positives.tsv")]  # type: ignore[index]
    again = mine(parse_config(MineConfig, {**settings, "name": "next"}), encoder)
    drawn = {
        (r.query_id, d.id)
        for r in open_training_file(again.folder.parent).rows()
        for d in r.negatives
    }
    assert drawn.isdisjoint(tuple(line.split("\t")[:2]) for line in judged)
    # its manifest counts other things than a mining run's
    assert audit(done.folder / "negatives.parquet").passes()
    weights = parse_config(RelabelConfig, {**repair, "operation": "weight", "name": "weights"})
    table = pq.read_table(relabel(weights, judges).folder / "negatives.parquet")
    found = table.column("false_negative").to_pylist()
    assert found == [[1.0, 0.75, 0.75][: len(r.negatives)] for r in old]
    assert table.column("negative_ids").to_pylist() == [[d.id for d in r.negatives] for r in old]
