"""Formats of lines and of lists by query: the same again, and joined wherever a query stands."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_convert_fields import SAMPLES, M, N, P, Sample, sources_of

from pyrite import ConvertOptions, convert
from pyrite.miner.formats.outputs import OUTPUTS
from pyrite.miner.formats.sources import Sources


def lines_of(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


RANKED = [
    {"query_id": "7", "query": "what is réd?", "doc_id": "P1", "text": "a red thing", "rank": 2},
    {"query_id": "7", "query": "what is réd?", "doc_id": "P2", "text": "green", "rank": 1},
]
RERANKED = [
    {"query_id": "7", "query": "what is réd?", "docid": "P2", "title": "", "text": "a green thing"},
    {"query_id": "7", "query": "what is réd?", "docid": "P3", "title": "Blue", "text": "b\tink"},
]
LINES: dict[str, tuple[str, str]] = {
    "triples": ("x.tsv", "what is red?\ta red thing\ta green thing\n"),
    "triples-ids": ("x.tsv", "7\tP1\tP2\n7\tP1\tP3\n"),
    "ance": ("x.tsv", "7\tP1\tP2,P3\n"),
    "simans": ("x.tsv", "7\twhat is red?\tP1 0.75\tP2 0.5,P3 -1.5\n"),
    "star": ("hard.json", '{"7": ["P2", "P3"]}\n'),
    "top1000": ("top1000.tsv", "7\tP2\twhat is red?\tgreen\n7\tP3\twhat is red?\tblue\n"),
    "lightning-ir": (
        "run.jsonl",
        lines_of(
            {**RANKED[0], "score": 0.75, "relevance": 2},
            {**RANKED[1], "score": 0.5, "relevance": 0},
        ),
    ),
    "tevatron-rerank": ("x.jsonl", lines_of({**RERANKED[0], "score": 0.5}, {**RERANKED[1]})),
    "beir-run": ("x.json", '{"7": {"P2": 0.5, "P3": -1.5}}\n'),
}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("to", LINES)
def test_lines_of_fields(to: str, packed: str, tmp_path: Path) -> None:
    name, text = LINES[to]
    (tmp_path / name).write_text(text, encoding="utf-8")
    sources = sources_of(tmp_path, Sample(to, "", {}, ("corpus", "queries", "qrels")))
    out = tmp_path / f"out{Path(name).suffix}{packed}"
    done = convert(tmp_path / name, out, to, ConvertOptions(sources, strict=True))
    assert done.lost == {}
    with pa.input_stream(str(out), compression="detect") as stream:
        assert stream.read().decode() == text
    if OUTPUTS.get(to) is None:
        return
    # a folder has the texts and positives besides, and nothing has to be named to read it
    convert(tmp_path / name, tmp_path / "out", to, ConvertOptions(sources))
    alone = ConvertOptions(Sources(cache=tmp_path / "cache"), strict=True)
    again = tmp_path / f"again{Path(name).suffix}"
    convert(tmp_path / "out", again, to, alone)
    assert again.read_text("utf-8") == text


def test_the_tables_of_jansowa(tmp_path: Path) -> None:
    rows = [
        {
            "query_id": "7",
            "document_id": name,
            "ranking": ranking,
            "candidate_percentile": 0.25,
            "candidate_selected": True,
            "retrieval_rank": 3,
            "retrieval_offset": -1,
            "retrieval_score": 0.5,
            "retrieval_source": "bm25",
        }
        for name, ranking in (("P2", 4), ("P3", 7))
    ]
    given = tmp_path / "given"
    given.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), given / "negatives.parquet")
    texts = [{"id": p["docid"], "text": p["text"]} for p in (P, N, M)]
    pq.write_table(pa.Table.from_pylist(texts), given / "corpus.parquet")
    pq.write_table(pa.Table.from_pylist([{"id": "7", "text": "what?"}]), given / "queries.parquet")
    judged = [{"query_id": "7", "document_id": "P1", "positive_ranking": 1}]
    pq.write_table(pa.Table.from_pylist(judged), given / "relevant.parquet")
    alone = ConvertOptions(Sources(cache=tmp_path / "cache"), strict=True)
    assert convert(given, tmp_path / "out", "jansowa", alone).lost == {}
    for name in ("negatives", "corpus", "queries", "relevant"):
        found, wanted = (pq.read_table(f / f"{name}.parquet") for f in (tmp_path / "out", given))
        assert found.equals(wanted), name
    convert(tmp_path / "out", tmp_path / "rows.jsonl", "tevatron", alone)
    row = json.loads((tmp_path / "rows.jsonl").read_text("utf-8"))
    assert [p["docid"] for p in row["negative_passages"]] == ["P2", "P3"]
    assert row["negative_passages"][0]["retrieval_source"] == "bm25"


def test_contrastors_knows_each_line_of_a_shard(tmp_path: Path) -> None:
    rows = [{"query": f"qué {at}", "pos": ["p" * at], "neg": ["n😀"]} for at in range(3)]
    (tmp_path / "in.jsonl").write_text(lines_of(*rows), encoding="utf-8")
    convert(tmp_path / "in.jsonl", tmp_path / "mined", "contrastors")
    out = tmp_path / "mined"
    raw, offsets = (
        gzip.decompress((out / name).read_bytes())
        for name in ("shard-00000.jsonl.gz", "offsets.json.gz")
    )
    address = "contrastive/mined/shard-00000.jsonl.gz"
    counts = json.loads((out / "counts.json").read_text("utf-8"))
    assert counts == {"count_per_file": {address: 3}, "total_count": 3}
    places = json.loads(offsets)[address]
    assert list(places) == ["0", "1", "2"]
    for at, (start, end) in enumerate(places.values()):
        # counted in letters there, in bytes here: both are the same
        assert json.loads(raw.decode()[start:end])["query"] == f"qué {at}"
        assert raw[start:end].endswith(b"\n")
    (out / "shard-00001.jsonl.gz").write_bytes((out / "shard-00000.jsonl.gz").read_bytes())
    done = convert(out, tmp_path / "both.jsonl", "flag")
    assert (done.format, done.rows) == ("shards of JSON lines, contrastors", 6)


def test_documents_of_a_query_are_joined_wherever_its_rows_stand(tmp_path: Path) -> None:
    def row(name: str, good: str, *bad: str) -> dict[str, Any]:
        docs = [{"docid": d, "text": f"text of {d}"} for d in (good, *bad)]
        sides = {"positive_passages": docs[:1], "negative_passages": docs[1:]}
        return {"query_id": name, "query": f"q{name}", **sides}

    rows = [row("7", "P1", "P2"), row("8", "P2"), row("7", "P4", "P3", "P2", "P1")]
    (tmp_path / "in.jsonl").write_text(lines_of(*rows), encoding="utf-8")
    done = convert(tmp_path / "in.jsonl", tmp_path / "hard.json", "star")
    assert json.loads((tmp_path / "hard.json").read_text()) == {"7": ["P2", "P3", "P1"], "8": []}
    assert done.lost == {"all texts and positives, which a folder would hold beside the rows": 1}
    assert done.made == {"document that a query lists twice, merged": 1}
    convert(tmp_path / "in.jsonl", tmp_path / "run.jsonl", "lightning-ir")
    found = [json.loads(line) for line in (tmp_path / "run.jsonl").open()]
    # the judgement stands, whichever row came first
    assert [(r["query_id"], r["doc_id"], r["rank"], r["relevance"]) for r in found] == [
        ("7", "P1", 1, 1),
        ("7", "P2", 2, 0),
        ("7", "P4", 3, 1),
        ("7", "P3", 4, 0),
        ("8", "P2", 1, 1),
    ]
    done = convert(tmp_path / "in.jsonl", tmp_path / "top.tsv", "top1000")
    assert done.lost["row without negatives"] == 1
    assert "all positives, which a folder would hold beside the rows" in done.lost


def test_a_run_of_pyrite_says_what_retrieved_a_negative(tmp_path: Path) -> None:
    bad = {"docid": "P2", "text": "n", "score": 0.5, "rank": 3, "source": "bm25", "tier": 1}
    row = {"query_id": "7", "query": "q", "positive_passages": [{"docid": "P1", "text": "p"}]}
    (tmp_path / "in.jsonl").write_text(lines_of({**row, "negative_passages": [bad]}), "utf-8")
    done = convert(tmp_path / "in.jsonl", tmp_path / "out", "jansowa")
    assert done.lost == {"field 'tier' of a document": 1}
    [found] = pq.read_table(tmp_path / "out" / "negatives.parquet").to_pylist()
    assert (found["ranking"], found["retrieval_rank"]) == (1, 3)
    assert (found["retrieval_source"], found["candidate_percentile"]) == ("bm25", None)
    convert(tmp_path / "in.jsonl", tmp_path / "marco.jsonl", "msmarco-hard-negatives")
    assert json.loads((tmp_path / "marco.jsonl").read_text())["neg"] == {"bm25": ["P2"]}


def test_every_format_that_is_written_is_tried_here() -> None:
    tried = {sample.name for sample in SAMPLES} | set(LINES)
    # sets and runs have tests of their own; parquet is tevatron's
    others = {"parquet", "msmarco", "trec", "beir", "mteb", "jansowa"}
    assert set(OUTPUTS) - tried == others
