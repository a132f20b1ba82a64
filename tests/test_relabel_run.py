from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import cut_short, good, prose, refusal, serving, slow
from cli_setup import SCRIPT, in_process, snapshot
from embedding_server import KEY, Server
from relabel_cases import rows_of

from pyrite import RelabelConfig, load_config, relabel
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest
from pyrite.miner.relabel.case import Case, Verdict
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.training_file import TrainingFile, open_training_file
from pyrite.miner.training_row import Record, TrainingRow

# the second stage of the server sees "worse" as the first does
WORDS = ("clean one", "better one", "worse one", "equal one", "plain one")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


def train_file(folder: Path, rows: int = 12) -> Path:
    """Tevatron rows of four negatives; row r has document r, r + 1, ... of the words."""
    records = [
        {
            "query_id": row.query_id,
            "query": row.query,
            "positive_passages": [{"docid": "p", "title": "", "text": row.positives[0].text}],
            "negative_passages": [
                {"docid": f"{row.line}.{at}", "title": "T", "text": f"{row.line} {at} {word}"}
                for at, word in enumerate(chosen(row.line))
            ],
        }
        for row in rows_of(*["x"] * rows)
    ]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def chosen(line: int) -> list[str]:
    # every third row has nothing to find
    if line % 3 == 0:
        return ["clean one", "plain one"]
    return [WORDS[(line + at) % 5] for at in range(4)]


def write_config(folder: Path, server: Server, name: str = "toy", **changes: Any) -> Path:
    chat = {
        "base_url": server.url,
        "api_key_env": "PYRITE_TEST_KEY",
        "max_retries": 1,
        "timeout_s": 5,
        "reply_retries": 1,
    }
    settings = {
        "name": name,
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / f"cache-{name}"),
        "data": {"path": str(folder / "train.jsonl")},
        "stages": [
            {"judge": "duplicates"},
            {"judge": "chat", "chat": {**chat, "model": "small", "price": {"input": 1}}},
            {"judge": "chat", "chat": {**chat, "model": "large", "price": {"input": 10}}},
        ],
        "block_rows": 5,
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def models(server: Server) -> list[str]:
    return [payload["model"] for payload in server.asked]


def negatives(path: Path) -> list[list[str]]:
    rows = open_training_file(path).rows()
    return [[" ".join(d.text.split()[2:]) for d in row.negatives] for row in rows]


def test_a_file_goes_through_two_models_and_comes_out_repaired(
    tmp_path: Path, server: Server
) -> None:
    train_file(tmp_path)
    done = relabel(load_config(RelabelConfig, write_config(tmp_path, server)))
    out = done.folder / "rows.jsonl"
    assert negatives(out) == [
        [word for word in chosen(line) if word.split()[0] not in ("better", "equal")]
        for line in range(1, 13)
    ]
    assert models(server).count("small") == 12
    # a row without anything relevant is not worth the large model
    assert models(server).count("large") == 8
    _, small, large = done.report["stages"]
    assert (small["seen"], small["clean"], small["forwarded"]) == (40, 8, 32)
    assert large["seen"] == large["clean"] + large["false_negative"] == 32
    assert done.report["pairs"] == sum(done.report["states"].values()) == 40
    assert done.spent["stages"][1]["cost"] == pytest.approx(12 * 100 / 1e6)
    assert done.spent["stages"][2]["cost"] == pytest.approx(8 * 1000 / 1e6)
    notes = [json.loads(line) for line in (done.folder / "verdicts.jsonl").open(encoding="utf-8")]
    assert len(notes) == large["false_negative"]
    assert notes[0]["why"].startswith("because of")
    manifest = Manifest.read(done.folder)
    assert manifest is not None
    assert manifest.intact(done.folder)
    assert not any(KEY.encode() in content for content in snapshot(tmp_path).values())


def test_no_verdict_is_paid_twice(tmp_path: Path, server: Server) -> None:
    train_file(tmp_path)
    path = write_config(tmp_path, server)
    first = relabel(load_config(RelabelConfig, path))
    kept = snapshot(first.folder)
    calls = len(server.asked)
    # another operation, another block, a free stage less: all of it is known
    again = relabel(load_config(RelabelConfig, path, ["block_rows=2"]))
    assert len(server.asked) == calls
    for name in ("rows.jsonl", "verdicts.jsonl", "report.json"):
        assert snapshot(again.folder)[name] == kept[name]
    settings = yaml.safe_load(path.read_text("utf-8"))
    settings["stages"] = settings["stages"][1:]
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    relabel(load_config(RelabelConfig, path, ["operation=remove_row"]))
    assert len(server.asked) == calls


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [(prose, "parse_error"), (cut_short, "truncated"), (refusal, "refused")],
)
def test_a_broken_judge_leaves_the_rows_as_they_were(
    behaviour: Any, state: str, tmp_path: Path, server: Server
) -> None:
    path = train_file(tmp_path, 3)
    server.default = behaviour
    config = load_config(RelabelConfig, write_config(tmp_path, server))
    done = relabel(config)
    assert (done.folder / "rows.jsonl").read_bytes() == path.read_bytes()
    assert done.report["states"] == {f"unknown:{state}": 10}
    # what is not known is asked again
    server.default = good
    assert relabel(config).report["states"].keys() == {"clean", "false_negative"}


