"""Encodes on a cluster of its own and kills itself when three parts are written.

Run as `python ray_child.py DATA FOLDER`; prints the process ids of the cluster.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import psutil
from fakes import BagOfWords

from pyrite.core import embeddings
from pyrite.core.beir import open_beir
from pyrite.core.embeddings import StoreLayout, embed
from pyrite.core.engine.config import RayConfig
from pyrite.core.engine.encoding import given_encoder
from pyrite.core.engine.session import open_session
from pyrite.core.store import write_part


def main(data: Path, folder: Path) -> None:
    corpus = open_beir(data, folder / "texts").corpus
    session = open_session(RayConfig(workers=2, object_store_mib=200), threads=1)
    written = []

    def write(path: Path, array: object) -> None:
        write_part(path, array)  # type: ignore[arg-type]
        written.append(path)
        if len(written) == 3:
            processes = psutil.Process().children(recursive=True)
            print(json.dumps([process.pid for process in processes]), flush=True)  # noqa: T201
            os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(embeddings, "write_part", write):
        encoder = given_encoder(BagOfWords(), session)
        layout = StoreLayout(part_rows=16, shard_parts=3)
        embed(encoder, corpus, "document", folder / "killed", 64, layout=layout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
