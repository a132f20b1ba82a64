"""What can be wrong with a conversion: files, options, and what the sentence about it must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """Files by name, the arguments after `convert`, and parts of the one sentence."""

    files: Mapping[str, str | bytes]
    arguments: tuple[str, ...]
    says: tuple[str, ...]


ROW = {"query": "q", "pos": ["p"], "neg": ["n"]}


def rows(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def flag(changed: dict[str, Any], *says: str) -> Mistake:
    """A second line with something wrong in it."""
    text = rows(ROW, {**ROW, **changed})
    return Mistake({"in.jsonl": text}, ("in.jsonl", "out", "--to", "tevatron"), says)


def passages(*ids: str) -> dict[str, Any]:
    docs = [{"docid": name, "title": "", "text": f"text of {name}"} for name in ids]
    return {"query_id": "1", "query": "q", "positive_passages": docs[:1], "negative_passages": docs}


GOOD = {"in.jsonl": rows(ROW)}
IDS = {"in.jsonl": rows({"query_id": 1, "positive_id": "P", "negative_id": "N"})}
TEXTS = {"c.jsonl": '{"_id": "P", "text": "p"}\n', "q.tsv": "1\tq\n"}
NAMED = ("--corpus", "c.jsonl", "--queries", "q.tsv")

MISTAKES = {
    "no such file": Mistake({}, ("x", "out", "--to", "flag"), ("x: no such training file",)),
    "no such format": Mistake(GOOD, ("in.jsonl", "out", "--to", "fleg"), ("--to fleg", "tevatron")),
    "no such format of the input": Mistake(
        GOOD,
        ("in.jsonl", "out", "--to", "flag", "--format", "x"),
        ("--format='x': no such format",),
    ),
    "not of that format": Mistake(
        GOOD,
        ("in.jsonl", "out", "--to", "flag", "--format", "st-list"),
        ("in.jsonl:1", "not of --format=st-list"),
    ),
    "there already": Mistake(
        {**GOOD, "out.jsonl": "mine\n"},
        ("in.jsonl", "out.jsonl", "--to", "tevatron"),
        ("out.jsonl: exists and is never overwritten",),
    ),
    "suffix of another kind": Mistake(
        GOOD, ("in.jsonl", "out.tsv", "--to", "flag"), ("out.tsv", "ends with .jsonl or")
    ),
    "a set as a file": Mistake(
        GOOD, ("in.jsonl", "out.trec", "--to", "beir"), ("out.trec: --to beir makes a folder",)
    ),
    "texts as a folder": Mistake(
        TEXTS, ("c.jsonl", "out", "--to", "collection"), ("out: --to collection makes one file",)
    ),
    "texts of a folder": Mistake(GOOD, (".", "o.tsv", "--to", "collection"), ("no such file",)),
    "negatives of no fixed number": Mistake(
        GOOD, ("in.jsonl", "out", "--to", "flag", "--negatives", "2"), ("--negatives=2",)
    ),
    "a string for a list": flag({"neg": "n"}, "in.jsonl:2", "'neg' is a str; it must be a list"),
    "a number for a text": flag({"pos": [3]}, "in.jsonl:2", "'pos' is a int"),
    "nothing for a list": flag({"pos": None}, "in.jsonl:2", "'pos' is null"),
    "a score for a word": flag({"neg_scores": ["x"]}, "in.jsonl:2", "scores must be numbers"),
    "scores too many": flag({"neg_scores": [1, 2]}, "in.jsonl:2", "has 2 items, expected 1"),
    "not an object": Mistake(
        {"in.jsonl": rows(ROW) + "3\n"},
        ("in.jsonl", "out", "--to", "st"),
        ("in.jsonl:2", "a JSON int"),
    ),
    "not UTF-8": Mistake(
        {"in.jsonl": rows(ROW).encode() + b'{"query": "\xff"}\n'},
        ("in.jsonl", "out", "--to", "st"),
        ("in.jsonl:2", "not a JSON object in UTF-8"),
    ),
    "packed and cut off": Mistake(
        {"in.jsonl.gz": b"\x1f\x8b\x08\x00\x00"},
        ("in.jsonl.gz", "out", "--to", "st"),
        ("in.jsonl.gz:1", "not readable as gzip"),
    ),
    "no negatives for columns": Mistake(
        {"in.jsonl": rows({**ROW, "neg": []})}, ("in.jsonl", "out", "--to", "st"), ("no row has a",)
    ),
    "no row is left": Mistake(
        {"in.jsonl": rows({**ROW, "neg": []})},
        ("in.jsonl", "out.tsv", "--to", "triples"),
        ("out.tsv: not written, since no row of in.jsonl",),
    ),
    "no scores for a teacher": Mistake(
        GOOD,
        ("in.jsonl", "out", "--to", "tevatron-teacher"),
        ("in.jsonl:1", "a document without a score", "name --to tevatron"),
    ),
    "a loss where none is allowed": Mistake(
        {"in.jsonl": rows({**ROW, "prompt": "Find:"})},
        ("in.jsonl", "out", "--to", "st", "--strict"),
        ("in.jsonl:1: field 'prompt', which --to st cannot hold",),
    ),
    "ids without texts": Mistake(
        IDS, ("in.jsonl", "out", "--to", "flag"), ("in.jsonl:1", "name them with --corpus")
    ),
    "an id that is in no corpus": Mistake(
        {**IDS, **TEXTS},
        ("in.jsonl", "out", "--to", "flag", *NAMED),
        ("in.jsonl:1: id 'N' has no text",),
    ),
    "an id twice in a corpus": Mistake(
        {**IDS, **TEXTS, "c.jsonl": TEXTS["c.jsonl"] * 2},
        ("in.jsonl", "out", "--to", "flag", *NAMED),
        ("c.jsonl:2: id 'P' stands in c.jsonl:1 too; ids must be unique",),
    ),
    "an id with a blank in a run": Mistake(
        {"in.jsonl": rows(passages("P 1", "N"))},
        ("in.jsonl", "out", "--to", "beir"),
        ("in.jsonl:1", "document id 'P 1' holds white space, which --to beir cannot"),
    ),
    "an id with a blank in a run that is a file": Mistake(
        {"in.jsonl": rows(passages("P1", "N"), passages("P 1", "N"))},
        ("in.jsonl", "out.trec", "--to", "trec"),
        ("in.jsonl:2", "document id 'P 1' holds white space, which --to trec cannot"),
    ),
    "an id with a comma in a triple": Mistake(
        {"in.jsonl": rows(passages("P,1", "N"))},
        ("in.jsonl", "out", "--to", "msmarco"),
        ("in.jsonl:1", "document id 'P,1'"),
    ),
    "a text with a tab under an id with a tab": Mistake(
        {"c.jsonl": '{"_id": "a\\tb", "text": "t"}\n'},
        ("c.jsonl", "out.tsv", "--to", "collection"),
        ("c.jsonl:1", "text id 'a\\tb' holds"),
    ),
    "several types in a table": Mistake(
        {"in.jsonl": rows({**ROW, "x": 1}, {**ROW, "x": "y"})},
        ("in.jsonl", "out", "--to", "parquet"),
        ("--to parquet as parquet", "several types", "JSON lines"),
    ),
    "an empty object in a table": Mistake(
        {"in.jsonl": rows({**ROW, "x": {}})},
        ("in.jsonl", "out", "--to", "parquet"),
        ("field 'x' holds an empty object, which parquet cannot",),
    ),
    "no ranks": Mistake(
        GOOD, ("in.jsonl", "out.tsv", "--to", "marco-run"), ("in.jsonl: JSON lines, but --to",)
    ),
    "a rank that is a word": Mistake(
        {"a.trec": "1 Q0 D1 1 0.5 x\n1 Q0 D2 2 high x\n"},
        ("a.trec", "out.tsv", "--to", "ranking"),
        ("a.trec:1", "score 'high' is not a number"),
    ),
    "a score that is a word": Mistake(
        {"a.json": '{"1": {"D1": 1},\n"2": {"D1": "high"}}'},
        ("a.json", "out.trec", "--to", "trec"),
        ("a.json:2", "'D1' holds a str; scores must be numbers"),
    ),
    "a query twice in a run": Mistake(
        {"a.json": '{"1": {"D1": 1},\n"1": {"D2": 1}}'},
        ("a.json", "out.trec", "--to", "trec"),
        ("a.json:2: query '1' stands twice",),
    ),
    "a conversation": Mistake(
        {
            "in.jsonl": rows(
                {
                    "messages": [{"role": "system", "content": "s"}, {"content": "q"}],
                    "positive_messages": [[{"content": "p"}]],
                    "negative_messages": [[{"content": "n"}]],
                }
            )
        },
        ("in.jsonl", "out", "--to", "st"),
        ("in.jsonl:1: field 'messages' must hold one message",),
    ),
    "answers that are no list": Mistake(
        {"q.qa.csv": "who?\t['I']\nwhat?\tit\n"},
        ("q.qa.csv", "out.jsonl", "--to", "queries"),
        ("q.qa.csv:2: field 'answers' is a str; it must be a list",),
    ),
    "a question alone": Mistake(
        {"q.qa.csv": "who?\n"},
        ("q.qa.csv", "out.jsonl", "--to", "queries"),
        ("q.qa.csv:1: 1 tab-separated fields, expected 2",),
    ),
    "an id in a pool of texts": Mistake(
        {"p.jsonl": rows({"text": "a"}, {"_id": "D2", "text": "b"})},
        ("p.jsonl", "out.jsonl", "--to", "corpus"),
        ("p.jsonl:2: other fields than 'text', unlike the first line",),
    ),
    "titles of other texts": Mistake(
        {"para.txt": "D1\ta\nD2\tb\n", "para.title.txt": "D1\tt\nD3\tu\n"},
        ("para.txt", "out.jsonl", "--to", "corpus"),
        ("para.txt:2: id 'D2', where para.title.txt has 'D3'",),
    ),
    "too few titles": Mistake(
        {"para.txt": "D1\ta\nD2\tb\n", "para.title.txt": "D1\tt\n"},
        ("para.txt", "out.jsonl", "--to", "corpus"),
        ("para.txt:2: id 'D2', where para.title.txt ends",),
    ),
    "too many titles": Mistake(
        {"para.txt": "D1\ta\n", "para.title.txt": "D1\tt\nD2\tu\n"},
        ("para.txt", "out.jsonl", "--to", "corpus"),
        ("para.title.txt:2: id 'D2' stands after the end of para.txt",),
    ),
    "no scores for SimANS": Mistake(
        GOOD, ("in.jsonl", "out", "--to", "simans"), ("in.jsonl:1", "a document without a score")
    ),
    "no negatives for passages": Mistake(
        {"in.jsonl": rows({**ROW, "neg": []})},
        ("in.jsonl", "out.tsv", "--to", "top1000"),
        ("out.tsv: not written, since no row of in.jsonl",),
    ),
    "no token": Mistake(
        GOOD,
        ("in.jsonl", "out", "--to", "st", "--push-to-hub", "a/b"),
        ("--push-to-hub a/b", "HF_TOKEN"),
    ),
    "a file to push": Mistake(
        GOOD,
        ("in.jsonl", "out.jsonl", "--to", "st", "--push-to-hub", "a/b"),
        ("out.jsonl is a file; name a folder",),
    ),
}
