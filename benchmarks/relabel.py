"""The relabelling cascade with judges that know the truth: no model, no server, no money.

    python benchmarks/relabel.py [--documents 3000] [--negatives 8] [--train]

All positives but one of each training query of the embedded dataset are hidden. What is mined then
holds some of them as negatives, and near copies of positives: the false negatives that are known.
The large judge knows them all; the small one misses 5% of them and suspects 10% of the others, by
hashes. Each cascade is measured by precision and recall of what it calls false negatives, and by
calls, tokens and cost at list prices. `--train` trains and evaluates before and after the repair.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware

from pyrite import MineConfig, RelabelConfig, TrainConfig, mine, relabel
from pyrite.core.beir import Dataset
from pyrite.core.config import parse_config
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.digest import u64
from pyrite.core.encoders.build import build_encoder
from pyrite.miner.near_duplicates import near_duplicate_groups
from pyrite.miner.relabel.case import Case, Judge, Verdict
from pyrite.miner.relabel.judges.duplicates import DuplicatesJudge
from pyrite.miner.relabel.judges.embedding import EmbeddingConfig, EmbeddingJudge
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.relabel.price import Price
from pyrite.miner.training_file import open_training_file

MISSED, SUSPECTED = 0.05, 0.10
SMALL, LARGE = Price(input=0.15, output=0.6), Price(input=2.5, output=10.0)
CASCADES = (
    ("large",),
    ("small", "large"),
    ("duplicates", "small", "large"),
    ("duplicates", "embedding", "small", "large"),
)
Pair = tuple[str, str]


@dataclass(frozen=True)
class Truth:
    """Query texts with the groups of their positives, and each document's group."""

    groups_of: dict[str, set[int]]
    group: dict[str, int]

    @classmethod
    def of(cls, dataset: Dataset) -> Truth:
        """All judgements of the split, and near copies of what they call relevant."""
        names = dataset.corpus.id_strings(slice(None))
        group = dict(zip(names, near_duplicate_groups(dataset.corpus).tolist(), strict=True))
        queries, docs = dataset.qrels("train", 1).pairs()
        texts = dataset.queries.texts(queries)
        found: dict[str, set[int]] = {}
        for text, doc in zip(texts, dataset.corpus.id_strings(docs), strict=True):
            found.setdefault(text, set()).add(group[doc])
        return cls(found, group)

    def is_false(self, query: str, doc_id: str) -> bool:
        """Whether a document that stands among the query's negatives is a positive."""
        return self.group[doc_id] in self.groups_of[query]


