"""The commands in the blocks of README and docs, and a folder in which they can be run."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from doc_pages import LINKED, blocks, named
from small_recipes import QUERIES, RECIPES, models, small

_FENCED = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROGRAMS = ("pyrite", "make", "pip", "python", "torchrun", "git", "docker", "curl", "export", "cd")
_SYNOPSIS = re.compile(r"[\[|]|\.\.\.")
# placeholders of the pages, as they stand in the folder
_PLACES = (
    (r"--judge CONFIG", "--judge configs/relabel.yaml"),
    (r"\bCONFIG\b", "configs/stdlib.yaml"),
    (r"\b(cross_encoder\.model)=PATH", r"\1=cross/cross-encoder"),
    (r"\bmodel=FOLDER", "model=tiny/model"),
    (r"--model A\b", "--model tiny/model"),
    (r"--model B\b", "--model tiny-b/model"),
    (r"(?<!\S)(data=|--data )(PATH|scifact)\b", r"\1data/scifact"),
    (r"(?<!\S)(data=|--data )FOLDER\b", r"\1data"),
    (r"\bDATA\b", "data/scifact"),
    (r"--beir PATH", "--beir data/scifact"),
    (r"\bruns/RUN\b", "runs/stdlib-ance"),
)


@dataclass(frozen=True)
class Command:
    """One line of a page."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        text = self.text
        for pattern, place in _PLACES:
            text = re.sub(pattern, place, text)
        return shlex.split(text)

    @property
    def synopsis(self) -> bool:
        """Whether it shows what may be given, rather than a call."""
        unquoted = re.sub(r"\"[^\"]*\"|'[^']*'", "", self.text)
        return _SYNOPSIS.search(unquoted) is not None


def commands() -> Iterator[Command]:
    """Every line of every block that begins with a program that the pages use."""
    for page in LINKED:
        text = page.read_text("utf-8")
        for block in [*blocks(text), *_FENCED.findall(text)]:
            for line in block.replace("\\\n", " ").splitlines():
                call = line.partition(" # ")[0].strip()
                if call.split(" ")[0] in _PROGRAMS and len(call.split()) > 1:
                    yield Command(named(page), call)


def workplace(home: Path, url: str) -> Path:
    """A folder with what the pages name: configurations, data, models and training files."""
    models(home)
    shutil.copytree(home / "data", home / "data" / "scifact")
    shutil.copytree(home / "tiny", home / "tiny-b")
    for name in RECIPES:
        path = small(name, home, url)
        settings = yaml.safe_load(path.read_text("utf-8"))
        settings |= {"runs_dir": "runs", "cache_dir": "runs/.cache"}
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    plain = yaml.safe_load((home / "configs" / "stdlib.yaml").read_text("utf-8"))
    # every query finds the four negatives of the pages' own file
    four = {**plain, "filters": {"percent": None}, "sampler": {"name": "simans", "n": 4}}
    for name in ("mine", "run"):
        _put(home / f"{name}.yaml", yaml.safe_dump({**four, "name": name}))
    _put(home / "judges.yaml", (home / "configs" / "relabel.yaml").read_text("utf-8"))
    _training_files(home)
    return home


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _training_files(home: Path) -> None:
    rows = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i}", f"m {i}"]} for i in range(6)]
    _put(home / "train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    # MS MARCO's own files
    texts = "".join(f"{i}\tw{i} w{i + 1} text\n" for i in range(12))
    triples = "".join(f"{i}\t{i}\t{11 - i}\n" for i in range(6))
    judged = "".join(f"{i}\t0\t{i}\t1\n" for i in range(6))
    queries = "".join(f"{i}\tw{i}\n" for i in range(6))
    for folder in (home, home / "data" / "marco"):
        _put(folder / "collection.tsv", texts)
        _put(folder / "queries.train.tsv", queries)
        _put(folder / "qrels.train.tsv", judged)
    (home / "qidpidtriples.train.tsv.gz").write_bytes(gzip.compress(triples.encode()))
    asked = [f"q{i:04d}" for i in range(QUERIES)]
    ranked = [f"{q} Q0 d{i:04d} {i + 1} {9 - i} bm25\n" for q in asked for i in range(8)]
    _put(home / "bm25.trec", "".join(ranked))
    pairs = [("w1 w2", "not w1 w2", "w1 w2 w3", "w4 w5 w6"), ("w7", "no w7", "w7 w8", "w9")]
    names = ("q1", "q2", "doc1", "doc2")
    _put(home / "pairs.csv", "".join(",".join(row) + "\n" for row in (names, *pairs)))
    records = [dict(zip(names, row, strict=True)) for row in pairs]
    _put(home / "pairs.jsonl", "".join(json.dumps(record) + "\n" for record in records))
