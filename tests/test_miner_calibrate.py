from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fakes import BagOfWords
from hypothesis import given
from hypothesis import strategies as st
from test_miner_choose import world

from pyrite.core.candidates import Reason
from pyrite.core.config import parse_config
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.miner.calibrate import RAW, Method, fit_calibration
from pyrite.miner.choose import reasons_of
from pyrite.miner.filters import U16, FilterConfig, score_reasons
from pyrite.miner.mine import MineConfig, Mined, mine

NONE = np.empty((0, 0), dtype=np.float32)
ODD = (float("nan"), float("inf"), float("-inf"))
FINITE = st.floats(-8, 8, width=32)
SCORES = st.lists(FINITE | st.sampled_from(ODD), max_size=12)
SOME = st.lists(FINITE, min_size=1, max_size=12)
CALIBRATED: tuple[Method, ...] = ("ecdf", "zscore")


def f32(values: list[float]) -> F32:
    return np.array(values, dtype=np.float32)


def test_shares_of_worked_positives() -> None:
    fitted = fit_calibration("ecdf", f32([0.8, 0.4, 0.2, 0.4]), NONE)
    found = fitted.apply(f32([0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 0.9]))
    assert found.tolist() == [0, 0.25, 0.25, 0.75, 0.75, 1, 1]


def test_deviations_of_worked_candidates() -> None:
    # mean 5 and standard deviation 2, over the whole population
    fitted = fit_calibration("zscore", f32([]), f32([2, 4, 4, 4, 5, 5, 7, 9])[None])
    assert (fitted.mean, fitted.std) == (5.0, 2.0)
    assert fitted.apply(f32([5, 9, 4, 0])).tolist() == [0, 2, -0.5, -2.5]


@given(SOME, SCORES, SCORES)
def test_ecdf_equals_a_plain_loop(
    first: list[float], more: list[float], asked: list[float]
) -> None:
    positives = [*first, *more]
    found = fit_calibration("ecdf", f32(positives), NONE).apply(f32(asked))
    finite = [p for p in positives if math.isfinite(p)]
    for score, value in zip(asked, found.tolist(), strict=True):
        if math.isfinite(score):
            assert value == np.float32(sum(p <= score for p in finite) / len(finite))
        else:
            assert value == score or (math.isnan(value) and math.isnan(score))
    assert found.dtype == np.float32


@given(st.lists(FINITE, min_size=2, max_size=12, unique=True), SCORES, SCORES)
def test_zscore_equals_the_statistics_library(
    first: list[float], more: list[float], asked: list[float]
) -> None:
    found = fit_calibration("zscore", f32([]), f32([*first, *more])[None]).apply(f32(asked))
    finite = [v for v in [*first, *more] if math.isfinite(v)]
    mean, std = statistics.fmean(finite), statistics.pstdev(finite)
    for score, value in zip(asked, found.tolist(), strict=True):
        if math.isfinite(score):
            assert value == pytest.approx((score - mean) / std, rel=1e-5, abs=1e-5)
        else:
            assert value == score or (math.isnan(value) and math.isnan(score))


@given(st.lists(FINITE, min_size=2, unique=True), SOME, st.sampled_from(CALIBRATED))
def test_a_higher_score_is_never_calibrated_lower(
    reference: list[float], asked: list[float], method: Method
) -> None:
    fitted = fit_calibration(method, f32(reference), f32(reference)[None])
    assert (np.diff(fitted.apply(f32(sorted(asked)))) >= 0).all()


def test_no_calibration_hands_the_scores_through() -> None:
    scores = f32([0.5, float("nan")])
    assert fit_calibration("none", f32([]), NONE) is RAW
    assert RAW.apply(scores) is scores


def test_a_score_just_below_its_positive_stays_below_it() -> None:
    pos = f32([0.5])
    close = np.nextafter(pos, np.float32(0))
    fitted = fit_calibration("ecdf", f32([0.2, 0.5, 0.9]), NONE)
    config = FilterConfig(margin=0.0, calibrate="ecdf")
    scores = fitted.apply(np.stack([pos, close], axis=1))
    assert score_reasons(scores, fitted.apply(pos), config).tolist() == [[Reason.MARGIN, 0]]


