"""The settings that `suggest` compares: one thing changed at a time, the rest as configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core.used import idle_here
from .calibrate import Method
from .filters import FilterConfig
from .mix import Pool
from .samplers import SamplerConfig

# a z-score's unit is a standard deviation of the candidates, so its steps are larger
MARGINS: dict[Method, tuple[float, ...]] = {
    "none": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2),
    "ecdf": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2),
    "zscore": (0.0, 0.25, 0.5, 1.0, 1.5, 2.0),
}
PERCENTS = (0.8, 0.85, 0.9, 0.95, 0.98)
WINDOWS = ((0, 50), (10, 60), (10, 210), (30, 100))
SIMANS_A = (0.5, 1.0, 2.0)
SIMANS_B = (-2.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the comparison; `family` is what it changes."""

    family: str
    label: str
    filters: FilterConfig
    sampler: SamplerConfig

    def sections(self) -> dict[str, Any]:
        """The configuration sections that mean this setting; what is left out is the default."""
        sampler = self.sampler.model_dump(mode="json", exclude_defaults=True)
        return {
            "filters": self.filters.model_dump(mode="json", exclude_defaults=True),
            "sampler": {"name": self.sampler.name, **sampler},
        }


def with_pools(
    grid: Iterable[Setting], pool_of: Callable[[FilterConfig], Pool]
) -> Iterator[tuple[Setting, Pool]]:
    """Each setting with what its filters leave of a block; equal filters are applied once."""
    pools: dict[str, Pool] = {}
    for setting in grid:
        key = setting.filters.model_dump_json()
        if key not in pools:
            pools[key] = pool_of(setting.filters)
        yield setting, pools[key]


def settings(filters: FilterConfig, sampler: SamplerConfig) -> list[Setting]:
    """The configured setting first, then margins, percents, windows and SimANS settings.

    No ceilings with `two_conditions`: it keeps what scores above the positive, so they would keep
    nothing.

    Margins, percents and windows stand in each other's place: a window has no ceiling, and a
    ceiling has the configured sampler. SimANS settings have the configured ceiling. `max_score`,
    `ties`, `positive_score`, `calibrate` and the number of negatives stay as configured everywhere.
    Windows and SimANS settings stand in place of a mix, without its sources and clusters.
    """
    return [
        Setting("configured", "configured", filters, sampler),
        *(() if filters.two_conditions else _ceilings(filters, sampler)),
        *_samplers(filters, sampler),
    ]


def notes_of(filters: FilterConfig, sampler: SamplerConfig) -> tuple[str, ...]:
    """What of a configuration the comparison of settings leaves out, a sentence each."""
    notes = []
    if sampler.max_uses is not None:
        notes.append(
            f"sampler.max_uses={sampler.max_uses} is not applied: it caps the uses of a whole run,"
            " and here queries are looked at one by one"
        )
    if filters.two_conditions:
        notes.append(
            "no ceilings are compared: filters.two_conditions keeps what scores above the positive,"
            " and they keep what scores below"
        )
    return tuple(notes)


def _ceilings(filters: FilterConfig, sampler: SamplerConfig) -> Iterator[Setting]:
    yield Setting("no ceiling", "no ceiling", _ceiling(filters, None, None), sampler)
    for margin in MARGINS[filters.calibrate]:
        yield Setting("margin", f"margin {margin:g}", _ceiling(filters, margin, None), sampler)
    for percent in PERCENTS:
        yield Setting("percent", f"percent {percent:g}", _ceiling(filters, None, percent), sampler)


def _samplers(filters: FilterConfig, sampler: SamplerConfig) -> Iterator[Setting]:
    alone: dict[str, Any] = {"mix": [], "n": sampler.total}
    if sampler.mix:
        alone.update(source=None, cluster="any")
    sampler = sampler.model_copy(update=alone)
    for low, high in WINDOWS:
        changes = {"name": "window", "window_min": low, "window_max": high}
        changed = _read(sampler.model_copy(update=changes))
        open_filters = _ceiling(filters, None, None)
        yield Setting("window", f"window {low}-{high}", open_filters, changed)
    for a in SIMANS_A:
        for b in SIMANS_B:
            changed = _read(sampler.model_copy(update={"name": "simans", "a": a, "b": b}))
            yield Setting("simans", f"simans a={a:g} b={b:g}", filters, changed)


def _read(sampler: SamplerConfig) -> SamplerConfig:
    """Keys that this sampler does not read at their defaults: what is pasted would be refused."""
    fields = SamplerConfig.model_fields
    unset = {idle.key: fields[idle.key].get_default() for idle in idle_here(sampler)}
    return sampler.model_copy(update=unset)


def _ceiling(filters: FilterConfig, margin: float | None, percent: float | None) -> FilterConfig:
    return filters.model_copy(update={"margin": margin, "percent": percent})
