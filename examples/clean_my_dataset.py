"""Clean a training file: first what is plainly wrong, then negatives that look like positives.

    python examples/clean_my_dataset.py train.jsonl work --against data/scifact

The file may have any of the formats of `pyrite audit`; it is never changed itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyrite import RelabelConfig, audit, relabel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("work", type=Path, help="folder for what is written")
    parser.add_argument("--against", type=Path, help="BEIR folder that must not be trained on")
    parser.add_argument("--model", default="minilm", help="encoder that judges the negatives")
    given = parser.parse_args()

    given.work.mkdir(parents=True, exist_ok=True)
    clean = given.work / f"clean{given.file.suffix}"
    found = audit(given.file, fix=clean, against=given.against)
    print(f"{found.rows} rows, errors and warnings removed or listed in {clean}")

    encoder = {"model": given.model, "max_length": 64}
    judge = {"encoder": encoder, "high": 0.9}
    done = relabel(
        RelabelConfig.model_validate(
            {
                "runs_dir": str(given.work / "runs"),
                "cache_dir": str(given.work / "cache"),
                "data": {"path": str(clean)},
                "stages": [{"judge": "duplicates"}, {"judge": "embedding", "embedding": judge}],
                # an encoder's doubt is a reason to drop a negative, none to train on it as positive
                "operation": "remove_negative",
            }
        )
    )
    print(f"the cleaned file: {done.folder / ('rows' + given.file.suffix)}")
    print(f"negatives: {done.report['negatives']}")


if __name__ == "__main__":
    main()