@pytest.mark.parametrize("rows", [1, 5, 6, 7, 100])
def test_zscore_takes_every_mth_query_of_a_large_run(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("pyrite.miner.calibrate.SAMPLE_SCORES", 18)
    scores = (np.arange(rows * 3, dtype=np.float32) ** 2).reshape(rows, 3)
    step = next(m for m in range(1, 101) if rows * 3 <= 18 * m)
    sample = [v for row in scores.tolist()[::step] for v in row]
    fitted = fit_calibration("zscore", f32([]), scores)
    assert fitted.mean == pytest.approx(statistics.fmean(sample))
    assert fitted.std == pytest.approx(statistics.pstdev(sample))


@pytest.mark.parametrize(
    ("method", "scores", "message"),
    [
        ("zscore", [0.1, 0.1, float("-inf")], r"filters\.calibrate=zscore: all 2 .* are 0\.1"),
        ("zscore", [float("nan")], r"filters\.calibrate=zscore: there is no finite candidate"),
        ("zscore", [], r"filters\.calibrate=zscore: there is no finite candidate"),
        ("ecdf", [float("inf")], r"filters\.calibrate=ecdf: there is no finite positive"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    method: Method, scores: list[float], message: str
) -> None:
    with pytest.raises(PyriteError, match=message):
        fit_calibration(method, f32(scores), f32(scores)[None])


def test_an_unknown_calibration_is_refused_by_name() -> None:
    with pytest.raises(PyriteError, match="calibrate"):
        parse_config(FilterConfig, {"calibrate": "rank"})


def test_filters_never_meet_another_scale_than_theirs() -> None:
    w = world(0)
    with pytest.raises(ValueError, match="calibration none for filters of ecdf"):
        reasons_of(w.candidates, w.pos_scores, w.context, FilterConfig(calibrate="ecdf"))


def rejected(reasons: U16) -> float:
    return float((reasons != 0).mean())


def squashed(scores: F32) -> F32:
    return (0.7 + 0.25 * scores.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize(("method", "margin"), [("ecdf", 0.2), ("zscore", 0.75)])
def test_one_setting_fits_two_encoders_where_a_raw_margin_does_not(
    method: Method, margin: float
) -> None:
    generator = np.random.default_rng(0)
    pos = generator.normal(0.55, 0.1, 400).astype(np.float32)
    gaps = np.abs(generator.normal(0.1, 0.05, (400, 50)))
    scores = (pos[:, None] - gaps).astype(np.float32)
    worlds = [(scores, pos), (squashed(scores), squashed(pos))]

    def shares(config: FilterConfig) -> list[float]:
        out = []
        for candidates, positives in worlds:
            fitted = fit_calibration(config.calibrate, positives, candidates)
            scale = (fitted.apply(candidates), fitted.apply(positives))
            out.append(rejected(score_reasons(*scale, config)))
        return out

    raw = shares(FilterConfig(margin=0.05))
    assert abs(raw[0] - raw[1]) > 0.4
    fitted = shares(FilterConfig(margin=margin, calibrate=method))
    assert abs(fitted[0] - fitted[1]) < 0.1
    assert 0.2 < fitted[0] < 0.8, "a rule that rejects nothing or all is no test"


class Narrow(BagOfWords):
    """`BagOfWords` with the cosines packed above 0.5: each is (3 + cosine) / 4."""

    @property
    def fingerprint(self) -> str:
        return "narrow"

    @property
    def dimension(self) -> int:
        return super().dimension + 1

    def _encode(self, texts: Any) -> F32:
        vectors = super()._encode(texts)
        common = np.full((len(vectors), 1), math.sqrt(3))
        return (np.hstack([vectors, common]) / 2).astype(np.float32)


def mined(
    folder: Path, data: Path, encoder: BagOfWords, filters: dict[str, Any], **changes: Any
) -> Mined:
    sections = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder.parent / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 60},
        "filters": {"positive_score": "max", **filters},
    }
    return mine(parse_config(MineConfig, {**sections, **changes}), encoder)


def rejected_of(run: Mined) -> float:
    return 1 - run.tally.kept / run.tally.candidates


@pytest.mark.parametrize(("method", "margin"), [("ecdf", 0.2), ("zscore", 0.5)])
def test_a_mined_run_keeps_its_rejected_share_with_another_encoder(
    toy: Path, tmp_path: Path, method: Method, margin: float
) -> None:
    def difference(filters: dict[str, Any], name: str) -> float:
        wide = mined(tmp_path / f"wide-{name}", toy, BagOfWords(), filters)
        narrow = mined(tmp_path / f"narrow-{name}", toy, Narrow(), filters)
        return abs(rejected_of(wide) - rejected_of(narrow))

    assert difference({"margin": margin, "calibrate": method}, "fitted") < 0.02
    assert difference({"margin": 0.05}, "raw") > 0.1


@pytest.mark.parametrize("method", CALIBRATED)
def test_blocks_change_no_byte_of_a_calibrated_run(
    toy: Path, tmp_path: Path, method: Method
) -> None:
    filters = {"margin": 0.1, "calibrate": method}
    first = mined(tmp_path / "a", toy, BagOfWords(), filters)
    second = mined(tmp_path / "b", toy, BagOfWords(), filters, block_queries=7)
    for file in ("negatives.parquet", "reasons.npy"):
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes()


@pytest.mark.parametrize("method", CALIBRATED)
def test_the_sampler_sees_raw_scores(toy: Path, tmp_path: Path, method: Method) -> None:
    plain = mined(tmp_path / "a", toy, BagOfWords(), {})
    fitted = mined(tmp_path / "b", toy, BagOfWords(), {"calibrate": method})
    assert plain.tally.drawn > 50
    for file in ("negatives.parquet", "reasons.npy"):
        assert (plain.folder / file).read_bytes() == (fitted.folder / file).read_bytes()


def test_another_calibration_is_another_run(toy: Path, tmp_path: Path) -> None:
    def reasons(filters: dict[str, Any]) -> npt.NDArray[np.uint16]:
        run = mined(tmp_path / "a", toy, BagOfWords(), {"margin": 0.1, **filters})
        assert not run.reused
        return np.load(run.folder / "reasons.npy")  # type: ignore[no-any-return]

    found = [reasons({"calibrate": method}) for method in ("none", *CALIBRATED)]
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])
