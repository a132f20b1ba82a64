from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from relabel_cases import Answer
from training_dialects import DIALECTS, Dialect, Row

from pyrite import RelabelConfig, audit, relabel
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest
from pyrite.miner.formats.flag_embedding import FlagEmbedding
from pyrite.miner.formats.sources import Sources
from pyrite.miner.relabel.case import Verdict
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.training_file import open_training_file
from pyrite.miner.training_row import TrainingRow

NAMES = [f"{at} {dialect.name}" for at, dialect in enumerate(DIALECTS)]
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=NAMES)
ROWS = [
    Row("how do plants eat", "plants use light", ["they photosynthesise", "cats eat fish"]),
    Row("why is the sky blue", "light scatters in air", ["the sea is wet", "roses are red"]),
    Row("what do cows drink", "cows drink water", ["calves get milk", "also water (false)"]),
]
FALSE = {"they photosynthesise", "also water (false)"}
ONE_POSITIVE = {
    "Tevatron teacher",
    "NeMo inline",
    "contrastors",
    "ms-swift",
    "sentence-transformers",
    "sentence-transformers ids",
    "PyLate",
    "MS MARCO triples",
    "MS MARCO id triples",
}


def oracle(*false: str, label: str = "oracle") -> ScriptedJudge:
    def answer(case: Any) -> list[Verdict]:
        known = set(false or FALSE)
        return [Verdict(doc.text in known, "equal") for doc in case.documents]

    given: Answer = answer
    return ScriptedJudge(given, label)


def config(folder: Path, path: Path, sources: Sources, **changes: Any) -> RelabelConfig:
    named = {
        name: str(getattr(sources, name))
        for name in ("corpus", "queries", "qrels")
        if getattr(sources, name) is not None
    }
    settings = {
        "name": "toy",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "data": {"path": str(path), **named},
        "stages": [{"judge": "scripted", "scripted": {"function": "x:y"}}],
        **changes,
    }
    return parse_config(RelabelConfig, settings)


def texts(rows: list[TrainingRow]) -> list[tuple[str, list[str], list[str]]]:
    return [(r.query, [d.full for d in r.positives], [d.full for d in r.negatives]) for r in rows]


def holds_another_positive(dialect: Dialect) -> bool:
    return dialect.name not in ONE_POSITIVE


@each_dialect
def test_every_format_is_repaired_in_its_own_kind_or_refused(
    dialect: Dialect, tmp_path: Path
) -> None:
    path, sources = dialect.put(tmp_path, ROWS)
    before = path.read_bytes()
    wanted = config(tmp_path, path, sources)
    if not holds_another_positive(dialect):
        with pytest.raises(PyriteError, match=r"whose rows hold one positive.*set out=tevatron"):
            relabel(wanted, [oracle()])
        return
    done = relabel(wanted, [oracle()])
    assert path.read_bytes() == before
    out = next(p for p in done.folder.iterdir() if p.name.startswith("rows"))
    assert out.suffix == path.suffix
    manifest = Manifest.read(done.folder)
    assert manifest is not None
    assert manifest.intact(done.folder)
    if dialect.name == "NeMo":
        # it names its corpus by a path beside it
        shutil.copytree(tmp_path / "c", done.folder / "c")
    again = open_training_file(out, sources)
    assert again.format.name == dialect.name
    read = list(again.rows())
    assert [sorted(d.full for d in r.negatives) for r in read] == [
        ["cats eat fish"],
        sorted(ROWS[1].negatives),
        ["calves get milk"],
    ]
    judged_outside = again.format.judged_outside
    expected = [[ROWS[0].positive], [ROWS[1].positive], [ROWS[2].positive]]
    if judged_outside:
        lines = (done.folder / "positives.tsv").read_text("utf-8").splitlines()
        assert lines[0] == "query-id\tcorpus-id\tscore"
        assert [line.split("\t")[::2] for line in lines[1:]] == [["1", "1"], ["3", "1"]]
    else:
        assert not (done.folder / "positives.tsv").exists()
        expected[0].append("they photosynthesise")
        expected[2].append("also water (false)")
    found = [[d.full for d in r.positives] for r in read]
    # a format that labels its documents keeps them where they stand
    assert [sorted(f) for f in found] == [sorted(e) for e in expected]
    if "label" not in dialect.name and "lightning" not in dialect.name:
        assert found == expected
    assert audit(out, sources=sources).passes()
    second = relabel(config(tmp_path, out, sources, name="again"), [oracle("nothing")])
    assert (second.folder / out.name).read_bytes() == out.read_bytes()


