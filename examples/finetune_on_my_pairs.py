"""Fine-tune an embedding model on pairs of yours, and see on pairs held out whether it helped.

    python examples/finetune_on_my_pairs.py pairs.csv work --model minilm

`pairs.csv` has the columns query and document; a query may have several documents.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from pyrite import TrainConfig, train


def write_beir(pairs: Path, folder: Path) -> int:
    """The pairs as a BEIR folder, every fifth query held out; the number of documents."""
    with pairs.open(encoding="utf-8", newline="") as handle:
        rows = [(row["query"], row["document"]) for row in csv.DictReader(handle)]
    queries = {text: f"q{at}" for at, text in enumerate(dict.fromkeys(q for q, _ in rows))}
    corpus = {text: f"d{at}" for at, text in enumerate(dict.fromkeys(d for _, d in rows))}
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, texts in (("queries", queries), ("corpus", corpus)):
        lines = [json.dumps({"_id": i, "text": text}) + "\n" for text, i in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    test = set(list(queries)[::5])
    for split in ("train", "test"):
        judged = {(queries[q], corpus[d]): 1 for q, d in rows if (q in test) == (split == "test")}
        lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in judged)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(corpus)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="minilm")
    given = parser.parse_args()
    documents = write_beir(given.pairs, given.work / "data")
    settings = {
        "runs_dir": str(given.work / "runs"),
        "cache_dir": str(given.work / "cache"),
        "dataset": {"path": str(given.work / "data")},
        "encoder": {"model": given.model, "max_length": 64},
        "retrieve": {"depth": min(100, documents)},
        "sampler": {"name": "simans", "n": 2},
        "train": {"epochs": 1, "batch_size": 16},
    }
    trained = train(TrainConfig.model_validate(settings))
    for name, evaluation in trained.evaluations.items():
        print(f"{name:10} nDCG@10 {evaluation.means()['ndcg@10']:.4f}")
    print(f"the model: {trained.folder / 'models' / 'mined' / 'model'}")


if __name__ == "__main__":
    main()
