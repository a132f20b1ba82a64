"""A run of `pyrite make` in a process of its own, to be killed: `made_child.py URL FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from made_cases import chat, on_server

from pyrite.core.config import parse_config
from pyrite.core.server import connection
from pyrite.miner.made.config import MakeConfig
from pyrite.miner.made.make import make


def main(url: str, folder: str) -> None:
    connection.BACKOFF_S = 0.02
    fields = {"concurrency": 8, "timeout_s": 2, "max_retries": 20}
    writer = {"chat": chat(url, **fields)}
    checks = [{"judge": "chat", "chat": chat(url, **fields)}]
    home = Path(folder)
    settings = on_server(home, url, writer=writer, checks=checks, block_rows=20)
    make(parse_config(MakeConfig, settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
