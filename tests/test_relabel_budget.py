from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import cases, cut_short, expected, judged, made, serving, slow
from embedding_server import Server
from hypothesis import given
from hypothesis import strategies as st

from pyrite.miner.relabel.budget import Budget, Spent
from pyrite.miner.relabel.price import Price
from pyrite.miner.relabel.verdict_store import VerdictStore


def test_a_price_is_for_a_million_tokens() -> None:
    assert Price(input=0.15, output=0.6).cost(2_000_000, 500_000) == pytest.approx(0.6)
    assert Price().cost(10, 10) == 0


@given(st.lists(st.floats(0, 10), max_size=30), st.floats(0.1, 30), st.integers(1, 20))
def test_one_after_the_other_never_goes_over(
    costs: list[float], max_cost: float, max_calls: int
) -> None:
    budget = Budget(max_cost, max_calls)
    spent, calls = 0.0, 0
    for cost in costs:
        held = budget.reserve(cost)
        fits = calls < max_calls and spent + cost <= max_cost
        if budget.stopped is not None:
            assert held is None
        if held is None:
            assert budget.stopped in {f"max_calls={max_calls}", f"max_cost={max_cost:g}"}
            break
        assert fits
        budget.settle(held, cost, cost)
        spent, calls = spent + cost, calls + 1
    assert budget.spent.calls == calls
    assert budget.spent.cost == pytest.approx(spent)


def test_what_is_under_way_counts_until_it_is_settled() -> None:
    budget = Budget(max_cost=10)
    first = budget.reserve(8)
    assert first == 8
    threading.Timer(0.1, lambda: budget.settle(8, 8, 1)).start()
    started = time.monotonic()
    assert budget.reserve(8) == 8
    assert time.monotonic() - started >= 0.09
    budget.settle(8, 8, 8)
    assert budget.spent == Spent(2, 9)
    assert budget.reserve(2) is None
    assert budget.reserve(0.5) is None  # spent for good
    assert budget.stopped == "max_cost=10"


def test_estimates_that_were_too_low_are_raised() -> None:
    budget = Budget(max_cost=10)
    held = budget.reserve(2)
    assert held is not None
    budget.settle(held, 2, 4)
    assert budget.reserve(2) == 4


def test_calls_that_brought_nothing_cost_nothing_and_earlier_runs_count() -> None:
    budget = Budget(max_calls=3, spent=Spent(2, 5.0))
    held = budget.reserve(1)
    assert held is not None
    budget.settle(held, 1, None)
    held = budget.reserve(1)
    assert held is not None
    budget.settle(held, 1, 1)
    assert budget.spent == Spent(3, 6.0)
    assert budget.reserve(1) is None
    assert budget.stopped == "max_calls=3"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VerdictStore]:
    with VerdictStore(tmp_path / "verdicts.sqlite", "run") as opened:
        yield opened


@pytest.mark.parametrize("concurrency", [1, 6])
def test_max_calls_stops_cleanly_and_another_run_goes_on(
    server: Server, store: VerdictStore, concurrency: int
) -> None:
    asked = cases(12)
    judge = made(server, store, Budget(max_calls=5), concurrency=concurrency)
    found = judged(judge, asked)
    assert judge.stopped == "max_calls=5"
    assert len(found) == len(server.asked) == 5
    assert store.spent().calls == 5
    whole = judged(made(server, store, Budget(), concurrency=concurrency), asked)
    assert len(server.asked) == 12
    assert {one.row: expected(one) for one in asked} == {r: j.verdicts for r, j in whole.items()}


def test_max_cost_is_not_exceeded_with_many_under_way(server: Server, store: VerdictStore) -> None:
    # the server says 100 tokens in and 10 out: 0.0002 a call
    budget = Budget(max_cost=0.004)
    judge = made(server, store, budget, concurrency=8, reply_tokens=50)
    found = judged(judge, cases(60))
    assert judge.stopped == "max_cost=0.004"
    assert budget.spent.cost <= 0.004
    # a call is estimated at 0.001 at most, and waits for those before it
    assert 15 <= len(found) <= 20
    assert store.spent().calls == budget.spent.calls == len(found)
    assert store.spent().cost == pytest.approx(budget.spent.cost)


def test_a_spent_budget_leaves_what_is_stored_free(server: Server, store: VerdictStore) -> None:
    asked = cases(4)
    judged(made(server, store), asked[:3])
    judge = made(server, store, Budget(max_calls=1, spent=Spent(1, 0.0)))
    found = judged(judge, asked)
    assert set(found) == {"r0", "r1", "r2"}
    assert judge.stopped == "max_calls=1"


def test_a_retry_that_is_not_paid_for_leaves_the_case_open_but_its_cost_known(
    server: Server, store: VerdictStore
) -> None:
    server.default = cut_short
    judge = made(server, store, Budget(max_calls=2), concurrency=1)
    assert judged(judge, cases(1)) == {}
    assert store.spent().calls == 2
    assert store.spent().cost == pytest.approx(2 * 0.0002)


def test_what_is_under_way_ends_and_is_kept(server: Server, store: VerdictStore) -> None:
    server.default = slow
    judge = made(server, store, Budget(max_calls=3), concurrency=4)
    found = judged(judge, cases(9))
    assert len(found) == 3
    assert {judgement.state for judgement in found.values()} == {"ok"}
