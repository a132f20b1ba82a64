from __future__ import annotations

import errno
import importlib
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cli_setup import SCRIPT, Outcome, in_process, in_subprocess, write_setup

import pyrite

HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "numpy", "faiss", "pydantic")
WAYS: dict[str, list[str | Path]] = {"script": [SCRIPT], "module": [sys.executable, "-m", "pyrite"]}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_setup(tmp_path_factory.mktemp("cli"))


def modules_after(code: str) -> set[str]:
    report = f"{code}\nimport sys\nprint(*sys.modules)"
    outcome = in_subprocess([sys.executable, "-c", report])
    assert outcome.code == 0, outcome.err
    return set(outcome.out.split("\n")[-2].split())


@pytest.mark.parametrize("way", WAYS)
def test_help_lists_the_verbs(way: str) -> None:
    outcome = in_subprocess([*WAYS[way], "--help"])
    assert outcome.code == 0
    assert outcome.err == ""
    assert "Mine hard negatives, train on them, measure whether it helped." in outcome.out
    verbs = "mine train refresh eval compare nevir suggest truth audit relabel review make report"
    for verb in verbs.split():
        assert re.search(rf"^\W*{verb} ", outcome.out, re.MULTILINE), verb


@pytest.mark.parametrize(
    ("verb", "promise"),
    [
        ("mine", "Mine hard negatives for the training queries."),
        ("train", "Fine-tune with in-batch and with mined negatives"),
        ("eval", "Evaluate a model or a retriever on the held-out split"),
    ],
)
def test_each_verb_has_help_that_shows_how_to_call_it(verb: str, promise: str) -> None:
    outcome = in_subprocess([SCRIPT, verb, "--help"])
    assert outcome.code == 0
    assert promise in outcome.out
    assert re.search(rf"Usage: pyrite {verb} .*CONFIG.*A\.B=C", outcome.out)
    assert "--json" in outcome.out


@pytest.mark.parametrize("way", WAYS)
def test_version_is_the_installed_one(way: str) -> None:
    outcome = in_subprocess([*WAYS[way], "--version"])
    assert (outcome.code, outcome.out) == (0, f"pyrite {version('pyrite')}\n")
    assert pyrite.__version__ == version("pyrite")


def test_import_pyrite_loads_nothing_heavy_and_is_quick() -> None:
    assert modules_after("import pyrite").isdisjoint(HEAVY)
    timed = "from time import perf_counter as now; a = now(); import pyrite; print(now() - a)"
    # the best of three: a busy machine is not the library's fault
    seconds = min(float(in_subprocess([sys.executable, "-c", timed]).out) for _ in range(3))
    assert seconds < 0.5


def test_help_takes_half_a_second_of_the_processor() -> None:
    code = """
import sys, time
from pyrite.__main__ import main
sys.argv = ["pyrite", "--help"]
try:
    main()
except SystemExit:
    print(time.process_time())
"""
    outcomes = [in_subprocess([sys.executable, "-c", code]) for _ in range(3)]
    # not of the clock, which a busy machine slows; the start of Python counts
    assert min(float(outcome.out.split()[-1]) for outcome in outcomes) < 0.5


@pytest.mark.parametrize("given", [["--help"], ["mine", "--help"]])
def test_help_waits_for_no_heavy_library(given: list[str]) -> None:
    code = f"""
import sys
from pyrite.__main__ import main
sys.argv = ["pyrite", *{given!r}]
try:
    main()
except SystemExit:
    pass
"""
    # for the arguments of a verb typer itself looks at pydantic
    allowed = {"pydantic"} if given[1:] else set()
    assert modules_after(code).isdisjoint(set(HEAVY) - allowed)


