"""Whatever rows are written, what comes back is what was written but for what is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.miner.convert.rows_out import RowsOut
from pyrite.miner.convert.source import Rows, open_rows
from pyrite.miner.formats.ledger import Ledger
from pyrite.miner.formats.outputs import OUTPUTS
from pyrite.miner.formats.sources import Sources
from pyrite.miner.training_row import Doc, TrainingRow


@dataclass(frozen=True)
class Holds:
    """What a format holds, written down apart from the library."""

    query_id: bool = True
    ids: bool = True
    titles: bool = False
    scores: str = ""  # each, side, row, file, needed, minus-one, negatives, or none
    extra: bool = False
    doc_extra: bool = False
    one_positive: bool = False
    one_negative: bool = False
    some: bool = False
    flat: bool = False
    outside: bool = False  # positives are judgements, in the order of the corpus
    beside: str = ""  # a field that each negative gets, and each document where it is a rank
    wanted: str | None = None


HOLDS = {
    "tevatron": Holds(titles=True, scores="each", extra=True, doc_extra=True),
    "parquet": Holds(titles=True, scores="each", extra=True, doc_extra=True),
    "tevatron-ids": Holds(titles=True, extra=True),
    "flag": Holds(scores="side", extra=True, some=True),
    "dpr": Holds(titles=True, scores="each", extra=True, doc_extra=True),
    "nemo": Holds(scores="each", extra=True, doc_extra=True),
    "nemo-inline": Holds(ids=False, titles=True, extra=True, doc_extra=True),
    "st-triplet": Holds(False, False, scores="file", one_positive=True, one_negative=True),
    "st-list": Holds(False, False, wanted="st-list"),
    "st-ids": Holds(one_positive=True, one_negative=True),
    "pylate": Holds(scores="minus-one", one_positive=True),
    "triples": Holds(
        False, False, one_positive=True, one_negative=True, flat=True, wanted="triples"
    ),
    "msmarco": Holds(one_positive=True, one_negative=True, flat=True, wanted="triples-ids"),
    "contrastors": Holds(ids=False, scores="row", extra=True, one_positive=True, some=True),
    "ms-swift": Holds(ids=False, extra=True, one_positive=True),
    "ms-swift-messages": Holds(ids=False, extra=True),
    "msmarco-hard-negatives": Holds(flat=True, beside="systems"),
    "ance": Holds(one_positive=True, some=True, flat=True, wanted="triples-ids"),
    "simans": Holds(scores="needed", flat=True, wanted="simans"),
    "star": Holds(flat=True, outside=True, wanted="star"),
    "top1000": Holds(flat=True, outside=True, some=True, wanted="top1000"),
    "lightning-ir": Holds(scores="each", beside="rank"),
    "tevatron-rerank": Holds(
        titles=True, scores="negatives", doc_extra=True, outside=True, some=True
    ),
    "jansowa": Holds(scores="negatives", outside=True, some=True, beside="ranking"),
}
TEXT = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\0"),
        st.sampled_from("\t\n\r,' é漢😀\u2028"),
    ),
    max_size=8,
)
SCORE = st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda s: s != -1.0)
EXTRA = st.fixed_dictionaries({}, optional={"prompt": TEXT, "weight": st.integers(0, 9)})


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Doc]:
    count = draw(st.integers(2, 6))
    return {
        f"P{at}": Doc(f"P{at}", draw(st.sampled_from(["", "Title"]) | TEXT), draw(TEXT))
        for at in range(count)
    }


@st.composite
def training_rows(draw: st.DrawFn) -> list[TrainingRow]:
    docs = draw(documents())
    scored = draw(st.sampled_from(["none", "some", "all"]))
    rows = []
    for at in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(list(docs)), min_size=1, max_size=5, unique=True))
        cut = draw(st.integers(1, len(names)))
        made = [
            replace(
                docs[name],
                score=draw(SCORE)
                if scored == "all" or (scored == "some" and draw(st.booleans()))
                else None,
                extra=draw(EXTRA),
            )
            for name in names
        ]
        query = f"q{at} {draw(TEXT)}"
        rows.append(
            TrainingRow(
                at + 1, str(at), query, tuple(made[:cut]), tuple(made[cut:]), extra=draw(EXTRA)
            )
        )
    return rows


def expected(rows: Sequence[TrainingRow], holds: Holds) -> tuple[list[TrainingRow], Counter[str]]:
    """The rows that must come back, and how many values of each kind must be counted as lost."""
    lost: Counter[str] = Counter()
    found: list[TrainingRow] = []
    whole = all(
        doc.score is not None for r in rows if r.negatives for doc in (*r.positives, *r.negatives)
    )
    for row in rows:
        if (holds.one_negative or holds.some) and not row.negatives:
            lost["row"] += 1
            continue
        docs = (*row.positives, *row.negatives)
        lost["query id"] += not holds.query_id
        lost["document id"] += 0 if holds.ids else len(docs)
        lost["field"] += 0 if holds.extra else len(row.extra)
        kept_fields = (row.negatives if holds.outside else docs) if holds.doc_extra else ()
        lost["document field"] += sum(len(d.extra) for d in docs) - sum(
            len(d.extra) for d in kept_fields
        )
        sides = [[d.score is not None for d in s] for s in (row.positives, row.negatives)]
        kept = [holds.scores == "each" or (holds.scores == "side" and all(s)) for s in sides]
        kept = [True, True] if holds.scores == "minus-one" else kept
        kept = [whole, whole] if holds.scores == "file" else kept
        kept = [all(s for side in sides for s in side)] * 2 if holds.scores == "row" else kept
        kept = [True, True] if holds.scores == "needed" else kept
        kept = [False, True] if holds.scores == "negatives" else kept
        lost["score"] += sum(sum(s) for s, k in zip(sides, kept, strict=True) if not k)
        positives, negatives = (
            tuple(project(doc, holds, keep, good) for doc in side)
            for side, keep, good in zip(
                (row.positives, row.negatives), kept, (True, False), strict=True
            )
        )
        positives, negatives = with_beside(positives, negatives, holds)
        made = TrainingRow(
            0,
            row.query_id if holds.query_id else None,
            flat(row.query, holds),
            positives,
            negatives,
            extra=row.extra if holds.extra else {},
        )
        for good in [(p,) for p in positives] if holds.one_positive else [positives]:
            for bad in [(n,) for n in negatives] if holds.one_negative else [negatives]:
                found.append(replace(made, positives=good, negatives=bad))
    return found, +lost


def flat(text: str, holds: Holds) -> str:
    return text.translate(str.maketrans("\t\n\r", "   ")) if holds.flat else text


Docs = tuple[Doc, ...]


def with_beside(positives: Docs, negatives: Docs, holds: Holds) -> tuple[Docs, Docs]:
    """Documents with the field that a format gives them."""

    def numbered(docs: Docs, start: int) -> Docs:
        return tuple(
            replace(d, extra={**d.extra, holds.beside: ["pyrite"] if listed else at})
            for at, d in enumerate(docs, start=start)
        )

    listed = holds.beside == "systems"
    if not holds.beside:
        return positives, negatives
    if holds.beside == "rank":
        return numbered(positives, 1), numbered(negatives, len(positives) + 1)
    return positives, numbered(negatives, 1)


def project(doc: Doc, holds: Holds, keep_score: bool, good: bool) -> Doc:
    titled = holds.titles or not doc.title
    text = doc.text if titled else f"{doc.title} {doc.text}".strip()
    return Doc(
        doc.id if holds.ids else None,
        doc.title if holds.titles else "",
        flat(text, holds),
        doc.score if keep_score else None,
        extra=doc.extra if holds.doc_extra and not (good and holds.outside) else {},
    )


def counted(ledger: Ledger) -> Counter[str]:
    found: Counter[str] = Counter()
    for what, count in ledger.lost.items():
        kind = "document field" if what.endswith("of a document") else what.split(" '")[0]
        kind = "row" if kind.startswith("row without") else kind
        kind = "score" if kind == "score of a positive" else kind
        if "title" not in kind and "tab" not in kind:
            found[kind] += count
    return found


def back(folder: Path, rows: list[TrainingRow], to: str) -> tuple[list[TrainingRow], Ledger]:
    ledger = Ledger("rows", to)
    source = Rows(Path("rows"), "rows", lambda: iter(rows))
    out = folder / "out"
    out.mkdir()
    RowsOut.of(source, to, ledger, None, "train").to_folder(out)
    again = open_rows(str(out), Sources(cache=folder / "cache"), HOLDS[to].wanted, None, "train")
    return [replace(row, line=0) for row in again.read()], ledger


@pytest.mark.parametrize("to", HOLDS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(rows=training_rows())
def test_rows_come_back_but_for_what_is_counted(
    tmp_path_factory: pytest.TempPathFactory, to: str, rows: list[TrainingRow]
) -> None:
    wanted, lost = expected(rows, HOLDS[to])
    folder = tmp_path_factory.mktemp("trip")
    holds = HOLDS[to]
    scores = [doc.score for row in rows for doc in (*row.positives, *row.negatives)]
    if holds.scores == "needed" and None in scores:
        with pytest.raises(PyriteError, match="a document without a score"):
            back(folder, rows, to)
        return
    if not wanted:
        with pytest.raises(PyriteError, match="no row"):
            back(folder, rows, to)
        return
    found, ledger = back(folder, rows, to)
    assert in_order(found, holds) == in_order(wanted, holds)
    assert counted(ledger) == lost


def in_order(rows: list[TrainingRow], holds: Holds) -> list[TrainingRow]:
    """Rows whose positives, if they are judgements, stand in the order of their ids."""
    if not holds.outside:
        return rows
    return [
        replace(row, positives=tuple(sorted(row.positives, key=lambda d: str(d.id))))
        for row in rows
    ]


@pytest.mark.parametrize("to", ["tevatron", "dpr", "nemo", "pylate", "beir"])
@settings(deadline=None, max_examples=4)
@given(rows=training_rows())
def test_the_same_rows_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, to: str, rows: list[TrainingRow]
) -> None:
    def files(name: str) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp(name)
        back_only(folder, rows, to)
        return {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file()
        }

    assert files("one") == files("two")


def back_only(folder: Path, rows: list[TrainingRow], to: str) -> None:
    source = Rows(Path("rows"), "rows", lambda: iter(rows))
    RowsOut.of(source, to, Ledger("rows", to), None, "train").to_folder(folder)


@settings(deadline=None, max_examples=20)
@given(rows=training_rows())
def test_a_set_holds_positives_and_a_run_of_the_negatives(
    tmp_path_factory: pytest.TempPathFactory, rows: list[TrainingRow]
) -> None:
    folder = tmp_path_factory.mktemp("set")
    back_only(folder, rows, "beir")
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    docs = {d.id: d for row in rows for d in (*row.positives, *row.negatives)}
    assert {c["_id"]: (c["title"], c["text"]) for c in corpus} == {
        name: (d.title, d.text) for name, d in docs.items()
    }
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    assert [(q["_id"], q["text"]) for q in queries] == [(row.query_id, row.query) for row in rows]
    lines = (folder / "qrels" / "train.tsv").read_text("utf-8").splitlines()
    judged = [tuple(line.split("\t")) for line in lines]
    pairs = [(row.query_id, doc.id, "1") for row in rows for doc in row.positives]
    assert judged == [("query-id", "corpus-id", "score"), *pairs]
    run = folder / "negatives.trec"
    found = (
        [line.split(" ") for line in run.read_text("utf-8").splitlines()] if run.exists() else []
    )
    assert [(q, d, int(r)) for q, _, d, r, _, _ in found] == [
        (row.query_id, doc.id, rank)
        for row in rows
        for rank, doc in enumerate(row.negatives, start=1)
    ]
    scores = iter(float(score) for *_, score, _ in found)
    for row in rows:
        told = all(doc.score is not None for doc in row.negatives)
        for rank, doc in enumerate(row.negatives, start=1):
            assert next(scores) == (doc.score if told else 1 / rank)


def test_a_format_of_fixed_width_takes_the_commonest_number(tmp_path: Path) -> None:
    def row(line: int, count: int, score: float | None = 0.5) -> TrainingRow:
        bad = tuple(Doc(None, "", f"n{at}", score) for at in range(count))
        return TrainingRow(line, None, f"q{line}", (Doc(None, "", "p", 0.9),), bad)

    rows = [row(1, 2), row(2, 3), row(3, 1), row(4, 2), row(5, 0)]
    ledger = Ledger("rows", "st")
    source = Rows(Path("rows"), "rows", lambda: iter(rows))
    RowsOut.of(source, "st", ledger, None, "train").to_folder(tmp_path)
    found = [json.loads(line) for line in (tmp_path / "train.jsonl").open(encoding="utf-8")]
    one: dict[str, Any] = {"positive": "p", "negative_1": "n0", "negative_2": "n1"}
    scored = {"scores": [0.9, 0.5, 0.5]}
    assert found == [{"anchor": f"q{line}", **one, **scored} for line in (1, 2, 4)]
    assert ledger.lost == {"row without 2 negatives": 2, "negative after 2": 1}
    cut = RowsOut.of(source, "st", Ledger("rows", "st"), 1, "train")
    assert (cut.shape.negatives, cut.shape.scored) == (1, True)
    rows[1] = row(2, 3, None)
    assert not RowsOut.of(source, "st", Ledger("rows", "st"), 1, "train").shape.scored


def test_a_strict_conversion_names_the_row_and_what_it_would_lose(tmp_path: Path) -> None:
    rows = [
        TrainingRow(1, None, "q", (Doc(None, "", "p"),), (Doc(None, "", "n"),)),
        TrainingRow(2, None, "q\tr", (Doc(None, "", "p"),), (Doc(None, "", "n"),)),
    ]
    source = Rows(Path("rows"), "rows", lambda: iter(rows))
    ledger = Ledger("in.jsonl", "--to triples", strict=True)
    with pytest.raises(PyriteError, match=r"in.jsonl:2: tab or line break in a query, which --to"):
        RowsOut.of(source, "triples", ledger, None, "train").to_folder(tmp_path)


def test_the_table_names_every_target() -> None:
    others = {
        "tevatron-teacher",
        "st",
        "st-pair",
        "st-scores",
        "triples-ids",
        "trec",
        "beir",
        "mteb",
    }
    assert set(OUTPUTS) == set(HOLDS) | others
