"""Maps blocks and searches on two nodes, and kills one of them each time.

Run as `python ray_node_child.py NOTES`: each block that a worker begins is noted there, and what
came of it all lies in `report.json` beside.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.embeddings import Embeddings
from pyrite.core.engine.blocks import on_workers
from pyrite.core.engine.config import RayConfig
from pyrite.core.engine.session import Session, close_session, open_session
from pyrite.indexes import shards
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.indexes.shards import ShardedIndex

STORE = 100 * 2**20
# a lost node is noticed after two seconds, not after ten
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


def mapped(session: Session, notes: str, lose: Callable[[], None]) -> list[tuple[int, int]]:
    def make() -> Callable[[int], int]:
        def call(block: int) -> int:
            with Path(notes).open("a") as handle:
                handle.write(f"{block} {os.getpid()}\n")
            # the first has to wait for the other: both nodes are at work when one is lost
            while len({line.split()[1] for line in Path(notes).read_text().splitlines()}) < 2:
                time.sleep(0.05)
            time.sleep(1.0 if 4 <= block < 8 else 0.2)
            return 2 * block

        return call

    found = []
    for result in on_workers(session, make, range(10), 10, "test", 8):
        found.append(result)
        if len(found) == 4:
            # both are in the middle of a block
            while len(Path(notes).read_text().splitlines()) < 6:
                time.sleep(0.05)
            lose()
    return found


def searched(session: Session, lose: Callable[[], None]) -> dict[str, Any]:
    shards._PATIENCE_S = 2.0
    random = np.random.default_rng(0)
    corpus = Embeddings.from_array(random.integers(-3, 4, size=(3000, 8)).astype(np.float32))
    rank_N, queries = random.permutation(3000), corpus.take(np.arange(16))
    expected = open_exact(IndexConfig(), corpus, rank_N, 1).search(queries, 40)
    index = ShardedIndex(IndexConfig(), corpus, rank_N, session)

    def same() -> bool:
        ids, scores = index.search(queries, 40)
        return (ids.tobytes(), scores.tobytes()) == (expected[0].tobytes(), expected[1].tobytes())

    def actors() -> int:
        return len({id(actor) for actor in index.actors().values()})

    before = {"same_before": same(), "actors_before": actors()}
    lose()
    return {**before, "same_after": same(), "actors_after": actors()}


def main(notes: str) -> None:
    from ray.cluster_utils import Cluster

    args = {
        "num_cpus": 1,
        "object_store_memory": STORE,
        "include_dashboard": False,
        "_system_config": QUICK,
    }
    cluster = Cluster(initialize_head=True, head_node_args=args)

    def grow() -> Callable[[], None]:
        node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        cluster.wait_for_nodes()
        return lambda: cluster.remove_node(node, allow_graceful=False)

    lose = grow()
    config = RayConfig(address=cluster.address, workers=2, object_store_mib=128)
    session = open_session(config)
    report = {"sees_files": session.sees_files, "results": mapped(session, notes, lose)}
    report |= searched(session, grow())
    # not printed: Ray prints to this terminal as well
    Path(notes).with_name("report.json").write_text(json.dumps(report), encoding="utf-8")
    close_session()
    cluster.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pyrite").setLevel(logging.INFO)
    main(sys.argv[1])