def hide(dataset: Dataset, folder: Path) -> int:
    """Write the dataset with one training positive a query; returns how many are hidden."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv", "qrels/test.tsv"):
        shutil.copyfile(dataset.folder / name, folder / name)
    lines = (dataset.folder / "qrels" / "train.tsv").read_text("utf-8").splitlines()
    first: dict[str, str] = {}
    for line in sorted(lines[1:]):
        first.setdefault(line.split("\t")[0], line)
    kept = [lines[0], *first.values()]
    (folder / "qrels" / "train.tsv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return len(lines) - len(kept)


def judges(truth: Truth, encoder: Any) -> dict[str, Judge]:
    def noisy(query: str, doc_id: str) -> bool:
        false = truth.is_false(query, doc_id)
        luck = u64(f"{query}\0{doc_id}", salt="small") / 2**64
        return luck >= MISSED if false else luck < SUSPECTED

    def asked(says: Any) -> Any:
        def answer(case: Case) -> list[Verdict]:
            found = [says(case.query, str(doc.id)) for doc in case.documents]
            return [Verdict(f, "equal" if f else "na") for f in found]

        return answer

    return {
        "duplicates": DuplicatesJudge(),
        "embedding": EmbeddingJudge(encoder, EmbeddingConfig()),
        "small": ScriptedJudge(asked(noisy), "small", SMALL),
        "large": ScriptedJudge(asked(truth.is_false), "large", LARGE),
    }


def stage(name: str) -> dict[str, Any]:
    kind = name if name in ("duplicates", "embedding") else "scripted"
    return {"judge": kind, "scripted": {"function": "by:oracle"}}


def repaired(
    names: Sequence[str], known: dict[str, Judge], folders: dict[str, str], run: Path
) -> dict[str, Any]:
    """Relabel with one cascade, and compare with the truth."""
    settings = {
        **folders,
        "name": "-".join(names),
        "data": {"path": str(run)},
        "stages": [stage(name) for name in names],
        "max_false_negatives": 1000,
    }
    done = relabel(parse_config(RelabelConfig, settings), [known[name] for name in names])
    notes = map(json.loads, (done.folder / "verdicts.jsonl").open(encoding="utf-8"))
    called = {(n["line"], n["negative"]) for n in notes if n["state"] == "false_negative"}
    return {"cascade": list(names), "called": called, "folder": done.folder, **done.spent}


def score(found: dict[str, Any], false: set[tuple[int, int]]) -> dict[str, Any]:
    called, right = found["called"], len(found["called"] & false)
    stages = {s["stage"]: s for s in found["stages"]}
    return {
        "cascade": found["cascade"],
        "precision": right / len(called) if called else None,
        "recall": right / len(false) if false else None,
        "calls": {name: s["calls"] for name, s in stages.items()},
        "cost": sum(s["cost"] for s in stages.values()),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    out = Table(title="false negatives found by oracles", title_justify="left")
    for name in ("cascade", "precision", "recall", "calls small", "calls large", "cost"):
        out.add_column(name, justify="left" if name == "cascade" else "right")
    for row in rows:
        calls = [f"{row['calls'].get(name, 0):,}" for name in ("small", "large")]
        shares = ["-" if row[n] is None else f"{row[n]:.3f}" for n in ("precision", "recall")]
        out.add_row(" > ".join(row["cascade"]), *shares, *calls, f"{row['cost']:.3f}")
    return out


def trained(mining: dict[str, Any], positives: Path, bf16: bool) -> dict[str, Any]:
    """nDCG@10 after training on what was mined before and after the repair.

    The two hardest of each query's negatives, where most of the false ones are.
    """
    from pyrite import train

    found = {}
    section = {
        "steps": 32,
        "batch_size": 32,
        "negatives": 2,
        "learning_rate": 1e-4,
        "dropout": 0.0,
        "bf16": bf16,
    }
    for name, qrels in (("before", []), ("after", [str(positives)])):
        dataset = {**mining["dataset"], "qrels": qrels}
        settings = {**mining, "name": f"train-{name}", "dataset": dataset, "train": section}
        found[name] = train(parse_config(TrainConfig, settings)).results()["systems"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=3000, help="0: all")
    parser.add_argument("--negatives", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("runs/relabel-benchmark"))
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16")
    options = parser.parse_args()

    folders = {"runs_dir": str(options.folder), "cache_dir": str(options.folder / "cache")}
    whole = open_dataset(
        DatasetConfig(max_documents=options.documents or None), options.folder / "cache"
    )
    hidden = hide(whole, options.folder / "data")
    mining = {
        **folders,
        "name": "mined",
        "dataset": {"path": str(options.folder / "data")},
        "encoder": {"max_length": 64},
        "filters": {"percent": None},
        "sampler": {"name": "topk", "n": options.negatives},
    }
    config = parse_config(MineConfig, mining)
    encoder = build_encoder(config.encoder, config.cache)
    run = mine(config, encoder).folder.parent
    truth = Truth.of(whole)
    rows = list(open_training_file(run).rows())
    pairs = {(r.line, at): (r, d) for r in rows for at, d in enumerate(r.negatives, start=1)}
    false = {key for key, (r, d) in pairs.items() if truth.is_false(r.query, str(d.id))}
    known = judges(truth, encoder)
    runs = [repaired(names, known, folders, run) for names in CASCADES]
    scores = [score(one, false) for one in runs]
    print(f"{hidden:,} positives hidden; {len(false):,} of {len(pairs):,} negatives are false")
    Console(width=120).print(table(scores))
    result = {
        "name": "relabel",
        "documents": options.documents,
        "negatives": options.negatives,
        "hidden": hidden,
        "pairs": len(pairs),
        "false": len(false),
        "small_judge": {"missed": MISSED, "suspected": SUSPECTED},
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "cascades": scores,
    }
    if options.train:
        result["trained"] = trained(mining, runs[-1]["folder"] / "positives.tsv", options.bf16)
        print(json.dumps(result["trained"], indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "relabel.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