def test_unknown_negatives_may_be_dropped(tmp_path: Path, server: Server) -> None:
    train_file(tmp_path, 3)
    server.script = [prose] * 4
    config = load_config(
        RelabelConfig, write_config(tmp_path, server), ["on_unknown=drop", "block_rows=1"]
    )
    done = relabel(config)
    assert done.report["rows_dropped"] == {"emptied": 1}
    assert done.report["rows_written"] == 2


def test_a_budget_stops_and_the_same_command_goes_on(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train_file(tmp_path)
    path = str(write_config(tmp_path, server))
    whole = relabel(load_config(RelabelConfig, write_config(tmp_path, server, "whole")))
    server.asked.clear()
    stopped = in_process(monkeypatch, capfd, "relabel", path, "max_calls=11")
    assert stopped.code == 3
    folder = tmp_path / "runs" / "toy" / "relabel"
    assert [p.name for p in folder.iterdir()] == ["stopped.json"]
    assert "stopped at max_calls=11: 5 of 12 rows are decided" in stopped.err
    assert "raise max_calls and run the same command again" in stopped.err
    assert len(server.asked) == 11
    again = in_process(monkeypatch, capfd, "relabel", path, "max_calls=11")
    assert (again.code, len(server.asked)) == (3, 11)
    done = in_process(monkeypatch, capfd, "relabel", path)
    assert done.code == 0
    assert len(server.asked) == 20
    assert not (folder / "stopped.json").exists()
    for name in ("rows.jsonl", "verdicts.jsonl", "report.json"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_stopped_run_leaves_an_earlier_result_whole(tmp_path: Path, server: Server) -> None:
    train_file(tmp_path)
    path = write_config(tmp_path, server)
    done = relabel(load_config(RelabelConfig, path))
    train_file(tmp_path, 20)
    stopped = relabel(load_config(RelabelConfig, path, ["max_calls=22"]))
    assert stopped.stopped is not None
    manifest = Manifest.read(done.folder)
    assert manifest is not None
    assert manifest.intact(done.folder)


def test_a_dry_run_asks_nobody_and_writes_nothing(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train_file(tmp_path)
    path = write_config(tmp_path, server)
    before = snapshot(tmp_path)
    outcome = in_process(monkeypatch, capfd, "relabel", str(path), "--dry-run", "--json")
    assert (outcome.code, server.asked) == (0, [])
    assert snapshot(tmp_path) == before
    free, small, large = json.loads(outcome.out)["estimate"]
    assert (free["pairs"], free["calls"], free["cost"]) == (40, 0, 0)
    assert (small["pairs"], small["calls"]) == (large["pairs"], large["calls"]) == (40, 12)
    assert large["cost"] == pytest.approx(10 * small["cost"])
    settings = yaml.safe_load(path.read_text("utf-8"))
    settings["stages"][1]["expect"] = 0.25
    path.write_text(yaml.safe_dump({**settings, "double_judge": 0.2}), encoding="utf-8")
    less = relabel(load_config(RelabelConfig, path, ["dry_run=true"])).estimates
    assert less[2].calls == pytest.approx(12 * 0.4)
    # what is known already costs nothing
    relabel(load_config(RelabelConfig, path, ["double_judge=0"]))
    known = relabel(load_config(RelabelConfig, path, ["dry_run=true"])).estimates
    assert (known[1].calls, known[1].cost) == (0, 0)
    table = in_process(monkeypatch, capfd, "relabel", str(path), "--dry-run")
    assert "estimate: nothing was asked or written" in table.out


def test_the_tables_show_stages_rows_and_agreement(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train_file(tmp_path)
    (tmp_path / "human.tsv").write_text("query_id\tdoc_id\tlabel\nq1\t1.0\t1\nq1\t1.1\t0\n")
    more: dict[str, Any] = {
        "double_judge": 1,
        "order_check": True,
        "human": str(tmp_path / "human.tsv"),
    }
    path = write_config(tmp_path, server, **more)
    outcome = in_process(monkeypatch, capfd, "relabel", str(path))
    assert outcome.code == 0
    for word in ("stages", "false negative", "operation relabel", "agreement", "kappa", "wrote"):
        assert word in outcome.out
    report = json.loads((tmp_path / "runs/toy/relabel/report.json").read_text("utf-8"))
    (between,) = report["between_stages"]
    assert between["kappa"] == 1.0
    assert between["both"] + between["both_clean"] == 40
    assert [order["kappa"] for order in report["orders"]] == [1.0, 1.0]
    assert report["human"][-1]["first"] == "cascade"
    assert report["human"][-1]["both"] == 1


def scripted(folder: Path, **changes: Any) -> RelabelConfig:
    settings = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "data": {"path": str(folder / "train.jsonl")},
        "stages": [{"judge": "scripted", "scripted": {"function": "relabel_cases:nothing"}}],
        **changes,
    }
    return parse_config(RelabelConfig, settings)


def test_a_function_may_judge(tmp_path: Path) -> None:
    path = train_file(tmp_path)
    done = relabel(scripted(tmp_path))
    assert (done.folder / "rows.jsonl").read_bytes() == path.read_bytes()
    assert done.report["states"] == {"clean": 40}


def test_what_is_relevant_but_worse_may_go(tmp_path: Path) -> None:
    # the worked order of ARHN: c above the positive, a below it and relevant, b not relevant
    record = {"query": "q", "pos": ["pos"], "neg": ["c better", "a worse", "b clean"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")

    def read(case: Case) -> list[Verdict]:
        said = [doc.text.split()[1] for doc in case.documents]
        return [Verdict(s != "clean", "na" if s == "clean" else s) for s in said]  # type: ignore[arg-type]

    done = relabel(scripted(tmp_path, on_worse="remove"), [ScriptedJudge(read)])
    found = json.loads((done.folder / "rows.jsonl").read_text("utf-8"))
    assert (found["pos"], found["neg"]) == (["pos", "c better"], ["b clean"])
    kept = relabel(scripted(tmp_path), [ScriptedJudge(read)])
    assert json.loads((kept.folder / "rows.jsonl").read_text("utf-8"))["neg"] == record["neg"][1:]


def test_another_format_leaves_no_rows_of_the_earlier_one(tmp_path: Path) -> None:
    train_file(tmp_path)
    done = relabel(scripted(tmp_path, out="flag"))
    (done.folder / "notes.txt").write_text("mine", encoding="utf-8")
    relabel(scripted(tmp_path, out="parquet"))
    names = {path.name for path in done.folder.iterdir()}
    assert {"rows.parquet", "notes.txt"} <= names
    assert "rows.jsonl" not in names


def test_a_run_never_writes_over_what_it_reads(tmp_path: Path) -> None:
    train_file(tmp_path)
    done = relabel(scripted(tmp_path))
    own = {"data": {"path": str(done.folder / "rows.jsonl")}}
    with pytest.raises(PyriteError, match="is what this run would write; set name"):
        relabel(scripted(tmp_path, **own))


def test_a_file_of_which_nothing_is_left_is_not_written(tmp_path: Path) -> None:
    train_file(tmp_path)
    every = ScriptedJudge(lambda case: [Verdict(True, "better")] * len(case.documents))
    with pytest.raises(PyriteError, match="no row would be left"):
        relabel(scripted(tmp_path, operation="remove_row"), [every])
    assert not (tmp_path / "runs" / "run" / "relabel" / "rows.jsonl").exists()


def test_rows_are_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_file(tmp_path, 30)
    read, most = 0, 0
    entries = TrainingFile.entries

    def counted(file: TrainingFile) -> Iterator[tuple[TrainingRow, Record]]:
        nonlocal read
        for entry in entries(file):
            read += 1
            yield entry

    def nothing(case: Case) -> list[Verdict]:
        nonlocal most
        most = max(most, read - len(judge.asked) + 1)
        return [Verdict(False)] * len(case.documents)

    judge = ScriptedJudge(nothing)
    monkeypatch.setattr(TrainingFile, "entries", counted)
    relabel(scripted(tmp_path, block_rows=7, operation="remove_row"), [judge])
    assert (read, most) == (30, 7)


def test_a_mistake_waits_for_no_torch(tmp_path: Path) -> None:
    train_file(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text("stages: [{judge: duplicates}]\ndata: {path: nope}\n", encoding="utf-8")
    code = f"""
import sys
from pyrite.__main__ import main
sys.argv = ["pyrite", "relabel", {str(path)!r}]
try:
    main()
except SystemExit as end:
    assert end.code == 2
assert not {{"torch", "transformers", "sentence_transformers", "openai"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 6, 13])
def test_a_killed_run_goes_on_and_pays_for_nothing_twice(
    after: int, tmp_path: Path, server: Server
) -> None:
    train_file(tmp_path)
    whole = relabel(load_config(RelabelConfig, write_config(tmp_path, server, "whole")))
    calls = len(server.asked)
    server.asked.clear()
    server.default = slow
    command = [str(SCRIPT), "relabel", str(write_config(tmp_path, server))]
    environment = {**os.environ, "PYRITE_TEST_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while len(server.asked) < after:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    folder = tmp_path / "runs" / "toy" / "relabel"
    assert Manifest.read(folder) is None
    server.default = good
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    # four calls may have been under way
    assert calls <= len(server.asked) <= calls + 4
    for name in ("rows.jsonl", "verdicts.jsonl", "report.json"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not [p.name for p in folder.iterdir() if ".tmp" in p.name]
