from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from audit_files import flag, found, places, write
from cli_setup import SCRIPT, Outcome, in_process, in_subprocess
from fakes import BagOfWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.miner.audit import audit
from pyrite.miner.audit_checks import Check
from pyrite.miner.mine import MineConfig, mine

# cleaned copies


def test_a_cleaned_copy_lacks_what_was_wrong_and_keeps_the_rest(tmp_path: Path) -> None:
    good = flag("good", ["p"], ["a", "b"], neg_scores=[9.5, 1], pos_scores=[2], prompt="x")
    records = [
        good,
        flag("q", ["p"], ["p", "a", "", "a"], neg_scores=[1, 2, 3, 4], pos_scores=[5]),
        flag("q2", ["p"], ["p"]),
        flag("q3", ["p", ""], ["a"]),
        flag("q4", [], ["a"]),
        flag("q5", ["p"], []),
        flag("GOOD", ["P"], ["b", "A"]),
    ]
    out = tmp_path / "out.jsonl"
    result = audit(write(tmp_path, *records), fix=out)
    assert result.removed is not None
    assert result.removed.as_json() == {
        "kept": 2,
        "rows": 4,
        "emptied": 1,
        "fixed_width": 0,
        "negatives": 3,
    }
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert lines == [good, flag("q", ["p"], ["a"], neg_scores=[2], pos_scores=[5])]


def test_a_row_that_cannot_hold_fewer_negatives_goes_and_is_counted(tmp_path: Path) -> None:
    row = {"anchor": "q", "positive": "p", "negative_1": "a", "negative_2": "b"}
    out = tmp_path / "out.jsonl"
    result = audit(write(tmp_path, row, {**row, "anchor": "r", "negative_2": "p"}), fix=out)
    assert result.removed is not None
    assert (result.removed.kept, result.removed.fixed_width) == (1, 1)
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [row]


def test_nothing_is_written_where_it_may_not_be_or_nothing_is_left(tmp_path: Path) -> None:
    path = write(tmp_path, flag("q", ["p"], ["p"]))
    there = write(tmp_path, name="there.jsonl")
    with pytest.raises(PyriteError, match="never overwritten"):
        audit(path, fix=there)
    assert there.read_bytes() == b""
    with pytest.raises(PyriteError, match="without a fault"):
        audit(path, fix=tmp_path / "out.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there.jsonl", "train.jsonl"]


TEXTS: st.SearchStrategy[str] = st.sampled_from(["a", "b", "c", "A", "d e f g h", "d e f g", ""])
RECORDS = st.builds(flag, TEXTS, st.lists(TEXTS, max_size=2), st.lists(TEXTS, max_size=3))


@given(st.lists(RECORDS, max_size=6))
def test_a_cleaned_copy_has_no_errors_and_cleaning_it_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("fix")
    fine = flag("fine", ["good"], ["bad"])
    audit(write(folder, fine, *records), fix=folder / "one.jsonl")
    again = audit(folder / "one.jsonl")
    assert again.count("error") == 0
    assert not {Check.DUPLICATE_NEGATIVE, Check.NEAR_POSITIVE} & set(again.counts)


# our own runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = {
        "name": "toy",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(toy_dataset(folder / "data"))},
        "retrieve": {"depth": 60},
        "filters": {"percent": None},
        "sampler": {"name": "topk", "n": 4},
    }
    return mine(parse_config(MineConfig, config), BagOfWords()).folder.parent


def test_our_own_negatives_have_no_overlap(run: Path) -> None:
    result = audit(run)
    assert result.format == "Pyrite run"
    assert result.count("error") == 0
    assert (result.rows, result.negatives) == (30, 120)
    for path in (run / "negatives", run / "negatives" / "negatives.parquet"):
        assert found(audit(path)) == found(result)


