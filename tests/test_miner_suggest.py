from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from cli_setup import in_process, snapshot, write_setup
from fakes import BagOfWords, toy_dataset
from rich.console import Console
from test_miner_mine import exact, positives_of, texts_of

from pyrite.core.config import parse_config
from pyrite.core.digest import u64
from pyrite.core.errors import PyriteError
from pyrite.indexes.flat import FlatIndex
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import MineConfig, mine
from pyrite.miner.samplers import SamplerConfig
from pyrite.miner.suggest import Suggestion, suggest
from pyrite.miner.suggest_grid import MARGINS, PERCENTS, Setting, settings
from pyrite.miner.suggest_report import explanation, suggestion_table, write_plot, yaml_lines
from pyrite.miner.suggest_rule import MAX_PROXY, Outcome

GRID = settings(FilterConfig(percent=0.95), SamplerConfig())


def sections(folder: Path, data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 60},
        "filters": {"percent": 0.95, "positive_score": "max"},
        "sampler": {"name": "simans", "n": 4, "tau": 0.1},
        **changes,
    }


def config_of(folder: Path, data: Path, **changes: Any) -> MineConfig:
    return parse_config(MineConfig, sections(folder, data, **changes))


def positive_scores_of(data: Path) -> list[float]:
    """The score of each known positive, in plain Python."""
    corpus, queries = texts_of(data, "corpus"), texts_of(data, "queries")
    encoder = BagOfWords()
    return [
        exact(encoder.encode_queries([queries[q]])[0], encoder.encode_documents([corpus[d]])[0])
        for q, docs in positives_of(data).items()
        for d in docs
    ]


def oracle(config: MineConfig, setting: Setting, positives: list[float]) -> dict[str, Any]:
    """What `mine` itself does under a setting, counted by plain loops over its parquet file."""
    changes = {"name": "oracle", "filters": setting.filters, "sampler": setting.sampler}
    mined = mine(config.model_copy(update=changes), BagOfWords())
    rows = pq.read_table(mined.folder / "negatives.parquet").to_pylist()
    gaps = [s - row["pos_score"] for row in rows for s in row["scores"]]
    below = [sum(p <= s for p in positives) / len(positives) for row in rows for s in row["scores"]]
    return {
        "kept": mined.tally.kept / mined.tally.candidates,
        "short": sum(len(row["scores"]) < setting.sampler.total for row in rows) / len(rows),
        "filled": len(gaps) / (setting.sampler.total * len(rows)),
        "hardness": math.fsum(gaps) / len(gaps) if gaps else None,
        "proxy": math.fsum(below) / len(below) if below else None,
    }


def numbers(outcome: Outcome) -> dict[str, Any]:
    names = ("kept", "short", "filled", "hardness", "proxy")
    return {name: getattr(outcome, name) for name in names}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "method", [pytest.param("none", marks=SLOW), pytest.param("ecdf", marks=SLOW), "zscore"]
)
def test_every_outcome_is_what_mining_with_that_setting_gives(
    toy: Path, tmp_path: Path, method: str
) -> None:
    filters = {"percent": 0.9, "positive_score": "max", "max_score": 2.0, "calibrate": method}
    config = config_of(tmp_path, toy, filters=filters)
    found = suggest(config, encoder=BagOfWords())
    positives = positive_scores_of(toy)
    assert found.queries == 30
    assert len(found.outcomes) == 1 + 1 + len(PERCENTS) + 6 + 4 + 9
    for outcome in found.outcomes:
        assert numbers(outcome) == pytest.approx(oracle(config, outcome.setting, positives))
        assert 0 <= outcome.kept <= 1
        assert 0 <= outcome.short <= 1
        assert outcome.proxy is None or 0 <= outcome.proxy <= 1


@pytest.mark.parametrize("method", ["none", "ecdf", "zscore"])
def test_a_stricter_ceiling_never_keeps_more(toy: Path, tmp_path: Path, method: str) -> None:
    filters = {"calibrate": method, "positive_score": "max"}
    found = suggest(config_of(tmp_path, toy, filters=filters), encoder=BagOfWords()).outcomes
    margins = [o for o in found if o.setting.family == "margin"]
    percents = [o for o in found if o.setting.family == "percent"]
    everything = next(o for o in found if o.setting.family == "no ceiling")
    for strict, loose in zip(
        [*margins[1:], percents[0]], [*margins[:-1], percents[1]], strict=True
    ):
        assert strict.kept <= loose.kept <= everything.kept
        assert strict.short >= loose.short >= everything.short
    assert margins[-1].kept < margins[0].kept


