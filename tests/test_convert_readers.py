"""Every format that is read, of whichever kind, becomes rows that hold everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_miner_formats import NAMES
from training_dialects import CLEAN, DIALECTS, Dialect

from pyrite import ConvertOptions, convert
from pyrite.miner.formats.outputs import ALL, OUTPUTS
from pyrite.miner.formats.registry import FORMATS
from pyrite.miner.formats.sources import Sources


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("dialect", DIALECTS, ids=NAMES)
def test_every_format_becomes_whole_rows(dialect: Dialect, tmp_path: Path) -> None:
    path, sources = dialect.put(tmp_path, CLEAN)
    out = tmp_path / "out.jsonl"
    # how NeMo mined stands beside the rows
    strict = dialect.name != "NeMo"
    done = convert(path, out, "tevatron", ConvertOptions(sources, strict=strict))
    assert done.lost == ({} if strict else {"member 'mining' beside the rows": 1})
    assert done.format.endswith(dialect.name)
    found = [
        (
            record["query"],
            [p["text"] for p in record["positive_passages"]],
            [p["text"] for p in record["negative_passages"]],
        )
        for record in read_lines(out)
    ]
    assert found == [(r.query, [r.positive], r.negatives[: dialect.negatives]) for r in CLEAN]
    if dialect.scores:
        scores = [p["score"] for r in read_lines(out) for p in r["negative_passages"]]
        assert scores == [0.5] * 6


def test_what_a_file_says_of_a_document_stays_with_it(tmp_path: Path) -> None:
    dialect = next(d for d in DIALECTS if d.name == "MS MARCO hard negatives")
    path, sources = dialect.put(tmp_path, CLEAN)
    convert(path, tmp_path / "out.jsonl", "tevatron", ConvertOptions(sources))
    first = read_lines(tmp_path / "out.jsonl")[0]
    assert [p["systems"] for p in first["negative_passages"]] == [["bm25", "x"], ["x"]]


def test_pairs_of_one_query_are_joined(tmp_path: Path) -> None:
    rows = [("q", "p", 1), ("q", "n", 0), ("q", "m", 0), ("r", "n", 1), ("q", "o", 1)]
    pairs = [dict(zip(("sentence1", "sentence2", "label"), row, strict=True)) for row in rows]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs), "utf-8")
    done = convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "flag")
    assert read_lines(tmp_path / "out.jsonl") == [{"query": "q", "pos": ["p"], "neg": ["n", "m"]}]
    assert done.lost == {"row without negatives": 2}
    back = convert(tmp_path / "out.jsonl", tmp_path / "back.jsonl", "st-pair")
    assert back.made == {"rows beside the first of a query's": 2}
    names = ("anchor", "positive", "label")
    assert read_lines(tmp_path / "back.jsonl") == [
        dict(zip(names, row, strict=True)) for row in rows[:3]
    ]


def test_easy_negatives_of_dpr_stay_apart(tmp_path: Path) -> None:
    dialect = next(d for d in DIALECTS if d.name == "DPR")
    path, _ = dialect.put(tmp_path, CLEAN[:1])
    convert(path, tmp_path / "rows.jsonl", "tevatron")
    first, second = read_lines(tmp_path / "rows.jsonl")[0]["negative_passages"]
    assert first["hard"] is False
    assert "hard" not in second
    convert(tmp_path / "rows.jsonl", tmp_path / "back.json", "dpr")
    [record] = json.loads((tmp_path / "back.json").read_text("utf-8"))
    assert [len(record[k]) for k in ("negative_ctxs", "hard_negative_ctxs")] == [1, 1]


def test_ids_alone_lose_their_texts_and_say_so(tmp_path: Path) -> None:
    dialect = next(d for d in DIALECTS if d.name == "Tevatron")
    path, _ = dialect.put(tmp_path, CLEAN)
    done = convert(path, tmp_path / "out.jsonl", "pylate")
    assert done.lost["all texts, which a folder would hold beside the rows"] == 1
    done = convert(path, tmp_path / "out.trec", "trec")
    assert done.lost["all texts and positives, which a folder would hold beside the rows"] == 1
    by_id = next(d for d in DIALECTS if d.name == "PyLate" and d.scores)
    path, sources = by_id.put(tmp_path, CLEAN)
    # the texts are where they were
    options = ConvertOptions(sources, strict=True)
    convert(path, tmp_path / "ids.jsonl", "tevatron-ids", ConvertOptions(sources))
    convert(path, tmp_path / "ids.parquet", "pylate", options)


def test_the_page_names_every_format() -> None:
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text("utf-8")
    assert [name for name in ALL if f"`{name}`" not in page] == []


def test_one_registry_knows_reader_and_writer_of_a_format() -> None:
    assert {name for name, kind in FORMATS.items() if kind.output is not None} == {
        *("tevatron", "tevatron-ids", "tevatron-teacher", "dpr", "flag", "nemo", "nemo-inline"),
        *("pylate", "st-ids", "st", "st-pair", "st-list", "trec", "triples-ids", "triples"),
        *("contrastors", "ms-swift", "ms-swift-messages", "msmarco-hard-negatives", "simans"),
        *("star", "top1000", "lightning-ir", "tevatron-rerank", "jansowa"),
    }
    # what is read and not written here is Pyrite's own, or a run written as a run
    assert {name for name, kind in FORMATS.items() if kind.output is None} == {
        *("pyrite", "beir-run", "marco-run", "ranking"),
    }
    assert all(kind.output in (None, OUTPUTS.get(name)) for name, kind in FORMATS.items())


def test_no_model_library_is_loaded(tmp_path: Path) -> None:
    path, _ = DIALECTS[0].put(tmp_path, CLEAN)
    code = (
        "import sys; from pathlib import Path; from pyrite import convert;"
        "convert(sys.argv[1], Path(sys.argv[2]), 'beir');"
        "print([m for m in ('torch', 'transformers', 'datasets', 'faiss') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


FOLDERS = (
    *("trec", "beir", "mteb", "msmarco", "nemo", "msmarco-hard-negatives", "ance", "star"),
    *("top1000", "tevatron-rerank", "jansowa"),
)


def test_sources_are_found_beside_the_rows(tmp_path: Path) -> None:
    path, _ = next(d for d in DIALECTS if d.name == "Tevatron").put(tmp_path, CLEAN)
    cache = ConvertOptions(Sources(cache=tmp_path / "cache"))
    convert(path, tmp_path / "rows.jsonl", "flag")
    for to in ("pylate", "st-ids", "tevatron-ids", *FOLDERS):
        convert(path, tmp_path / to, to, cache)
        convert(tmp_path / to, tmp_path / f"{to}.jsonl", "flag", cache)
        found = [(r["query"], r["pos"]) for r in read_lines(tmp_path / f"{to}.jsonl")]
        assert set(map(str, found)) == {str((r.query, [r.positive])) for r in CLEAN}, to


def test_the_run_beside_a_set_goes_along(tmp_path: Path) -> None:
    path, _ = next(d for d in DIALECTS if d.name == "Tevatron").put(tmp_path, CLEAN)
    cache = ConvertOptions(Sources(cache=tmp_path / "cache"))
    convert(path, tmp_path / "beir", "beir", cache)
    # a split that is first by name, and judges something else
    (tmp_path / "beir" / "qrels" / "dev.tsv").write_text("1\tP4\t1\n", encoding="utf-8")
    there = convert(tmp_path / "beir", tmp_path / "mteb", "mteb", cache)
    assert there.made == {"file 'negatives.trec' copied as it is": 1}
    run = (tmp_path / "beir" / "negatives.trec").read_bytes()
    assert (tmp_path / "mteb" / "negatives.trec").read_bytes() == run
    convert(tmp_path / "mteb", tmp_path / "rows.jsonl", "flag", cache)
    assert [(r["pos"], r["neg"]) for r in read_lines(tmp_path / "rows.jsonl")] == [
        ([r.positive], r.negatives) for r in CLEAN
    ]
    lost = convert(tmp_path / "beir", tmp_path / "marco", "msmarco", cache).lost
    assert lost["file 'negatives.trec'"] == 1
