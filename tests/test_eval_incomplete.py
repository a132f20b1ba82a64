from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from cli_setup import in_process
from compare_setup import evaluated
from fakes import write_dataset
from hypothesis import given
from hypothesis import strategies as st
from relabel_cases import BETTER, CLEAN, Answer

from pyrite import RelabelConfig, relabel
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.core.tables import Qrels
from pyrite.eval.compare import CompareOptions, compare_runs
from pyrite.eval.compare_tables import markdown
from pyrite.eval.incomplete import condensed, judged
from pyrite.eval.measures import per_query
from pyrite.miner.relabel.case import UNKNOWN, Case, Verdict
from pyrite.miner.relabel.judges.scripted import ScriptedJudge

# x6 a5 b4 c3 y2 d1 of qrels a1 b0 c1 d0
A, B, C, D, X, Y = range(6)
RUN = np.array([[X, A, B, C, Y, D]])


def qrels_of(triples: list[tuple[int, int, int]], queries: int = 1, min_grade: int = 1) -> Qrels:
    columns = np.array(triples, dtype=np.int64).reshape(-1, 3).T
    return Qrels.build(columns[0], columns[1], columns[2], queries, min_grade)


WORKED = qrels_of([(0, A, 1), (0, B, 0), (0, C, 1), (0, D, 0)])


def test_the_worked_numbers() -> None:
    rows = np.array([0])
    names = ["ndcg@10", "map@10", "mrr@10", "bpref", "infap", "judged@10"]
    plain = per_query(names, WORKED, rows, RUN)
    found = {name: float(values[0]) for name, values in plain.items()}
    assert found == pytest.approx(
        {
            "ndcg@10": 0.650921,
            "map@10": 0.5,
            "mrr@10": 0.5,
            "bpref": 0.75,
            "infap": 0.5,
            "judged@10": 4 / 6,
        },
        abs=1e-6,
    )
    short = per_query(names, WORKED, rows, condensed(WORKED, rows, RUN))
    found = {name: float(values[0]) for name, values in short.items()}
    assert found == pytest.approx(
        {
            "ndcg@10": 0.919721,
            "map@10": 0.833333,
            "mrr@10": 1.0,
            "bpref": 0.75,
            "infap": 0.833333,
            "judged@10": 1.0,
        },
        abs=1e-6,
    )


def test_pooled_but_unjudged_documents_are_not_judged() -> None:
    pooled = qrels_of([(0, A, 1), (0, X, -1)])
    assert judged(pooled, np.array([0]), RUN).tolist() == [[False, True, *[False] * 4]]
    found = per_query(["infap"], qrels_of([*_triples(WORKED), (0, X, -1)]), np.array([0]), RUN)
    assert found["infap"][0] == pytest.approx(0.6875)


def _triples(qrels: Qrels) -> list[tuple[int, int, int]]:
    pairs = zip(qrels.docs.tolist(), qrels.grades.tolist(), strict=True)
    return [(0, doc, grade) for doc, grade in pairs]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Qrels, I64]:
    queries, documents = draw(st.integers(1, 4)), 7
    triples = draw(
        st.lists(
            st.tuples(
                st.integers(0, queries - 1), st.integers(0, documents - 1), st.integers(-1, 3)
            ),
            min_size=1,
            max_size=16,
        )
    )
    lists = [draw(st.permutations(range(documents))) for _ in range(queries)]
    kept = [draw(st.integers(0, documents)) for _ in range(queries)]
    ids = np.array(
        [[*row[:k], *[-1] * (documents - k)] for row, k in zip(lists, kept, strict=True)]
    )
    return qrels_of(triples, queries, draw(st.integers(1, 2))), ids


