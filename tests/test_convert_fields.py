"""Every field that a peer documents for its files is there again after a conversion to itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyrite import ConvertOptions, convert
from pyrite.miner.formats.outputs import OUTPUTS
from pyrite.miner.formats.registry import FORMATS
from pyrite.miner.formats.sources import Sources

P = {"docid": "P1", "title": "Red", "text": "a red thing", "score": 0.75}
N = {"docid": "P2", "title": "", "text": "a green thing", "score": 0.5}
M = {"docid": "P3", "title": "Blue", "text": "blue\tink\nhere", "score": -1.5}


def ctx(passage: dict[str, Any], title_score: float) -> dict[str, Any]:
    rest = {k: v for k, v in passage.items() if k != "docid"}
    return {**rest, "title_score": title_score, "passage_id": passage["docid"]}


@dataclass(frozen=True)
class Sample:
    """A record with all fields, and those of them that the peer documents."""

    name: str
    fields: str
    record: dict[str, Any]
    needs: tuple[str, ...] = ()  # corpus, queries
    suffix: str = ".jsonl"


SAMPLES = [
    Sample(
        "flag",
        "query pos neg pos_scores neg_scores prompt type pos_id neg_id batch_size train_group_size",
        {
            "query_id": "7",
            "query": "what is réd?",
            "pos": ["a red thing", "crimson"],
            "neg": ["a green thing"],
            "pos_scores": [0.75, 0.5],
            "neg_scores": [0.25],
            "pos_id": ["P1", "P4"],
            "neg_id": ["P2"],
            "prompt": "Find:",
            "type": "only_1neg",
            "batch_size": 8,
            "train_group_size": 4,
        },
    ),
    Sample(
        "tevatron",
        "query_id query answers positive_passages negative_passages subset docid "
        "title text score positive_passage_ids negative_passage_ids response "
        "finish_reason",
        {
            "query_id": "7",
            "query": "what is red?",
            "positive_passages": [P],
            "negative_passages": [N, M],
            "answers": ["red", "crimson"],
            "subset": "nq",
            "positive_passage_ids": ["P1"],
            "negative_passage_ids": ["P2", "P3"],
            "response": "<better>...",
            "finish_reason": "stop",
        },
    ),
    Sample(
        "tevatron-teacher",
        "query_id query passages title text scores",
        {
            "query_id": "7",
            "query": "what is red?",
            "passages": [{k: p[k] for k in ("title", "text")} for p in (P, N, M)],
            "scores": [0.75, 0.5, -1.5],
        },
    ),
    Sample(
        "tevatron-ids",
        "query_id query_text query_image positive_document_ids negative_document_ids",
        {
            "query_id": "7",
            "query_text": "what is red?",
            "query_image": None,
            "positive_document_ids": ["P1"],
            "negative_document_ids": ["P2", "P3"],
        },
        ("corpus",),
    ),
    Sample(
        "dpr",
        "dataset question answers positive_ctxs negative_ctxs hard_negative_ctxs "
        "title text score title_score passage_id",
        {
            "dataset": "nq_dev",
            "question": "what is red?",
            "answers": ["red"],
            "positive_ctxs": [ctx(P, 1.0)],
            "negative_ctxs": [ctx(N, 0.0)],
            "hard_negative_ctxs": [ctx(M, 0.5)],
        },
        suffix=".json",
    ),
    Sample(
        "nemo",
        "question_id question corpus_id pos_doc neg_doc id score",
        {
            "question_id": "7",
            "question": "what is red?",
            "corpus_id": "corpus",
            "pos_doc": [{"id": "P1", "score": 0.75}],
            "neg_doc": [{"id": "P2", "score": 0.5}, {"id": "P3"}],
        },
        ("corpus",),
    ),
    Sample(
        "nemo-inline",
        "query pos_doc neg_doc text",
        {
            "query": "what is red?",
            "pos_doc": [{"text": "a red thing"}],
            "neg_doc": [{"title": "Blue", "text": "blue ink"}, {"text": "green"}],
        },
    ),
    Sample(
        "st-triplet",
        "anchor positive negative",
        {"anchor": "what is red?", "positive": "a red thing", "negative": "a green thing"},
    ),
    Sample(
        "st",
        "anchor positive negative scores",
        {"anchor": "q", "positive": "p", "negative": "n", "scores": [0.75, 0.5]},
    ),
    Sample(
        "st",
        "anchor positive negative_1 negative_2 scores",
        {
            "anchor": "q",
            "positive": "p",
            "negative_1": "n",
            "negative_2": "m",
            "scores": [0.75, 0.5, 0.25],
        },
    ),
    Sample(
        "st-pair",
        "anchor positive label",
        {"anchor": "q", "positive": "p", "label": 1},
    ),
    Sample(
        "st-list",
        "anchor positive labels",
        {"anchor": "q", "positive": ["p", "a", "b"], "labels": [1, 0, 0]},
    ),
    Sample(
        "st-scores",
        "anchor positive scores",
        {"anchor": "q", "positive": ["p", "a", "b"], "scores": [0.75, 0.5, 0.25]},
    ),
    Sample(
        "st-ids",
        "query_id positive_id negative_id",
        {"query_id": "7", "positive_id": "P1", "negative_id": "P2"},
        ("corpus", "queries"),
    ),
    Sample(
        "pylate",
        "query_id document_ids scores",
        {"query_id": "7", "document_ids": ["P1", "P2", "P3"], "scores": [0.75, -1.0, 0.5]},
        ("corpus", "queries"),
    ),
    Sample(
        "contrastors",
        "query document negatives pos_score scores metadata objective self paired triplet",
        {
            "query": "what is réd?",
            "document": "a red thing",
            "negatives": ["a green thing", "blue ink"],
            "pos_score": 0.75,
            "scores": [0.5, -1.5],
            "metadata": {
                "objective": {
                    "self": [],
                    "paired": [],
                    "triplet": [["query", "document", "negatives"]],
                }
            },
        },
    ),
    Sample(
        "contrastors",
        "query document negatives metadata objective paired",
        {
            "query": "q",
            "document": "p",
            "negatives": ["n"],
            "metadata": {"objective": {"paired": [["query", "document"]]}},
        },
    ),
    Sample(
        "ms-swift",
        "query response rejected_response",
        {"query": "q", "response": "p", "rejected_response": ["n", "m"], "channel": "x"},
    ),
    Sample(
        "ms-swift-messages",
        "messages positive_messages negative_messages role content",
        {
            "messages": [{"role": "user", "content": "q"}],
            "positive_messages": [[{"role": "user", "content": "p"}]],
            "negative_messages": [
                [{"role": "user", "content": "n"}],
                [{"role": "user", "content": "m"}],
            ],
        },
    ),
    Sample(
        "msmarco-hard-negatives",
        "qid pos neg bm25",
        {"qid": 7, "pos": [1], "neg": {"bm25": [2, 3], "ance": [3]}},
        ("numbered", "queries"),
    ),
]
NAMES = [f"{at} {sample.name}" for at, sample in enumerate(SAMPLES)]
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)


def sources_of(folder: Path, sample: Sample) -> Sources:
    corpus: list[dict[str, Any]] = [
        {"docid": p["docid"], "title": p["title"], "text": p["text"]} for p in (P, N, M)
    ]
    if "numbered" in sample.needs:
        corpus = [{**passage, "docid": passage["docid"][1:], "title": ""} for passage in corpus]
    lines = "".join(json.dumps(record) + "\n" for record in corpus)
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
    (folder / "queries.tsv").write_text("7\twhat is red?\n", encoding="utf-8")
    (folder / "qrels.trec").write_text("7 0 P1 1\n", encoding="utf-8")
    corpus_file, queries, qrels = (
        folder / name if needs & set(sample.needs) else None
        for needs, name in (
            ({"corpus", "numbered"}, "corpus.jsonl"),
            ({"queries"}, "queries.tsv"),
            ({"qrels"}, "qrels.trec"),
        )
    )
    return Sources(corpus_file, queries, qrels, cache=folder / "cache")


def names_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


def put(folder: Path, sample: Sample) -> Path:
    path = folder / f"in{sample.suffix}"
    whole = [sample.record] if sample.suffix == ".json" else sample.record
    path.write_text(json.dumps(whole) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> dict[str, Any]:
    with pa.input_stream(str(path), compression="detect") as stream:
        whole = json.loads(stream.read())
    if isinstance(whole, list):
        [whole] = whole
    if "data" in whole:
        [whole] = whole["data"]
    found: dict[str, Any] = whole
    return found


@each_sample
@pytest.mark.parametrize("form", ["file", "folder", ".gz", ".zst", ".parquet"])
def test_each_documented_field_is_there_again(sample: Sample, form: str, tmp_path: Path) -> None:
    assert set(sample.fields.split()) <= names_in(sample.record)
    path, sources = put(tmp_path, sample), sources_of(tmp_path, sample)
    options = ConvertOptions(sources, wanted=sample.name if sample.name in FORMATS else None)
    to_folder = form == "folder"
    suffix = ".json" if sample.name == "nemo" else sample.suffix
    name = {"folder": "out", "file": f"out{suffix}", ".parquet": "out.parquet"}
    out = tmp_path / name.get(form, f"out{suffix}{form}")
    if form == ".parquet" and ".parquet" not in OUTPUTS[sample.name].layouts:
        pytest.skip("not a table")
    done = convert(path, out, sample.name, options)
    assert (done.rows, done.records) == (1, 1)
    if to_folder:
        titled = "corpus" in sample.needs and sample.name != "tevatron-ids"
        # a lookup table has no column for titles
        expected = {"title apart from its text": 2} if titled else {}
        if sample.name == "st-ids":
            expected = {"title apart from its text": 1}
        if sample.name == "msmarco-hard-negatives":
            expected = {"tab or line break in a text": 1}
        assert done.lost == expected
        assert read(out / OUTPUTS[sample.name].main) == sample.record
        alone = ConvertOptions(Sources(cache=tmp_path / "cache"), wanted=options.wanted)
        again = convert(out, tmp_path / "again", sample.name, alone)
        assert again.lost == {}
        main = OUTPUTS[sample.name].main
        assert (tmp_path / "again" / main).read_bytes() == (out / main).read_bytes()
        return
    assert done.lost == {}
    if form == ".parquet":
        [record] = pq.read_table(out).to_pylist()
        assert without_nulls(record) == without_nulls(sample.record)
        return
    unpacked = tmp_path / "unpacked.json"
    with pa.input_stream(str(out), compression="detect" if form != "file" else None) as stream:
        unpacked.write_bytes(stream.read())
    assert read(unpacked) == sample.record


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def test_nemo_names_its_corpus_as_nemo_does(tmp_path: Path) -> None:
    sample = next(s for s in SAMPLES if s.name == "nemo")
    path, sources = put(tmp_path, sample), sources_of(tmp_path, sample)
    convert(path, tmp_path / "out", "nemo", ConvertOptions(sources, wanted="nemo"))
    whole = json.loads((tmp_path / "out" / "train.json").read_text("utf-8"))
    assert whole["corpus"] == [{"path": "corpus"}]
    facts = json.loads((tmp_path / "out" / "corpus" / "merlin_metadata.json").read_text("utf-8"))
    assert facts == {"class": "TextQADataset", "corpus_id": "corpus"}
    table = pq.read_table(tmp_path / "out" / "corpus" / "train.parquet")
    assert table.column_names == ["id", "text"]
    assert table.to_pylist()[0] == {"id": "P1", "text": "Red a red thing"}
