"""Judged sets, files of texts, judgements and runs: each field is there again, or counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyrite import ConvertOptions, PyriteError, audit, convert
from pyrite.miner.convert.source import open_rows
from pyrite.miner.formats.sources import Sources

CORPUS: list[dict[str, Any]] = [
    {"_id": "D1", "title": "Red", "text": "a red\tthing", "metadata": {"url": "http"}},
    {"_id": "D2", "title": "", "text": " é 😀 "},
    {"_id": "D3", "title": "Blue", "text": "blue ink"},
    {"_id": "D4", "title": "", "text": "never judged"},
]
QUERIES: list[dict[str, Any]] = [
    {"_id": "1", "text": "what is red?", "metadata": {"lang": "en"}},
    {"_id": "2", "text": "what is blue?"},
    {"_id": "3", "text": "asked by nobody"},
]
QRELS = {"train": [("1", "D1", 2), ("1", "D2", 0)], "test": [("2", "D3", 1)]}


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_lines(folder / "corpus.jsonl", CORPUS)
    write_lines(folder / "queries.jsonl", QUERIES)
    for split, rows in QRELS.items():
        path = folder / "qrels" / f"{split}.tsv"
        path.parent.mkdir(exist_ok=True)
        body = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows)
        path.write_text(f"query-id\tcorpus-id\tscore\n{body}", encoding="utf-8")
    return folder


def options(folder: Path, **named: Any) -> ConvertOptions:
    return ConvertOptions(Sources(cache=folder.parent / "cache"), **named)


def test_beir_to_beir_keeps_every_field(beir: Path, tmp_path: Path) -> None:
    done = convert(beir, tmp_path / "out", "beir", options(beir, strict=True))
    assert (done.format, done.lost) == ("BEIR set", {})
    assert read_lines(tmp_path / "out" / "corpus.jsonl") == CORPUS
    assert read_lines(tmp_path / "out" / "queries.jsonl") == QUERIES
    for split in QRELS:
        name = f"qrels/{split}.tsv"
        assert (tmp_path / "out" / name).read_bytes() == (beir / name).read_bytes()
    assert (tmp_path / "out" / "README.md").is_file()


def test_beir_to_mteb_and_back(beir: Path, tmp_path: Path) -> None:
    there = convert(beir, tmp_path / "mteb", "mteb", options(beir))
    assert there.lost == {}
    assert read_lines(tmp_path / "mteb" / "qrels" / "train.jsonl") == [
        {"query-id": "1", "corpus-id": "D1", "score": 2},
        {"query-id": "1", "corpus-id": "D2", "score": 0},
    ]
    back = convert(tmp_path / "mteb", tmp_path / "back", "beir", options(beir))
    assert (back.format, back.lost) == ("MTEB set", {})
    assert read_lines(tmp_path / "back" / "corpus.jsonl") == CORPUS
    assert read_lines(tmp_path / "back" / "queries.jsonl") == QUERIES
    assert lines(tmp_path / "back" / "qrels" / "test.tsv")[1:] == ["2\tD3\t1"]


def test_mteb_loads_what_is_written(
    beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    convert(beir, tmp_path / "mteb", "mteb", options(beir))
    loader = RetrievalDatasetLoader(str(tmp_path / "mteb"), "main", split="test")
    data = loader.load()
    assert list(data["corpus"]["id"]) == ["D1", "D2", "D3", "D4"]
    assert list(data["corpus"]["title"]) == ["Red", "", "Blue", ""]
    assert list(data["queries"]["id"]) == ["2"]
    assert data["relevant_docs"] == {"2": {"D3": 1}}


def test_beir_loads_what_is_written(beir: Path, tmp_path: Path) -> None:
    from beir.datasets.data_loader import GenericDataLoader

    convert(beir, tmp_path / "mteb", "mteb", options(beir))
    convert(tmp_path / "mteb", tmp_path / "back", "beir", options(beir))
    corpus, queries, qrels = GenericDataLoader(str(tmp_path / "back")).load(split="test")
    assert corpus["D1"]["title"] == "Red"
    assert queries == {"2": "what is blue?"}
    assert qrels == {"2": {"D3": 1}}


def test_ms_marco_has_neither_titles_nor_tabs(beir: Path, tmp_path: Path) -> None:
    out = tmp_path / "marco"
    done = convert(beir, out, "msmarco", options(beir))
    assert done.lost == {
        "field 'metadata' of a text": 2,
        "query without a judgement": 1,
        "tab or line break in a text": 1,
        "title apart from its text": 2,
    }
    assert lines(out / "collection.tsv") == [
        "D1\tRed a red thing",
        "D2\t é 😀 ",
        "D3\tBlue blue ink",
        "D4\tnever judged",
    ]
    assert lines(out / "queries.train.tsv") == ["1\twhat is red?"]
    assert lines(out / "queries.test.tsv") == ["2\twhat is blue?"]
    assert lines(out / "qrels.train.tsv") == ["1\t0\tD1\t2", "1\t0\tD2\t0"]
    back = convert(out, tmp_path / "back", "beir", options(beir))
    assert (back.format, back.lost) == ("MS MARCO set", {})
    assert [r["_id"] for r in read_lines(tmp_path / "back" / "corpus.jsonl")] == [
        "D1",
        "D2",
        "D3",
        "D4",
    ]
    assert lines(tmp_path / "back" / "qrels" / "train.tsv")[1:] == ["1\tD1\t2", "1\tD2\t0"]
    assert audit(out).format == "MS MARCO"
    with pytest.raises(PyriteError, match=r"corpus.jsonl:1: title apart from its text, which --to"):
        convert(beir, tmp_path / "strict", "msmarco", options(beir, strict=True))
    assert not (tmp_path / "strict").exists()


def test_tables_of_mteb_that_no_other_has_are_counted(beir: Path, tmp_path: Path) -> None:
    convert(beir, tmp_path / "mteb", "mteb", options(beir))
    write_lines(tmp_path / "mteb" / "top_ranked" / "test.jsonl", [{"query-id": "1"}])
    done = convert(tmp_path / "mteb", tmp_path / "back", "beir", options(beir))
    assert done.lost == {"table 'top_ranked'": 1}


def test_a_set_becomes_rows(beir: Path, tmp_path: Path) -> None:
    done = convert(beir, tmp_path / "train.jsonl", "tevatron", options(beir))
    assert (done.format, done.rows, done.lost) == ("BEIR, split train", 1, {})
    assert read_lines(tmp_path / "train.jsonl") == [
        {
            "query_id": "1",
            "query": "what is red?",
            "positive_passages": [
                {"docid": "D1", "title": "Red", "text": "a red\tthing", "grade": 2}
            ],
            "negative_passages": [{"docid": "D2", "title": "", "text": " é 😀 "}],
        }
    ]
    back = convert(tmp_path / "train.jsonl", tmp_path / "set", "beir", options(beir))
    assert back.lost == {}
    assert lines(tmp_path / "set" / "qrels" / "train.tsv")[1:] == ["1\tD1\t2"]
    with pytest.raises(PyriteError, match=r"dev.tsv: no such split; the folder has test, train"):
        convert(beir, tmp_path / "dev.jsonl", "tevatron", options(beir, split="dev"))


def test_a_run_over_a_set_becomes_rows_of_any_format(beir: Path, tmp_path: Path) -> None:
    run = tmp_path / "bm25.trec"
    run.write_text("1 Q0 D3 1 2.5 x\n1 Q0 D4 2 1.5 x\n", encoding="utf-8")
    sources = Sources(beir, None, beir / "qrels" / "train.tsv", tmp_path / "cache")
    out = tmp_path / "train.jsonl"
    convert(run, out, "flag", ConvertOptions(sources))
    [record] = read_lines(out)
    assert record["pos"] == ["Red a red\tthing"]
    assert (record["neg"], record["neg_scores"]) == (["Blue blue ink", "never judged"], [2.5, 1.5])
    assert (record["pos_id"], record["neg_id"]) == (["D1"], ["D3", "D4"])


def test_rows_without_ids_become_a_set_with_ids_of_their_texts(tmp_path: Path) -> None:
    rows = [
        {"anchor": "q", "positive": "p", "negative": "n"},
        {"anchor": "r", "positive": "n", "negative": "p"},
        {"anchor": "q", "positive": "o", "negative": "m"},
    ]
    write_lines(tmp_path / "in.jsonl", rows)
    done = convert(tmp_path / "in.jsonl", tmp_path / "set", "beir", options(tmp_path / "x"))
    assert done.lost == {}
    assert done.made["document id made of its text"] == 4
    assert done.made["equal document without an id, merged"] >= 2
    corpus = {c["text"]: c["_id"] for c in read_lines(tmp_path / "set" / "corpus.jsonl")}
    assert set(corpus) == {"p", "n", "o", "m"}
    assert all(name[0] == "d" and name[1:].isdigit() for name in corpus.values())
    queries = {q["text"]: q["_id"] for q in read_lines(tmp_path / "set" / "queries.jsonl")}
    assert set(queries) == {"q", "r"}
    judged = {tuple(line.split("\t")) for line in lines(tmp_path / "set/qrels/train.tsv")[1:]}
    pairs = {("q", "p"), ("r", "n"), ("q", "o")}
    assert judged == {(queries[q], corpus[d], "1") for q, d in pairs}
    # the rows of a query are together again, wherever they stood
    back = open_rows(str(tmp_path / "set"), Sources(cache=tmp_path / "c"), None, None, "train")
    found = {
        r.query: ({d.text for d in r.positives}, [d.text for d in r.negatives]) for r in back.read()
    }
    assert found == {"q": ({"p", "o"}, ["n", "m"]), "r": ({"n"}, ["p"])}


def test_one_id_for_two_texts_is_an_error_with_its_line(tmp_path: Path) -> None:
    def row(name: str, text: str) -> dict[str, Any]:
        docs = [{"docid": name, "title": "", "text": text}]
        return {"query_id": "1", "query": "q", "positive_passages": docs, "negative_passages": docs}

    write_lines(tmp_path / "in.jsonl", [row("D1", "a"), row("D1", "b")])
    with pytest.raises(PyriteError, match=r"in.jsonl:2: document id 'D1' stands for another text"):
        convert(tmp_path / "in.jsonl", tmp_path / "set", "beir")
    assert not (tmp_path / "set").exists()
    # where the texts stand in the rows nothing is amiss
    convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "tevatron")


@pytest.mark.parametrize("table", ["corpus", "queries"])
def test_an_id_that_stands_twice_is_an_error_with_both_lines(
    beir: Path, tmp_path: Path, table: str
) -> None:
    path = beir / f"{table}.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    count = len(path.read_bytes().splitlines())
    with pytest.raises(
        PyriteError,
        match=rf"{table}.jsonl:{count}: id '\w+' stands in .*:1 too",
    ):
        convert(beir, tmp_path / "out", "mteb", options(beir))
    with pytest.raises(PyriteError, match=rf"{table}.jsonl:{count}: id"):
        convert(path, tmp_path / "x.jsonl", "corpus")
    with pytest.raises(PyriteError, match=rf"{table}.jsonl:{count}: id"):
        convert(beir, tmp_path / "rows.jsonl", "flag", options(beir))
    assert {p.name for p in tmp_path.iterdir()} <= {"data", "cache"}


TEXTS = {
    "corpus": ("c.jsonl", '{"_id": "D1", "title": "Red", "text": "a", "metadata": {"x": 1}}\n'),
    "queries": ("q.jsonl", '{"_id": "1", "text": "what?", "metadata": {"x": 1}}\n'),
    "collection": ("c.tsv", "D1\ta b\nD2\tc\n"),
    "documents": ("d.jsonl", '{"document_id": "D1", "text": "a"}\n'),
    "tevatron-corpus": ("t.jsonl", '{"docid": "D1", "title": "Red", "text": "a"}\n'),
    "msmarco-docs": ("m.tsv", "D1\thttp://x\tRed\ta b\n"),
    "psgs": ("p.tsv", "id\ttext\ttitle\n1\ta b\tRed\n"),
    "tevatron-queries": ("tq.jsonl", '{"query_id": "1", "query": "what?"}\n'),
    "candidate-pool": ("pool.jsonl", '{"text": "a"}\n'),
    "dpr-questions": ("d.qa.csv", 'what?\t"[\'réd\', ""it\'s""]"\n'),
}
UNTITLED = ("queries", "collection", "documents", *list(TEXTS)[-3:])


@pytest.mark.parametrize("to", TEXTS)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_a_file_of_texts_is_the_same_again(to: str, packed: str, tmp_path: Path) -> None:
    name, text = TEXTS[to]
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = convert(
        tmp_path / name, tmp_path / f"out-{name}{packed}", to, ConvertOptions(strict=True)
    )
    assert done.lost == {}
    with pa.input_stream(str(tmp_path / f"out-{name}{packed}"), compression="detect") as stream:
        assert stream.read().decode() == text


def test_every_file_of_texts_becomes_every_other(tmp_path: Path) -> None:
    for to, (name, text) in TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        for other, (suffix, _) in TEXTS.items():
            out = tmp_path / f"{to}-{other}{Path(suffix).suffix}"
            done = convert(tmp_path / name, out, other)
            assert done.rows == done.records == (2 if to == "collection" else 1)
            titled = "Red" in text and other in UNTITLED
            assert done.lost.get("title apart from its text", 0) == titled
    convert(tmp_path / "c.jsonl", tmp_path / "c.parquet", "corpus")
    assert pq.read_table(tmp_path / "c.parquet").to_pylist() == [
        {"_id": "D1", "title": "Red", "text": "a", "metadata": {"x": 1}}
    ]


def test_texts_without_ids_get_some_and_equal_ones_are_merged(tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"text": "a"}\n')
    done = convert(tmp_path / "pool.jsonl", tmp_path / "corpus.jsonl", "corpus")
    assert done.made == {"equal text without an id, merged": 1, "id made of its text": 2}
    names = [record["_id"] for record in read_lines(tmp_path / "corpus.jsonl")]
    # the id that a row's document without one gets
    rows = [{"query": "q", "pos": ["a"], "neg": ["b"]}]
    write_lines(tmp_path / "rows.jsonl", rows)
    convert(tmp_path / "rows.jsonl", tmp_path / "set", "beir")
    assert [r["_id"] for r in read_lines(tmp_path / "set" / "corpus.jsonl")] == names
    back = convert(tmp_path / "corpus.jsonl", tmp_path / "back.jsonl", "candidate-pool")
    assert back.lost == {"id of a text": 2}
    (tmp_path / "q.qa.csv").write_text("who?\t['I', 'you']\n\nwhat?\t['it']\n", encoding="utf-8")
    convert(tmp_path / "q.qa.csv", tmp_path / "queries.jsonl", "queries")
    found = [(r["text"], r["answers"]) for r in read_lines(tmp_path / "queries.jsonl")]
    assert found == [("who?", ["I", "you"]), ("what?", ["it"])]


def test_the_titles_of_rocketqa_lie_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "para.txt").write_text("D1\ta\nD2\tb\n", encoding="utf-8")
    (tmp_path / "para.title.txt").write_text("D1\tRed\nD2\t\n", encoding="utf-8")
    convert(tmp_path / "para.txt", tmp_path / "corpus.jsonl", "corpus")
    found = [(r["_id"], r["title"], r["text"]) for r in read_lines(tmp_path / "corpus.jsonl")]
    assert found == [("D1", "Red", "a"), ("D2", "", "b")]
    (tmp_path / "rows.tsv").write_text("7\tD1\tD2\n", encoding="utf-8")
    (tmp_path / "q.tsv").write_text("7\tq\n", encoding="utf-8")

    def titles() -> list[str]:
        sources = Sources(tmp_path / "para.txt", tmp_path / "q.tsv", cache=tmp_path / "cache")
        rows = open_rows(str(tmp_path / "rows.tsv"), sources, None, None, "train").read()
        return [doc.title for row in rows for doc in (*row.positives, *row.negatives)]

    assert titles() == ["Red", ""]
    # other titles are other texts
    (tmp_path / "para.title.txt").write_text("D1\tCrimson\nD2\t\n", encoding="utf-8")
    assert titles() == ["Crimson", ""]


JUDGED = {
    "qrels": ("a.tsv", "query-id\tcorpus-id\tscore\n1\tD1\t2\n1\tD2\t0\n"),
    "mteb-qrels": (
        "a.jsonl",
        '{"query-id": "1", "corpus-id": "D1", "score": 2}\n'
        '{"query-id": "1", "corpus-id": "D2", "score": 0}\n',
    ),
    "msmarco-qrels": ("b.tsv", "1\t0\tD1\t2\n1\t0\tD2\t0\n"),
    "trec-qrels": ("a.trec", "1\t0\tD1\t2\n1\t0\tD2\t0\n"),
}


@pytest.mark.parametrize("to", JUDGED)
@pytest.mark.parametrize("source", JUDGED)
def test_judgements_of_any_form_in_any_other(source: str, to: str, tmp_path: Path) -> None:
    (tmp_path / JUDGED[source][0]).write_text(JUDGED[source][1], encoding="utf-8")
    name, expected = JUDGED[to]
    convert(tmp_path / JUDGED[source][0], tmp_path / f"out-{name}", to, ConvertOptions(strict=True))
    assert (tmp_path / f"out-{name}").read_text("utf-8") == expected


RUNS = {
    "trec": ("a.trec", "1 Q0 D1 1 2.5 bm25\n1 Q0 D2 2 -1e-3 bm25\n"),
    "ranking": ("a.txt", "1\tD1\t2.5\n1\tD2\t-1e-3\n"),
    "marco-run": ("a.tsv", "1\tD1\t1\n1\tD2\t2\n"),
}


@pytest.mark.parametrize("to", RUNS)
@pytest.mark.parametrize("source", RUNS)
def test_runs_of_any_form_in_any_other(source: str, to: str, tmp_path: Path) -> None:
    (tmp_path / RUNS[source][0]).write_text(RUNS[source][1], encoding="utf-8")
    name, expected = RUNS[to]
    done = convert(tmp_path / RUNS[source][0], tmp_path / f"out-{name}", to)
    found = (tmp_path / f"out-{name}").read_text("utf-8")
    if to in (source, "marco-run"):
        assert found == expected
    elif source == "marco-run":
        assert done.made == {"score of a run, made of the rank": 2}
        assert [line.split()[-2 if to == "trec" else -1] for line in found.splitlines()] == [
            "1.0",
            "0.5",
        ]
    elif to == "trec":
        assert found == expected.replace("bm25", "pyrite")
    else:
        assert found == expected
    losses = {("trec", "ranking"): {"tag": 2}, ("trec", "marco-run"): {"score": 2}}
    losses[("ranking", "marco-run")] = {"score": 2}
    assert done.lost == losses.get((source, to), {})


@pytest.mark.parametrize("source", RUNS)
def test_a_run_as_beir_keeps_it(source: str, tmp_path: Path) -> None:
    (tmp_path / RUNS[source][0]).write_text(RUNS[source][1], encoding="utf-8")
    done = convert(tmp_path / RUNS[source][0], tmp_path / "run.json", "beir-run")
    scores = {"D1": 1.0, "D2": 0.5} if source == "marco-run" else {"D1": 2.5, "D2": -0.001}
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == {"1": scores}
    assert done.lost == ({"tag": 2} if source == "trec" else {})
    suffix = Path(RUNS[source][0]).suffix
    back = convert(tmp_path / "run.json", tmp_path / f"back{suffix}", source)
    assert back.lost == ({"score": 2} if source == "marco-run" else {})
    expected = RUNS[source][1].replace("bm25", "pyrite").replace("-1e-3", "-0.001")
    assert (tmp_path / f"back{suffix}").read_text("utf-8") == expected


def test_a_run_as_beir_keeps_it_has_no_order_and_no_document_twice(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"1": {"D2": 1, "D1": 1, "D3": 5e1}}', encoding="utf-8")
    convert(tmp_path / "run.json", tmp_path / "run.tsv", "marco-run")
    assert lines(tmp_path / "run.tsv") == ["1\tD3\t1", "1\tD1\t2", "1\tD2\t3"]
    (tmp_path / "a.txt").write_text("1\tD1\t2.5\n1\tD1\t1.5\n", encoding="utf-8")
    done = convert(tmp_path / "a.txt", tmp_path / "b.json.gz", "beir-run")
    assert done.made == {"document that a query lists twice, merged": 1}
    with pa.input_stream(str(tmp_path / "b.json.gz"), compression="detect") as stream:
        assert json.loads(stream.read()) == {"1": {"D1": 2.5}}