@given(problems())
def test_a_condensed_list_is_the_list_without_what_nobody_judged(
    problem: tuple[Qrels, I64],
) -> None:
    qrels, ids = problem
    found = condensed(qrels, np.arange(len(qrels)), ids)
    assert found.shape == ids.shape
    for query, row in enumerate(ids.tolist()):
        part = slice(qrels.indptr[query], qrels.indptr[query + 1])
        known = {
            doc
            for doc, grade in zip(qrels.docs[part], qrels.grades[part], strict=True)
            if grade >= 0
        }
        kept = [doc for doc in row if doc in known]
        assert found[query].tolist() == kept + [-1] * (len(row) - len(kept))
        assert judged(qrels, np.array([query]), ids[query : query + 1])[0].tolist() == [
            doc in known for doc in row
        ]


# queries q1, q2 with documents d1 to d8; d3 and d7 would answer them, and nobody has said so
TEXTS = {f"d{i}": f"text {i}" + " (good)" * (i in (3, 7)) for i in range(1, 9)}
JUDGED = [("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d5", 1)]
RUNS = {
    "old": {"q1": ["d2", "d1", "d4"], "q2": ["d5", "d6"]},
    "new": {"q1": ["d3", "d4", "d1"], "q2": ["d7", "d8", "d5"]},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("incomplete")
    queries = {"q1": "first question", "q2": "second question"}
    write_dataset(folder / "data", TEXTS, queries, {"test": JUDGED})
    for name, ranked in RUNS.items():
        evaluated(folder, folder / "data", name, ranked)
    return folder


def runs(home: Path) -> list[str]:
    return [str(home / "runs" / name) for name in RUNS]


def judge(home: Path, pairs: Path, answer: Answer, name: str) -> Path:
    """What `pyrite relabel` finds about the file of pairs, with the command that the docs show."""
    settings = {
        "name": name,
        "runs_dir": str(home / "relabelled"),
        "cache_dir": str(home / "cache"),
        "data": {
            "path": str(pairs),
            "format": "star",
            "corpus": str(home / "data"),
            "qrels": str(home / "data" / "qrels" / "test.tsv"),
        },
        "stages": [{"judge": "scripted", "scripted": {"function": "x:y"}}],
        "counted": "relevant",
    }
    return relabel(parse_config(RelabelConfig, settings), [ScriptedJudge(answer, name)]).folder


def by_text(case: Case) -> list[Verdict]:
    return [BETTER if "(good)" in doc.text else CLEAN for doc in case.documents]


def undecided(case: Case) -> list[Verdict]:
    pairs = zip(case.documents, by_text(case), strict=True)
    return [UNKNOWN if "6" in doc.text else verdict for doc, verdict in pairs]


def test_shares_of_judged_results_stand_beside_ndcg(home: Path) -> None:
    found = compare_runs(runs(home), CompareOptions(incomplete=True)).incomplete
    assert found is not None
    assert (found.positives, found.negatives) == (2, 1)
    assert list(found.systems["old"]) == ["judged@10", "bpref", "infap", "ndcg@10 condensed"]
    assert found.systems["old"]["judged@10"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.systems["new"]["judged@10"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    # without the unjudged, the new system has both positives first
    assert found.systems["new"]["ndcg@10 condensed"] == pytest.approx(1.0)
    assert found.systems["old"]["ndcg@10 condensed"] == pytest.approx((0.63092975 + 1) / 2)


def test_without_judged_negatives_there_are_shares_only(home: Path, tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data", TEXTS, {"q1": "a", "q2": "b"}, {"test": [JUDGED[0], JUDGED[2]]}
    )
    folders = [str(evaluated(tmp_path, data, name, ranked)) for name, ranked in RUNS.items()]
    found = compare_runs(folders, CompareOptions(incomplete=True)).incomplete
    assert found is not None
    assert found.negatives == 0
    assert {tuple(means) for means in found.systems.values()} == {("judged@10",)}


def test_the_unjudged_are_written_judged_and_counted(home: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "unjudged.json"
    before = compare_runs(runs(home), CompareOptions(unjudged=pairs, depth=3))
    # by best rank, then by id; what is judged is not there
    assert json.loads(pairs.read_text("utf-8")) == {"q1": ["d3", "d4"], "q2": ["d7", "d6", "d8"]}
    assert before.unjudged is not None
    assert before.unjudged.pairs == 5
    assert f"    {before.unjudged.command}" in markdown(before).splitlines()
    assert before.comparisons[0].difference < 0
    folder = judge(home, pairs, by_text, "judged")
    after = compare_runs(runs(home), CompareOptions(verdicts=folder, incomplete=True))
    assert after.verdicts is not None
    assert (after.verdicts.relevant, after.verdicts.irrelevant, after.verdicts.unknown) == (2, 3, 0)
    # d3 and d7 count now, and the new system had them first
    assert after.comparisons[0].difference > 0
    ideal = 1 + 1 / np.log2(3)
    assert after.means("new")["ndcg@10"] == pytest.approx((1 + 1 / np.log2(4)) / ideal)
    assert after.incomplete is not None
    assert after.incomplete.systems["new"]["judged@10"] == 1.0
    # the evaluations themselves stay
    assert compare_runs(runs(home)).comparisons == before.comparisons


def test_the_command_that_is_printed_has_the_pairs_judged(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pairs = tmp_path / "unjudged pairs.json"
    done = in_process(monkeypatch, capfd, "compare", *runs(home), "--unjudged", str(pairs))
    command = done.out.splitlines()[-1]
    _, *words = shlex.split(command)
    config = tmp_path / "judges.yaml"
    settings = (
        f"{{runs_dir: '{tmp_path}', cache_dir: '{tmp_path}', stages: [{{judge: duplicates}}]}}"
    )
    config.write_text(settings, encoding="utf-8")
    given = [str(config) if word == "CONFIG" else word for word in words]
    judged_now = in_process(monkeypatch, capfd, *given, "name=copies")
    assert judged_now.code == 0, judged_now.err
    folder = str(tmp_path / "copies")
    found = in_process(monkeypatch, capfd, "compare", *runs(home), "--verdicts", folder, "--json")
    # no text is a copy of a positive, and that judge says no more
    verdicts = {"relevant": 0, "irrelevant": 0, "unknown": 5}
    assert json.loads(found.out)["verdicts"] == verdicts


def test_what_no_judge_decided_stays_unjudged(home: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "unjudged.json"
    compare_runs(runs(home), CompareOptions(unjudged=pairs))
    folder = judge(home, pairs, undecided, "undecided")
    found = compare_runs(runs(home), CompareOptions(verdicts=folder.parent, incomplete=True))
    assert found.verdicts is not None
    assert (found.verdicts.relevant, found.verdicts.irrelevant, found.verdicts.unknown) == (2, 2, 1)
    assert found.incomplete is not None
    assert found.incomplete.systems["old"]["judged@10"] == pytest.approx((1 + 1 / 2) / 2)


def test_the_first_results_alone_are_looked_at(home: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "unjudged.json"
    compare_runs(runs(home), CompareOptions(unjudged=pairs, depth=1))
    assert json.loads(pairs.read_text("utf-8")) == {"q1": ["d3"], "q2": ["d7"]}


def test_verdicts_about_something_else_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match="no finished relabelling"):
        compare_runs(runs(home), CompareOptions(verdicts=tmp_path))
    pairs = tmp_path / "unjudged.json"
    compare_runs(runs(home), CompareOptions(unjudged=pairs))
    folder = judge(home, pairs, by_text, "spoilt")
    pairs.write_text('{"q1": ["d8"]}', encoding="utf-8")
    with pytest.raises(PyriteError, match=r"is not the file that .* has verdicts about"):
        compare_runs(runs(home), CompareOptions(verdicts=folder))


def test_where_all_is_judged_there_is_nothing_to_write(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", TEXTS, {"q1": "a"}, {"test": JUDGED[:2]})
    folders = [
        str(evaluated(tmp_path, data, name, {"q1": documents}))
        for name, documents in (("one", ["d1", "d2"]), ("two", ["d2", "d1"]))
    ]
    with pytest.raises(PyriteError, match=r"all judged.*raise --depth"):
        compare_runs(folders, CompareOptions(unjudged=tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()
