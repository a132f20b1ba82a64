"""The formulas of a plan: counts, padded work, lines through measured points, stages, limits."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_setup import RATES, SHAPE, config_of, estimate_of, sizes

from pyrite.core.encoder import plan_batches
from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.config import RelabelConfig
from pyrite.miner.relabel.estimate import estimate
from pyrite.trainers.plan.amounts import as_bytes, as_time, parse_count
from pyrite.trainers.plan.devices import DEVICES, device_named
from pyrite.trainers.plan.judge_stages import judge_stages, sampled_rows
from pyrite.trainers.plan.limits import Free, largest, limits
from pyrite.trainers.plan.line_sample import sample_lines
from pyrite.trainers.plan.mine_stages import mine_stages
from pyrite.trainers.plan.rates import Line, Rates
from pyrite.trainers.plan.shape import encode_work, step_work, widest
from pyrite.trainers.plan.sizes import count_judged
from pyrite.trainers.plan.stage import Stage
from pyrite.trainers.plan.train_stages import steps, train_stages


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8.8M", 8_800_000),
        ("500k", 500_000),
        ("2e6", 2_000_000),
        ("1_000", 1000),
        ("1,000,000", 1_000_000),
        (" 7 ", 7),
        ("0.5K", 500),
        ("1.5e3k", 1_500_000),
        ("2b", 2 * 10**9),
        ("1e13", 10**13),
    ],
)
def test_counts_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_count(text, "--docs") == count


@pytest.mark.parametrize(
    "text", ["", "k", "-5", "1.5", "0", "8.8 Mio", "1e14", "nan", "inf", "1e-3", "2.0001k", "1e999"]
)
def test_what_is_no_count_is_one_sentence(text: str) -> None:
    with pytest.raises(PyriteError, match=r"--docs=.*such as 8\.8M, 500k or 2e6"):
        parse_count(text, "--docs")


@given(st.integers(1, 10**13))
def test_any_count_is_read_back(count: int) -> None:
    assert parse_count(str(count), "x") == count
    assert parse_count(f"{count:,}", "x") == count
    assert parse_count(f"{count:_}", "x") == count


def test_times_and_bytes_in_words() -> None:
    times = (0.04, 12.34, 100, 3600, 5 * 3600, 72 * 3600)
    assert [as_time(s) for s in times] == [
        "0.0 s",
        "12.3 s",
        "1.7 min",
        "60 min",
        "5.0 h",
        "3.0 days",
    ]
    assert [as_bytes(b) for b in (12, 1500, 150_000, 1.5e9, 2e18)] == [
        "12 B",
        "1.5 kB",
        "150 kB",
        "1.5 GB",
        "2000 PB",
    ]


@settings(max_examples=50, deadline=None)
@given(lines=st.integers(0, 300), size=st.integers(1, 40))
def test_sampled_lines_are_evenly_spread(
    lines: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x"
    path.write_bytes(b"".join(b"%d\n\n" % at for at in range(lines)))
    kept, count = sample_lines(path, size)
    numbers = [int(line) for line in kept]
    assert count == lines
    assert len(numbers) <= 2 * size
    assert len(numbers) >= min(lines, size)
    assert len(set(np.diff(numbers).tolist())) <= 1
    if lines:
        assert numbers[0] == 0
        # nothing at the end is left out but less than one distance
        assert lines - numbers[-1] <= (numbers[1] if len(numbers) > 1 else lines)


def test_judged_queries_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\nq2\td1\t0\n\nq3\td3\t-1\n")
    assert count_judged(path, 1) == (1, 2)
    assert count_judged(path, 2) == (1, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=300), st.integers(64, 600))
def test_work_of_a_whole_sample_is_that_of_its_batches(lengths: list[int], most: int) -> None:
    tokens = np.sort(np.array(lengths, dtype=np.int64))
    total = 0.0
    for batch in plan_batches(tokens, most):
        rows, width = len(batch), max(int(tokens[at]) for at in batch)
        for _ in range(rows):
            # each token by each parameter, and each pair of tokens in each layer, twice
            total += 2 * SHAPE.matrices * width
            total += SHAPE.layers * 2 * (2 * width * width * SHAPE.hidden)
    assert encode_work(SHAPE, tokens, len(lengths), most) == pytest.approx(total)


def test_full_parts_are_counted_as_often_as_there_are() -> None:
    tokens = np.array([10, 20, 30], dtype=np.int64)
    one = encode_work(SHAPE, tokens, 2048, 8192)
    rest = encode_work(SHAPE, tokens, 100, 8192)
    assert encode_work(SHAPE, tokens, 5 * 2048 + 100, 8192) == pytest.approx(5 * one + rest)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_longest_of_a_batch_is_expected_as_over_all_draws(rows: int) -> None:
    tokens = np.array([3, 5, 5, 9, 20], dtype=np.int64)
    every = [max(draw) for draw in itertools.product(tokens.tolist(), repeat=rows)]
    assert widest(tokens, rows) == pytest.approx(float(np.mean(every)))


def test_a_step_is_three_forward_passes_of_each_column() -> None:
    widths = [16.0, 64.0, 40.0]
    forward = sum(SHAPE.work(32, int(width)) for width in widths)
    assert step_work(SHAPE, widths, 32) == pytest.approx(3 * forward)


def test_a_line_is_found_again() -> None:
    line = Line(0.5, 2e-6, 1e-4, 3e-9)
    places = [(n, q) for n in (1000, 10_000, 100_000) for q in (100, 2000)]
    found = Line.through([(n, q, line.at(n, q)) for n, q in places])
    assert found.at(8_800_000, 500_000) == pytest.approx(line.at(8_800_000, 500_000), rel=1e-6)
    assert (line + found).fixed == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1e3), min_size=4, max_size=4))
def test_no_line_falls_whatever_was_measured(seconds: list[float]) -> None:
    places = [(10, 5), (10, 50), (1000, 5), (1000, 50)]
    points = [(n, q, s) for (n, q), s in zip(places, seconds, strict=True)]
    found = Line.through(points)
    assert min(found.fixed, found.documents, found.queries, found.products) >= 0


def test_rates_are_read_back() -> None:
    assert Rates.from_json(json.loads(json.dumps(RATES.as_json()))) == RATES


def stages_of(of: Any) -> dict[str, Stage]:
    return {one.name: one for one in (*mine_stages(of), *train_stages(of))}


def test_stages_of_the_default_configuration() -> None:
    of = estimate_of(config_of(train={"steps": 40, "save_every": 16}))
    found = stages_of(of)
    assert list(found) == [
        "read texts",
        "load the model",
        "encode documents",
        "encode queries",
        "search",
        "filter and draw",
        "evaluate base",
        "train in_batch",
        "evaluate in_batch",
        "train mined",
        "evaluate mined",
        "compare",
    ]
    assert found["search"].disk == 10_000 * (17 * 200 + 8)
    assert found["encode documents"].scratch == 100_000 * 384 * 4
    # at most three checkpoints of weights and two moments
    assert found["train mined"].scratch == 3 * 12 * SHAPE.parameters
    assert all(one.basis == "measured" for one in found.values())
    search = 0.06 + 4e-6 * 1e5 + (1e-4 + 1e-5) * 1e4 + 3e-9 * 1e9
    assert found["search"].seconds == pytest.approx(search)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(10, 10**7),
    st.integers(10, 10**6),
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    st.sampled_from([None, "h200"]),
)
def test_nothing_falls_with_more_documents_or_queries(
    documents: int, queries: int, more: int, asked: int, name: str | None
) -> None:
    device = None if name is None else device_named(name)
    config = config_of(refresh={"mode": "sync", "every_steps": 50}, train={"steps": 200})
    small = stages_of(estimate_of(config, sizes(documents, queries), device))
    large = stages_of(estimate_of(config, sizes(documents + more, queries + asked), device))
    for stage, one in small.items():
        for part in ("seconds", "disk", "scratch", "memory"):
            assert getattr(large[stage], part) >= getattr(one, part) * (1 - 1e-9), (stage, part)


def test_a_named_device_is_never_called_measured() -> None:
    device = device_named("h100")
    of = estimate_of(config_of(train={"steps": 10}), device=device)
    config = of.config
    index = config.retrieve.sources[0].index.model_copy(update={"device": "cuda"})
    source = config.retrieve.sources[0].model_copy(update={"index": index})
    retrieve = config.retrieve.model_copy(update={"sources": (source,)})
    found = stages_of(replace(of, config=config.model_copy(update={"retrieve": retrieve})))
    by_processor = {"read texts", "load the model", "filter and draw", "compare"}
    assert {name for name, one in found.items() if one.basis == "measured"} == by_processor
    assert {name for name, one in found.items() if one.where == "device"} >= {
        "encode documents",
        "train mined",
    }


def test_an_unknown_device_is_one_sentence() -> None:
    with pytest.raises(PyriteError, match=r"--device=abacus: .*cpu or cuda.*h200"):
        device_named("abacus")
    assert device_named("cuda:1") is device_named("cpu") is None
    assert device_named("H200") is DEVICES["h200"]


def test_steps_by_epochs_and_by_number() -> None:
    assert steps(estimate_of(config_of(train={"steps": 7}))) == 7
    # 11,000 pairs in batches of 32, the last one left out
    assert steps(estimate_of(config_of(train={"epochs": 2.0}))) == 2 * (11_000 // 32)
    one = config_of(train={"positives": "one", "batch_size": 100, "gradient_accumulation": 4})
    assert steps(estimate_of(one)) == 25


def test_refreshes_are_counted_and_async_ones_run_beside() -> None:
    for mode, beside in (("sync", False), ("async", True)):
        config = config_of(refresh={"mode": mode, "every_steps": 16}, train={"steps": 64})
        found = stages_of(estimate_of(config))[f"refresh ({mode})"]
        assert found.amount.startswith("3 generations")
        assert found.beside == beside


def test_workers_share_encoding_and_exact_search() -> None:
    plain = config_of()
    shared = config_of(engine="ray", ray={"workers": 4})
    one, four = (estimate_of(config) for config in (plain, shared))
    kept = one.keep(100_000)
    alone, together = (of.encode(100_000, "document") or 0 for of in (one, four))
    assert together - kept == pytest.approx((alone - kept) / 4)
    sources = plain.retrieve.sources
    alone, together = (of.search(sources, 1e6, 1e5, 200) or 0 for of in (one, four))
    fixed = RATES.overhead.at(1e6, 1e5) + RATES.dense.fixed
    assert together - fixed == pytest.approx((alone - fixed) / 4)


def test_an_index_without_a_formula_has_no_time() -> None:
    for factory, known in (("IVF4096,PQ64", True), ("HNSW32", True), ("LSH", False)):
        index = {"backend": "faiss", "factory": factory}
        config = config_of(retrieve={"sources": [{"kind": "dense", "index": index}]})
        found = stages_of(estimate_of(config))
        assert (found[f"index {factory}"].seconds is not None) == known
        assert (found["search"].seconds is not None) == known


def test_a_partial_refresh_and_a_pool_cost_less() -> None:
    full = {"mode": "sync", "every_steps": 16}
    part = {**full, "partial": {"kind": "choose", "share": 0.2}}
    times = [
        stages_of(estimate_of(config_of(refresh=refresh, train={"steps": 64})))["refresh (sync)"]
        for refresh in (full, part)
    ]
    assert (times[1].seconds or 0) < (times[0].seconds or 0)
    measured = []
    for pool in (None, 20):
        stopping = {"split": "dev", "pool_depth": pool}
        found = stages_of(estimate_of(config_of(train={"steps": 100, "early_stopping": stopping})))
        measured.append(found["measure mined on dev"].seconds or 0)
    assert measured[1] < measured[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), st.integers(0, 10_000), st.integers(0, 500))
def test_the_largest_size_is_the_last_that_fits(each: int, free: int, fixed: int) -> None:
    found = largest(lambda n: float(fixed + each * n), free)
    fitting = [n for n in range(1, free // each + 2) if fixed + each * n <= free]
    assert found == max(fitting, default=0)
    assert largest(lambda n: 0.0, 1.0) == 10**13


def test_limits_state_what_they_compute() -> None:
    of = estimate_of()
    free = Free(memory=8e9, device=80e9, disk=1e12)
    found = {one.what: one for one in limits(of, free)}
    assert found["queries, candidates on disk"].largest == int(1e12 // (2 * 19 * 200))
    assert found["documents, an index that holds all vectors"].largest == int(80e9 // (4 * 384))
    held = found["documents, IVF4096,PQ48"]
    assert held.largest == int((80e9 - 4 * (4096 + 256) * 384) // (48 + 8))
    assert found["documents, exact search"].largest <= 8e9 / 48
    less = {one.what: one for one in limits(of, Free(4e9, 40e9, 1e11))}
    assert all(less[what].largest <= one.largest for what, one in found.items())


def relabel_config() -> RelabelConfig:
    chat = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "price": {"input": 2, "output": 8}}
    stages = [{"judge": "chat", "chat": chat, "expect": 0.5}, {"judge": "chat", "chat": chat}]
    return RelabelConfig.model_validate({"data": {"path": "x"}, "stages": stages})


def test_judges_are_priced_by_the_dry_run_of_relabel(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    config = relabel_config().model_copy(update={"cache_dir": str(tmp_path / "cache")})
    of = sizes(1000, 800)
    one, two = judge_stages(config, of, 4)
    from pyrite.miner.relabel.build import built

    dry = config.model_copy(update={"dry_run": True})
    with built(dry, None) as (judges, _):
        by_hand = estimate(sampled_rows(of, 4), judges, [0.5, 1.0], 0.0)
    assert one.price == pytest.approx(4 * by_hand[0].cost)
    assert two.price == pytest.approx(one.price / 2)
    assert one.seconds is None
    assert not (tmp_path / "cache").exists()


def test_sampled_rows_have_the_asked_number_of_negatives() -> None:
    rows = list(sampled_rows(sizes(1000, 50), 3))
    assert len(rows) == 50
    assert {len(row.negatives) for row in rows} == {3}
    assert rows[0].positives