@each_dialect
def test_every_format_loses_its_false_negatives_or_is_refused(
    dialect: Dialect, tmp_path: Path
) -> None:
    path, sources = dialect.put(tmp_path, ROWS)
    wanted = config(tmp_path, path, sources, operation="remove_negative")
    if dialect.name in ("sentence-transformers", "sentence-transformers ids", "MS MARCO triples"):
        with pytest.raises(PyriteError, match="a fixed number of negatives"):
            relabel(wanted, [oracle()])
        return
    done = relabel(wanted, [oracle()])
    out = next(p for p in done.folder.iterdir() if p.name.startswith("rows"))
    if dialect.name == "NeMo":
        shutil.copytree(tmp_path / "c", done.folder / "c")
    rows = list(open_training_file(out, sources).rows())
    one = dialect.negatives == 1
    assert [sorted(d.full for d in r.negatives) for r in rows] == (
        [["the sea is wet"], ["calves get milk"]]
        if one
        else [["cats eat fish"], sorted(ROWS[1].negatives), ["calves get milk"]]
    )
    assert done.report["rows_dropped"] == ({"emptied": 1} if one else {})


@each_dialect
def test_every_format_can_be_written_as_one_that_holds_whole_rows(
    dialect: Dialect, tmp_path: Path
) -> None:
    out = ["tevatron", "flag", "parquet"][DIALECTS.index(dialect) % 3]
    path, sources = dialect.put(tmp_path, ROWS)
    done = relabel(config(tmp_path, path, sources, out=out), [oracle()])
    written = next(p for p in done.folder.iterdir() if p.name.startswith("rows"))
    rows = texts(list(open_training_file(written).rows()))
    last = ["calves get milk"]
    whole = [
        (ROWS[0].query, [ROWS[0].positive, "they photosynthesise"], ["cats eat fish"]),
        (ROWS[1].query, [ROWS[1].positive], ROWS[1].negatives),
        (ROWS[2].query, [ROWS[2].positive, "also water (false)"], last),
    ]
    alone = [
        (ROWS[1].query, [ROWS[1].positive], ROWS[1].negatives[:1]),
        (ROWS[2].query, [ROWS[2].positive], last),
    ]
    assert rows == (whole if dialect.negatives > 1 else alone)


def test_lists_beside_the_texts_grow_with_them() -> None:
    record = {
        "query": "q",
        "pos": ["p"],
        "neg": ["a", "b", "c"],
        "pos_scores": [0.9],
        "neg_scores": [0.1, 0.2, 0.3],
        "pos_id": ["P"],
        "pos_from": ["bm25"],
        "neg_from": ["x", "y", "z"],
        "prompt": "?",
    }
    assert FlagEmbedding().promote(record, [0], [2, 1]) == {
        "query": "q",
        "pos": ["p", "c", "b"],
        "neg": ["a"],
        "pos_scores": [0.9, 0.3, 0.2],
        "neg_scores": [0.1],
        # the file has no ids of negatives
        "pos_id": ["P", None, None],
        "pos_from": ["bm25", "z", "y"],
        "neg_from": ["x"],
        "prompt": "?",
    }
    assert record["pos"] == ["p"]


def test_weights_stand_beside_the_negatives(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path, sources = DIALECTS[0].put(tmp_path, ROWS)
    judge = ScriptedJudge(lambda case: [Verdict(False, "na", 0.25), Verdict(None)])
    wanted = config(tmp_path, path, sources, operation="weight", out="parquet")
    done = relabel(wanted, [judge])
    rows = pq.read_table(done.folder / "rows.parquet").to_pylist()
    assert [row["false_negative"] for row in rows] == [[0.25, None]] * 3
    assert [len(row["negative_passages"]) for row in rows] == [2, 2, 2]
    with pytest.raises(PyriteError, match="FlagEmbedding has no place for a probability"):
        relabel(config(tmp_path, path, sources, operation="weight"), [judge])


def test_pairs_without_a_truth_beside_them_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"sentence1": "a", "sentence2": "b", "label": 0}\n', encoding="utf-8")
    with pytest.raises(PyriteError, match="group the pairs of a query"):
        relabel(config(tmp_path, path, Sources()), [oracle()])


def test_the_resolved_configuration_lies_beside_the_rows(tmp_path: Path) -> None:
    path, sources = DIALECTS[0].put(tmp_path, ROWS)
    wanted = config(tmp_path, path, sources)
    done = relabel(wanted, [oracle()])
    dumped = yaml.safe_load((done.folder / "relabel.yaml").read_text("utf-8"))
    assert parse_config(RelabelConfig, dumped) == wanted
