"""The false-negative truth test: hidden positives drawn as negatives, for a grid of settings.

    python benchmarks/truth.py [--data PATH] [--max-length 64]

`--data` is a BEIR folder with queries that have several positives, by default the embedded dataset.
Shares and hardness have 95% bootstrap intervals over the queries; nothing is timed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="stdlib")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--negatives", type=int, default=4)
    options = parser.parse_args()

    from pyrite import MineConfig
    from pyrite.core.config import parse_config
    from pyrite.miner.truth import truth_test
    from pyrite.miner.truth_report import truth_table

    config = parse_config(
        MineConfig,
        {
            "dataset": {"path": options.data},
            "encoder": {"model": "minilm", "max_length": options.max_length},
            "sampler": {"n": options.negatives},
        },
    )
    truth = truth_test(config)
    Console(width=120).print(truth_table(truth))
    RESULTS.mkdir(exist_ok=True)
    name = f"truth-{Path(options.data).name}"
    result = {
        "name": name,
        "model": "all-MiniLM-L6-v2",
        "max_length": options.max_length,
        "negatives": options.negatives,
        "depth": config.retrieve.depth,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        **truth.as_json(),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
