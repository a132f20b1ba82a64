"""A relabelled toy file with undecided pairs, hostile texts among them, and a session on it."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cli_setup import SCRIPT, plain_environment

from pyrite import RelabelConfig, load_config, relabel
from pyrite.miner.relabel.case import Case, Judgement, Verdict
from pyrite.miner.relabel.paid_store import STORE
from pyrite.miner.relabel.review.finished import Finished
from pyrite.miner.relabel.review.queue import Choice, Queue, queue
from pyrite.miner.relabel.review.server import ReviewServer
from pyrite.miner.relabel.review.session import Session
from pyrite.miner.relabel.verdict_store import VerdictStore, human_key

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    " <!-- <!--data--> /*script*/ {policy} \u2028 \u202e & <b>bold</b> 日本語"
)
# by row, the words of its negatives: `unsure-N` has the probability N/10
ROWS = (
    "unsure-9/alpha clean/beta",
    "unsure-5/gamma unsure-2/delta",
    "equal/epsilon clean/zeta",
)


def write_rows(folder: Path, rows: Sequence[str] = ROWS) -> Path:
    """Tevatron rows; the second one's query, positive and first negative are hostile."""
    records = []
    for line, words in enumerate(rows, start=1):
        evil = f" {HOSTILE}" if line == 2 else ""
        records.append(
            {
                "query_id": f"q{line}",
                "query": f"query {line} about gamma{evil}",
                "positive_passages": [{"docid": f"p{line}", "title": "", "text": f"pos {line}"}],
                "negative_passages": [
                    {"docid": f"d{line}.{at}", "title": f"T{evil}", "text": f"{word}{evil}"}
                    for at, word in enumerate(words.split())
                ],
            }
        )
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def judged(case: Case) -> list[Verdict]:
    """The judge of the toy: it reads its verdict out of the text."""
    return [_verdict(doc.text.split("/")[0]) for doc in case.documents]


def _verdict(word: str) -> Verdict:
    if word.startswith("unsure-"):
        return Verdict(None, None, int(word[-1]) / 10, f"torn about it {HOSTILE}")
    return Verdict(word != "clean", "na" if word == "clean" else word)  # type: ignore[arg-type]


def write_config(folder: Path, **changes: Any) -> Path:
    settings = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "data": {"path": str(folder / "train.jsonl")},
        "stages": [{"judge": "scripted", "scripted": {"function": "review_setup:judged"}}],
        **changes,
    }
    path = folder / "review.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def finished_run(folder: Path, rows: Sequence[str] = ROWS, **changes: Any) -> RelabelConfig:
    """The configuration of a run that is there."""
    write_rows(folder, rows)
    config = load_config(RelabelConfig, write_config(folder, **changes))
    relabel(config)
    return config


def queue_of(config: RelabelConfig, reviewer: str = "ann", **choice: Any) -> Queue:
    with VerdictStore(config.cache / STORE) as store:
        return queue(Finished.open(config), store, Choice(reviewer, **choice))


def letters(found: Queue) -> list[str]:
    """The name in each candidate's text."""
    return [pair.case.documents[0].text.split()[0].split("/")[1] for pair in found.pairs]


@contextmanager
def session_of(
    config: RelabelConfig, reviewer: str = "ann", blind: bool = False, **choice: Any
) -> Iterator[Session]:
    with VerdictStore(config.cache / STORE) as store:
        chosen = Choice(reviewer, **choice)
        pairs = queue(Finished.open(config), store, chosen).pairs
        yield Session(store, reviewer, pairs, blind, chosen.shared)


def people(config: RelabelConfig) -> dict[str, list[bool | None]]:
    """What each person said, in the order of the pairs' names."""
    found: dict[str, list[bool | None]] = {}
    with VerdictStore(config.cache / STORE) as store:
        for name, _, verdict in store.said_by_people():
            found.setdefault(name, []).append(verdict.relevant)
    return found


def say(config: RelabelConfig, name: str, case: Case, relevant: bool | None) -> None:
    with VerdictStore(config.cache / STORE) as store:
        store.put(human_key(name), case, Judgement("ok", (Verdict(relevant),)))


@contextmanager
def serving(session: Session) -> Iterator[ReviewServer]:
    with ReviewServer(session) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def started(folder: Path, *flags: str) -> tuple[subprocess.Popen[str], str]:
    """The command, and the address that it said."""
    process = subprocess.Popen(
        [str(SCRIPT), "review", str(folder / "review.yaml"), "--reviewer", "ann", *flags],
        env={**plain_environment(), "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", line)
        if found:
            return process, found.group()
    raise AssertionError(process.communicate()[1])