def test_nothing_is_encoded_or_searched_after_mining(
    toy: Path, tmp_path: Path, encoder: BagOfWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, toy)
    mine(config, encoder)
    before = snapshot(tmp_path)
    fresh = BagOfWords()

    def search(*arguments: Any) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(FlatIndex, "search", search)
    suggest(config, encoder=fresh)
    assert fresh.encoded == 0
    assert snapshot(tmp_path) == before


def test_neither_blocks_nor_the_order_of_files_change_a_digit(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = suggest(config_of(tmp_path / "a", toy), encoder=BagOfWords())
    data = tmp_path / "shuffled"
    shutil.copytree(toy, data)
    for name in ("corpus.jsonl", "queries.jsonl"):
        lines = (data / name).read_text("utf-8").splitlines()
        random.Random(3).shuffle(lines)
        (data / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr("pyrite.miner.suggest.BLOCK_QUERIES", 7)
    second = suggest(config_of(tmp_path / "b", data), encoder=BagOfWords())
    assert second.as_json() == first.as_json()


def test_a_sample_is_the_queries_with_the_smallest_hashes(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, toy)
    rows = pq.read_table(mine(config, BagOfWords()).folder / "negatives.parquet").to_pylist()
    monkeypatch.setattr("pyrite.miner.suggest.MAX_QUERIES", 11)
    found = suggest(config, encoder=BagOfWords())
    assert found.queries == 11
    chosen = sorted(rows, key=lambda row: u64(row["query_id"], salt="suggest"))[:11]
    gaps = [s - row["pos_score"] for row in chosen for s in row["scores"]]
    configured = found.outcomes[0]
    assert configured.setting.label == "configured"
    assert configured.hardness == pytest.approx(math.fsum(gaps) / len(gaps))
    assert configured.short == sum(len(row["scores"]) < 4 for row in chosen) / 11
    # positives of all queries, not of the sample
    positives = positive_scores_of(toy)
    below = [sum(p <= s for p in positives) / len(positives) for r in chosen for s in r["scores"]]
    assert configured.proxy == pytest.approx(math.fsum(below) / len(below))


@pytest.mark.parametrize("setting", GRID, ids=lambda s: s.label)
def test_the_pasted_sections_mean_the_setting(setting: Setting, tmp_path: Path) -> None:
    pasted = yaml.safe_load(yaml_lines(Outcome(setting, 1, 0, 1, 0, 0)))
    config = parse_config(MineConfig, {**sections(tmp_path, tmp_path), **pasted})
    assert (config.filters, config.sampler) == (setting.filters, setting.sampler)
    assert pasted["sampler"]["name"] == setting.sampler.name


def test_a_window_stands_in_place_of_a_mix() -> None:
    mix = [{"name": "topk", "n": 2, "source": "dense"}, {"name": "random", "n": 3}]
    sampler = parse_config(SamplerConfig, {"mix": mix, "on_short": ["relax"]})
    for setting in settings(FilterConfig(), sampler):
        assert setting.sampler.total == 5
        assert setting.sampler.on_short == ["relax"]
        alone = setting.family in {"window", "simans"}
        assert bool(setting.sampler.mix) is not alone
        # with a mix its parts alone count, and none of theirs reaches a window
        assert (setting.sampler.source, setting.sampler.cluster) == (None, "any")
        pasted = parse_config(SamplerConfig, setting.sections()["sampler"])
        assert pasted == setting.sampler


def test_a_mix_is_compared_without_its_fall_backs(toy: Path, tmp_path: Path) -> None:
    mix = [{"name": "simans", "n": 3}, {"name": "random", "n": 2}]
    filters = {"margin": 0.1, "positive_score": "max"}
    sampler = {"mix": mix, "on_short": ["relax", "drop_query"]}
    config = config_of(tmp_path, toy, filters=filters, sampler=sampler)
    found = suggest(config, encoder=BagOfWords())
    bare = config_of(tmp_path, toy, filters=filters, sampler={"mix": mix})
    positives = positive_scores_of(toy)
    for outcome in found.outcomes[:8]:
        plain = replace(outcome.setting, sampler=bare.sampler)
        assert numbers(outcome) == pytest.approx(oracle(bare, plain, positives))
    assert found.outcomes[0].short > 0


def test_a_setting_changes_one_thing() -> None:
    filters = FilterConfig(percent=0.7, max_score=0.9, calibrate="zscore", ties="keep")
    sampler = SamplerConfig(name="simans", n=7, tau=0.3)
    grid = settings(filters, sampler)
    assert (grid[0].filters, grid[0].sampler) == (filters, sampler)
    assert [s.filters.margin for s in grid if s.family == "margin"] == list(MARGINS["zscore"])
    for setting in grid:
        kept = setting.filters.model_dump(exclude={"margin", "percent"})
        assert kept == filters.model_dump(exclude={"margin", "percent"})
        assert setting.sampler.n == 7
        # only SimANS has use for it
        assert setting.sampler.tau == (0.05 if setting.family == "window" else 0.3)
        assert setting.family in {"window", "simans"} or setting.sampler == sampler
        assert setting.family != "simans" or setting.filters == filters
        assert setting.filters.margin is None or setting.filters.percent is None
        # what is printed can be pasted
        parse_config(SamplerConfig, setting.sections()["sampler"])
    assert len({s.label for s in grid}) == len(grid)


def shown(found: Suggestion) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(suggestion_table(found))
    return capture.get() + explanation(found)


def test_a_window_below_the_list_draws_nothing_and_says_so(toy: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, toy, retrieve={"depth": 20})
    found = suggest(config, 1.0, encoder=BagOfWords())
    below = next(o for o in found.outcomes if o.setting.label == "window 30-100")
    assert numbers(below)["short"] == 1
    assert (below.filled, below.hardness, below.false_negatives) == (0, None, None)
    assert found.recommended is not below
    assert any("window 30-100" in line and " - " in line for line in shown(found).split("\n"))
    assert write_plot(found).read_bytes().startswith(b"\x89PNG")


def test_no_setting_within_the_limits_prints_the_nearest(toy: Path, tmp_path: Path) -> None:
    found = suggest(config_of(tmp_path, toy), 0.0, encoder=BagOfWords())
    assert found.recommended is None
    assert found.nearest is not None
    text = shown(found)
    assert "no setting is within both limits" in text
    assert f"Nearest: {found.nearest.setting.label}" in text
    assert yaml_lines(found.nearest) in text
    assert write_plot(found).is_file()


def test_no_candidate_at_all_is_said(toy: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, toy, filters={"max_score": -5.0})
    found = suggest(config, encoder=BagOfWords())
    assert (found.recommended, found.nearest) == (None, None)
    assert {o.kept for o in found.outcomes} == {0.0}
    assert "no setting leaves any candidate" in shown(found)
    assert write_plot(found).is_file()


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
def test_a_limit_that_is_no_share_is_refused(toy: Path, tmp_path: Path, limit: float) -> None:
    with pytest.raises(PyriteError, match="--max-false-negatives"):
        suggest(config_of(tmp_path, toy), limit, encoder=BagOfWords())


@pytest.mark.parametrize("sampler", [{"name": "random"}, {"mix": [{"name": "random"}]}])
def test_the_random_sampler_has_nothing_to_suggest(
    toy: Path, tmp_path: Path, sampler: dict[str, Any]
) -> None:
    config = config_of(tmp_path, toy, sampler=sampler)
    with pytest.raises(PyriteError, match=r"sampler\.name=random"):
        suggest(config, encoder=BagOfWords())


def test_the_plot_is_the_same_bytes_twice(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data")
    found = suggest(config_of(tmp_path, data), encoder=BagOfWords())
    assert write_plot(found).read_bytes() == write_plot(found).read_bytes()


def test_the_command_prints_a_table_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = str(write_setup(tmp_path))
    asked = in_process(monkeypatch, capfd, "suggest", config, "--max-false-negatives", "1")
    assert asked.code == 0, asked.err
    assert "settings compared on 15 queries" in asked.out
    assert "recommended: " in asked.out
    pasted = asked.out.partition("the sections to paste:\n")[2].partition("\nwrote ")[0]
    plot = tmp_path / "runs" / "toy" / "suggest.png"
    assert f"wrote {plot}" in asked.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    told = in_process(monkeypatch, capfd, "suggest", config, "--max-false-negatives", "1", "--json")
    found = json.loads(told.out)
    assert found["queries"] == 15
    assert found["recommended"]["config"] == yaml.safe_load(pasted)
    assert [s["setting"] for s in found["settings"]] == [s.label for s in GRID]
    assert found["nearest"] is None


def test_the_command_has_the_library_s_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = str(write_setup(tmp_path))
    told = in_process(monkeypatch, capfd, "suggest", config, "--json")
    assert json.loads(told.out)["max_false_negatives"] == MAX_PROXY
    refused = in_process(monkeypatch, capfd, "suggest", config, "--max-false-negatives", "2")
    assert refused.code == 2
    assert len(refused.errors) == 1
