from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import case
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.budget import Spent
from pyrite.miner.relabel.case import STATES, UNKNOWN, Judgement, State, Verdict
from pyrite.miner.relabel.verdict_store import VerdictStore, human_key, pair_keys
from pyrite.miner.training_row import Doc

ROWS = 60
YES = Verdict(True, "better", None, "yes")
NO = Verdict(False, "na", 0.25, "no")
ABSTAINED = Verdict(None, None, 0.5, "")


def ok(*verdicts: Verdict) -> Judgement:
    return Judgement("ok", verdicts, 7, 3, 1)


def test_what_is_put_is_got_by_any_later_reader(tmp_path: Path) -> None:
    one = case("r", "a", "b", "c")
    with VerdictStore(tmp_path / "deep" / "v.sqlite") as store:
        assert store.get("j", one) == (None, None, None)
        store.put("j", one, ok(YES, NO, ABSTAINED))
    with VerdictStore(tmp_path / "deep" / "v.sqlite") as store:
        assert store.get("j", one) == (YES, NO, ABSTAINED)
        assert store.get("k", one) == (None, None, None)
        turned = replace(one, row="x", documents=(one.documents[2], Doc(None, "", "d")))
        assert store.get("j", turned) == (ABSTAINED, None)


def test_the_key_is_the_texts_and_nothing_else() -> None:
    one = replace(case("r", "a"), truths=(Doc("1", "t", "x"), Doc("2", "", "y")))
    (key,) = pair_keys(one)
    same = replace(
        one, row="s", truths=(Doc("9", "", "y"), Doc("8", "t", "x")), documents=(Doc("d", "", "a"),)
    )
    assert pair_keys(same) == [key]
    for other in (
        replace(one, query="q"),
        replace(one, truths=one.truths[:1]),
        replace(one, truths=(Doc("1", "", "t x"), one.truths[1])),
        replace(one, documents=(Doc(None, "a", ""),)),
        replace(one, documents=(Doc(None, "", "a "),)),
    ):
        assert pair_keys(other) != [key]


@given(st.text(), st.text(), st.text(), st.text())
def test_no_two_pairs_share_a_key_by_moving_borders(a: str, b: str, c: str, d: str) -> None:
    def key(query: str, truth: str, title: str, text: str) -> list[str]:
        made = case("r", query=query or " ")
        return pair_keys(
            replace(
                made,
                query=query,
                truths=(Doc(None, "", truth),),
                documents=(Doc(None, title, text),),
            )
        )

    assert key(a, b, c, d) == key(a, b, c, d)
    assert key(a + "x", b, c, d) != key(a, "x" + b, c, d)
    assert key(a, b, c + "x", d) != key(a, b, c, "x" + d)


@pytest.mark.parametrize("state", [state for state in STATES if state != "ok"])
def test_what_is_not_ok_is_an_attempt_and_no_verdict(tmp_path: Path, state: State) -> None:
    one = case("r", "a")
    with VerdictStore(tmp_path / "v.sqlite", "run") as store:
        store.put("j", one, Judgement(state, (UNKNOWN,), 30, 20, 3), 0.5)
        assert store.get("j", one) == (None,)
        assert store.spent() == Spent(3, 0.5)
    with VerdictStore(tmp_path / "v.sqlite", "another run") as store:
        assert store.spent() == Spent(0, 0.0)


def test_a_model_s_first_verdict_stays_and_a_person_may_change_theirs(tmp_path: Path) -> None:
    one = case("r", "a")
    with VerdictStore(tmp_path / "v.sqlite") as store:
        for judge in ("j", human_key("ann")):
            store.put(judge, one, ok(YES))
            store.put(judge, one, ok(NO))
        assert store.get("j", one) == (YES,)
        assert store.get(human_key("ann"), one) == (NO,)
        store.put(human_key("bob"), one, ok(YES))
        assert store.humans() == ["human:ann", "human:bob"]


def test_many_documents_are_looked_up_in_pieces(tmp_path: Path) -> None:
    one = case("r", *map(str, range(1203)))
    with VerdictStore(tmp_path / "v.sqlite") as store:
        store.put("j", one, ok(*(replace(YES, why=str(i)) for i in range(1203))))
        assert [v.why for v in store.get("j", one) if v] == [str(i) for i in range(1203)]


def test_a_failed_put_leaves_nothing(tmp_path: Path) -> None:
    one = case("r", "a", "b")
    with VerdictStore(tmp_path / "v.sqlite") as store:
        bad = replace(NO, why=None)  # type: ignore[arg-type]
        with pytest.raises(PyriteError, match="not usable as a verdict store"):
            store.put("j", one, ok(YES, bad))
        store.put("k", one, ok(YES, NO))
        assert store.get("k", one) == (YES, NO)
        assert store._db.execute("SELECT DISTINCT judge FROM verdicts").fetchall() == [("k",)]


def test_the_file_is_written_through(tmp_path: Path) -> None:
    with VerdictStore(tmp_path / "v.sqlite") as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_many_may_make_the_same_new_file_at_once(tmp_path: Path) -> None:
    for i in range(12):
        barrier = threading.Barrier(6)

        def make(path: Path = tmp_path / f"{i}.sqlite", barrier: Any = barrier) -> None:
            barrier.wait()
            VerdictStore(path).close()

        with ThreadPoolExecutor(6) as pool:
            for made in [pool.submit(make) for _ in range(6)]:
                made.result()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all" * 99, encoding="utf-8")
    with pytest.raises(PyriteError, match="not usable as a verdict store"):
        VerdictStore(tmp_path / "text")
    with pytest.raises(PyriteError, match="not usable as a verdict store"):
        VerdictStore(tmp_path / "text" / "v.sqlite")
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version=7")
    newer.close()
    with pytest.raises(PyriteError, match="schema 7, this version reads 1"):
        VerdictStore(tmp_path / "newer")


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_relabel_store import ROWS, YES, ok
from chat_server import case
from dataclasses import replace
from pyrite.miner.relabel.verdict_store import VerdictStore
with VerdictStore(Path(sys.argv[1]), "run") as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(ROWS):
        store.put("j", case(str(i), "a", "b"), ok(*[replace(YES, why=sys.argv[2])] * 2), 1.0)
        assert None not in store.get("j", case(str(i), "a", "b"))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "v.sqlite"
    command = [sys.executable, "-c", _WRITER, str(path)]
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [*command, name, here], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("\n", timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    with VerdictStore(path, "run") as store:
        assert store.spent() == Spent(2 * ROWS, 2.0 * ROWS)
        for i in range(ROWS):
            first, second = store.get("j", case(str(i), "a", "b"))
            # both documents from the same transaction
            assert first == second
            assert first is not None