def spoiled(run: Path, folder: Path) -> Path:
    """A copy of the run whose first rows hold an unknown id, an own positive and a bad score."""
    table = pq.read_table(run / "negatives" / "negatives.parquet")
    rows = table.to_pylist()
    rows[0]["negative_ids"][1] = "nowhere"
    rows[1]["negative_ids"][0] = f"d{int(rows[1]['query_id'][1:]):04d}"
    rows[2]["scores"][3] = math.nan
    rows[3]["query_id"] = "nobody"
    (folder / "negatives").mkdir(parents=True)
    (folder / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    path = folder / "negatives" / "negatives.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return folder


def test_a_spoiled_run_is_found_out_and_cleaned(run: Path, tmp_path: Path) -> None:
    folder = spoiled(run, tmp_path / "spoiled")
    out = tmp_path / "clean" / "negatives.parquet"
    result = audit(folder, fix=out)
    assert places(result, Check.UNKNOWN_ID) == [(1, "negative 2"), (4, "query")]
    assert places(result, Check.OWN_POSITIVE) == [(2, "negative 1")]
    assert places(result, Check.NONFINITE_SCORE) == [(3, "negative 4")]
    assert result.removed is not None
    # other findings among the made-up words may go too
    assert result.removed.rows == 1
    assert result.removed.negatives >= 3
    assert pq.read_schema(out).equals(pq.read_schema(run / "negatives" / "negatives.parquet"))
    first = pq.read_table(out).to_pylist()[0]
    before = pq.read_table(run / "negatives" / "negatives.parquet").to_pylist()[0]
    lists = [key for key, value in before.items() if isinstance(value, list)]
    assert "nowhere" not in first["negative_ids"]
    assert len({len(first[key]) for key in lists}) == 1
    for doc_id, score in zip(first["negative_ids"], first["scores"], strict=True):
        assert score == before["scores"][before["negative_ids"].index(doc_id)]
    (out.parent / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    assert audit(out).count("error") == 0


def test_ids_without_their_configuration(run: Path, tmp_path: Path) -> None:
    folder = spoiled(run, tmp_path / "spoiled")
    (folder / "config.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(PyriteError, match="not readable as YAML"):
        audit(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({"dataset": {"path": "nope"}}))
    with pytest.raises(PyriteError, match=r"nope: no such dataset folder.*set dataset\.path"):
        audit(folder)
    (folder / "config.yaml").unlink()
    with pytest.raises(PyriteError, match="audit the run folder"):
        audit(folder)


# the command line


def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> Outcome:
    return in_process(monkeypatch, capfd, "audit", *map(str, arguments))


def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clean = write(tmp_path, flag("q", ["p"], ["a"]), name="clean.jsonl")
    warned = write(tmp_path, flag("q", ["p"], ["a", "a"]), name="warned.jsonl")
    wrong = write(tmp_path, flag("q", ["p"], ["p"]), name="wrong.jsonl")
    bad = write(tmp_path, {**flag("q", ["p"], ["a"]), "pos": "p"}, name="bad.jsonl")
    calls: list[tuple[tuple[object, ...], int]] = [
        ((clean, "--max-warnings", 0), 0),
        ((warned,), 0),
        ((warned, "--max-warnings", 1), 0),
        ((warned, "--max-warnings", 0), 1),
        ((wrong,), 1),
        ((bad,), 2),
        ((tmp_path / "nowhere",), 2),
        ((clean, "--fix", warned), 2),
        ((clean, "--against", tmp_path), 2),
    ]
    for arguments, code in calls:
        outcome = call(monkeypatch, capfd, *arguments)
        assert outcome.code == code, (arguments, outcome)
        assert len(outcome.errors) == (code == 2)
    assert f"{bad}:1: field 'pos' is a str" in call(monkeypatch, capfd, bad).errors[0]


def test_texts_of_ids_and_the_format_are_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "triples.tsv").write_text("q1\td1\td2\n", encoding="utf-8")
    (tmp_path / "corpus.tsv").write_text("d1\tred\nd2\tgreen\n", encoding="utf-8")
    (tmp_path / "queries.tsv").write_text("q1\twhat\n", encoding="utf-8")
    cache = ("--cache-dir", tmp_path / "cache")
    ids = (tmp_path / "triples.tsv", "--corpus", tmp_path / "corpus.tsv", *cache)
    good = call(monkeypatch, capfd, *ids, "--queries", tmp_path / "queries.tsv")
    assert good.code == 0
    assert "(MS MARCO id triples)" in good.out
    texts = call(monkeypatch, capfd, ids[0], "--format", "triples")
    assert (texts.code, "(MS MARCO triples)" in texts.out) == (0, True)
    mistakes: list[tuple[tuple[object, ...], str]] = [
        (ids, "--queries"),
        ((ids[0], *cache), "--corpus"),
        ((ids[0], "--corpus", tmp_path / "nope.tsv", *cache), "nope.tsv"),
        ((ids[0], "--format", "nope"), "no such format; one of pyrite"),
    ]
    for arguments, says in mistakes:
        outcome = call(monkeypatch, capfd, *arguments)
        assert outcome.code == 2
        assert [says in line for line in outcome.errors] == [True]


def test_json_is_all_that_goes_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, flag("q", ["p"], ["p", "a"]))
    out = tmp_path / "out.jsonl"
    outcome = call(monkeypatch, capfd, path, "--json", "--fix", out)
    assert outcome.code == 1
    assert json.loads(outcome.out) == {
        "path": str(path),
        "format": "FlagEmbedding",
        "rows": 1,
        "positives": 1,
        "negatives": 2,
        "usual_negatives": 2,
        "errors": 1,
        "warnings": 0,
        "findings": [
            {
                "check": "own_positive",
                "severity": "error",
                "count": 1,
                "examples": [{"line": 1, "where": "negative 1"}],
            }
        ],
        "removed": {"kept": 1, "rows": 0, "emptied": 0, "fixed_width": 0, "negatives": 1},
        "judged": None,
    }


def test_the_table_names_the_format_the_findings_and_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # rich marks up what stands in brackets; a path is not markup
    path = write(tmp_path, flag("q", ["p"], ["p", "a"]), name="[red].jsonl")
    out = tmp_path / "out.jsonl"
    outcome = call(monkeypatch, capfd, path, "--fix", out)
    for part in ("(FlagEmbedding)", "own positive as negative", "1 (negative 1)", "[red].jsonl"):
        assert part in outcome.out, outcome.out
    assert f"wrote {out}: 1 rows; removed 1 negatives" in outcome.out


def test_help_names_every_option() -> None:
    outcome = in_subprocess([SCRIPT, "audit", "--help"])
    assert outcome.code == 0
    for option in ("PATH", "--json", "--fix", "--against", "--split", "--max-words"):
        assert option in outcome.out
    for option in ("--max-warnings", "--corpus", "--queries", "--qrels", "--format"):
        assert option in outcome.out


def test_the_verb_loads_no_model_library(tmp_path: Path) -> None:
    path = write(tmp_path, flag("q", ["p"], ["a"]))
    assert in_subprocess([SCRIPT, "audit", path]).code == 0
    code = f"""
import sys
from pyrite.__main__ import main
sys.argv = ["pyrite", "audit", {str(path)!r}]
try:
    main()
except SystemExit as end:
    assert not end.code
print(*sys.modules)
"""
    outcome = in_subprocess([sys.executable, "-c", code])
    assert outcome.code == 0, outcome.err
    loaded = set(outcome.out.split("\n")[-2].split())
    assert loaded.isdisjoint({"torch", "transformers", "sentence_transformers", "faiss"})