@pytest.mark.parametrize("mistake", ["missing.yaml", "retrieve.dpeth=3"])
def test_a_mistake_in_the_configuration_waits_for_no_torch(mistake: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("name: a\n", encoding="utf-8")
    given = [str(config), mistake] if "=" in mistake else [str(tmp_path / mistake)]
    code = f"""
import sys
from pyrite.__main__ import main
for verb in ("mine", "suggest", "truth", "train", "eval"):
    sys.argv = ["pyrite", verb, *{given!r}]
    try:
        main()
    except SystemExit as end:
        assert end.code == 2, verb
"""
    assert modules_after(code).isdisjoint(
        {"torch", "transformers", "sentence_transformers", "datasets", "faiss"}
    )


def test_the_public_names_resolve_to_the_library_s_own_objects() -> None:
    from pyrite import MineConfig, TrainConfig, evaluate, load_config, mine, train

    homes = {
        "pyrite.miner.mine": (mine, MineConfig),
        "pyrite.trainers.run_config": (TrainConfig,),
        "pyrite.trainers.train": (train,),
        "pyrite.eval.evaluate": (evaluate,),
        "pyrite.core.config": (load_config,),
    }
    for home, objects in homes.items():
        for found in objects:
            assert found is getattr(importlib.import_module(home), found.__name__)
    for name in pyrite.__all__:
        assert getattr(pyrite, name) is not None
    assert dir(pyrite) == sorted(pyrite.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    unknown = "mien"
    with pytest.raises(AttributeError, match="'pyrite' has no attribute 'mien'"):
        getattr(pyrite, unknown)


@pytest.mark.slow
def test_mine_from_the_shell_prints_json_alone_and_the_second_time_keeps_the_result(
    tmp_path: Path,
) -> None:
    config = write_setup(tmp_path)
    first = in_subprocess([SCRIPT, "mine", config, "sampler.n=3", "name=shell", "--json"])
    assert first.code == 0, first.err
    tally = json.loads(first.out)
    assert first.out.count("\n") == 1
    assert tally["queries"] == 15
    assert tally["candidates"] == 15 * 20
    assert max(map(int, tally["negatives_per_query"])) == 3, "the override did not arrive"
    folder = tmp_path / "runs" / "shell" / "negatives"
    written = (folder / "negatives.parquet").stat().st_mtime_ns
    second = in_subprocess([SCRIPT, "mine", config, "sampler.n=3", "name=shell"])
    assert second.code == 0, second.err
    assert f"kept {folder}" in second.out
    assert "wrote" not in second.out
    assert (folder / "negatives.parquet").stat().st_mtime_ns == written


def test_mine_prints_a_table_and_where_it_wrote(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = in_process(monkeypatch, capfd, "mine", str(config), "name=table")
    assert outcome.code == 0
    folder = config.parent / "runs" / "table" / "negatives"
    assert outcome.out.rstrip().endswith(f"wrote {folder}")
    tally = json.loads((folder / "manifest.json").read_text("utf-8"))["counts"]
    assert re.search(rf"queries +│ +{tally['queries']} │", outcome.out)
    assert re.search(rf"candidates +│ +{tally['candidates']} │", outcome.out)


@pytest.mark.parametrize("verb", ["eval", "train"])
def test_json_is_all_that_goes_to_standard_output(
    verb: str, config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = in_process(monkeypatch, capfd, verb, str(config), f"name={verb}", "--json")
    assert outcome.code == 0
    result: dict[str, Any] = json.loads(outcome.out)
    run = config.parent / "runs" / verb
    if verb == "eval":
        assert list(result) == ["ndcg@10", "judged@10", "mrr@10", "recall@100"]
        written = json.loads((run / "eval" / "results.json").read_text("utf-8"))
        assert written["measures"] == result
    else:
        assert list(result["systems"]) == ["base", "in_batch", "mined"]
        assert json.loads((run / "results.json").read_text("utf-8")) == result


@pytest.mark.parametrize("verb", ["eval", "train"])
def test_without_json_the_measures_stand_in_a_table(
    verb: str, config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = in_process(monkeypatch, capfd, verb, str(config), f"name={verb}")
    assert outcome.code == 0
    run = config.parent / "runs" / verb
    if verb == "eval":
        results = json.loads((run / "eval" / "results.json").read_text("utf-8"))
        base = results["measures"]
        assert str(config.parent / "data") in outcome.out.replace("\n", "")
    else:
        base = json.loads((run / "results.json").read_text("utf-8"))["systems"]["base"]
        assert outcome.out.rstrip().endswith(f"wrote {run / 'results.json'}")
    # a narrow terminal breaks the names of the columns, never a number
    for value in base.values():
        assert f"{value:.4f}" in outcome.out


def failing(
    error: BaseException,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Outcome:
    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr("pyrite.miner.mine.mine", fail)
    return in_process(monkeypatch, capfd, "mine", str(config))


def test_an_interrupt_says_how_to_go_on(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = failing(KeyboardInterrupt(), config, monkeypatch, capfd)
    assert outcome.code == 130
    assert outcome.err == "pyrite: interrupted; run the same command again to go on\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ("no space", "runs_dir", "cache_dir")),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), ("no space", "runs_dir")),
        (
            PermissionError(errno.EACCES, "Permission denied", "/some/runs"),
            ("/some/runs", "denied"),
        ),
    ],
    ids=["full disk", "full disk under torch", "not permitted"],
)
def test_a_fault_of_the_machine_is_one_sentence(
    error: Exception,
    says: tuple[str, ...],
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    outcome = failing(error, config, monkeypatch, capfd)
    assert outcome.code == 2
    assert [outcome.err] == [line + "\n" for line in outcome.errors]
    for part in says:
        assert part in outcome.err


def test_a_fault_of_the_library_keeps_its_traceback(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError(), config, monkeypatch, capfd)
    with pytest.raises(OSError, match="odd"):
        failing(OSError(errno.EIO, "odd"), config, monkeypatch, capfd)
