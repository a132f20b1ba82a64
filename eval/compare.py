"""The verb `compare`: finished evaluations side by side, and what of their differences is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import PyriteError
from .compared import Compared
from .compared_data import ComparedData, Rankings, open_compared, open_rankings
from .finished_runs import Systems, collect
from .incomplete import incomplete
from .measures import F64
from .regressions import Regressions, regressions
from .significance import compare_all
from .slices import Slicing, labels, slicing
from .stability import stability
from .unjudged import Verdicts, read_verdicts, write_unjudged


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What is looked at beside the differences.

    `measure` (None: the first one) is what slices, regressions and stability are about; `against`
    leaves the differences from one system; `slices` are wh, first-word, length or fields of
    queries.jsonl; `worst` queries of each pair are shown; `verdicts` is the folder of a finished
    `pyrite relabel`; the unjudged among the first `depth` results are written to `unjudged`.
    """

    against: str | None = None
    measure: str | None = None
    slices: Sequence[str] = ()
    worst: int = 0
    stability: bool = False
    incomplete: bool = False
    verdicts: Path | None = None
    unjudged: Path | None = None
    depth: int = 10
    seed: int = 0


def compare_runs(runs: Sequence[str], options: CompareOptions | None = None) -> Compared:
    """Compare finished evaluations of the same data: `runs` are `[NAME=]FOLDER[,FOLDER...]`.

    Raises PyriteError for what `collect` refuses, an unknown system, measure or slice, and where an
    option needs a ranking or texts that are not there.
    """
    options = options or CompareOptions()
    opened = _Opened(collect(runs))
    measure = _measure(opened.systems, options)
    if options.against is not None and options.against not in opened.systems.values:
        raise PyriteError(
            f"--against={options.against}: no such system; one of"
            f" {', '.join(opened.systems.values)}"
        )
    verdicts = None
    if options.verdicts is not None:
        verdicts = opened.judge(options.verdicts)
    systems = opened.systems
    comparisons = compare_all(
        {name: _qualities(values) for name, values in systems.values.items()},
        options.seed,
        systems.strata_Q,
        options.against,
    )
    pairs = list(dict.fromkeys((one.a, one.b) for one in comparisons))
    graded = [m for m in next(iter(systems.values.values())) if m.startswith("ndcg@")]
    return Compared(
        systems,
        comparisons,
        [
            *_by_dataset(systems, measure, pairs, options.seed),
            *(_slicing(by, opened, measure, pairs, options.seed) for by in options.slices),
        ],
        [_worst(pair, opened, measure, options.worst) for pair in pairs if options.worst],
        incomplete(opened.rankings("--incomplete"), graded) if options.incomplete else None,
        stability(opened.rankings("--stability"), measure, seed=options.seed)
        if options.stability
        else None,
        verdicts,
        None
        if options.unjudged is None
        else write_unjudged(options.unjudged, opened.rankings("--unjudged"), options.depth),
    )


def _measure(systems: Systems, options: CompareOptions) -> str:
    known = list(next(iter(systems.values.values())))
    if options.measure is not None and options.measure not in known:
        raise PyriteError(
            f"--measure={options.measure}: not in these runs; one of {', '.join(known)}"
        )
    return options.measure or known[0]


@dataclass(slots=True)
class _Opened:
    """The systems, and behind them the data and the rankings, opened once they are needed."""

    systems: Systems
    _data: ComparedData | None = None
    _rankings: Rankings | None = None

    def data(self, feature: str) -> ComparedData:
        if self._data is None:
            self._data = open_compared(self.systems, feature)
        return self._data

    def rankings(self, feature: str) -> Rankings:
        if self._rankings is None:
            self._rankings = open_rankings(self.systems, self.data(feature), feature)
        return self._rankings

    @property
    def ranked(self) -> bool:
        """Whether every system's ranking was kept."""
        groups = (group for groups in self.systems.runs.values() for group in groups)
        return all(one.ranking is not None for group in groups for one in group)

    def judge(self, folder: Path) -> Verdicts:
        """Measure everything again under the judgements with those of `folder`."""
        verdicts = read_verdicts(folder, self.data("--verdicts"))
        rankings = self.rankings("--verdicts").judged_by(verdicts.qrels)
        measures = list(next(iter(self.systems.values.values())))
        self._data, self._rankings = rankings.data, rankings
        self.systems = replace(self.systems, values=rankings.measured(measures))
        return verdicts


def _qualities(values: Mapping[str, F64]) -> dict[str, F64]:
    """Without judged@k: it says what the others are worth, and more of it is not better."""
    return {m: v for m, v in values.items() if not m.startswith("judged@")}


def _by_dataset(
    systems: Systems, measure: str, pairs: Sequence[tuple[str, str]], seed: int
) -> list[Slicing]:
    if systems.strata_Q is None:
        return []
    given = [systems.datasets[at] for at in systems.strata_Q.tolist()]
    return [slicing("dataset", systems, given, measure, pairs, seed)]


def _slicing(
    by: str, opened: _Opened, measure: str, pairs: Sequence[tuple[str, str]], seed: int
) -> Slicing:
    systems = opened.systems
    given = labels(by, opened.data("--slices"), systems.query_ids)
    return slicing(by, systems, given, measure, pairs, seed)


def _worst(pair: tuple[str, str], opened: _Opened, measure: str, count: int) -> Regressions:
    lists = opened.rankings("--worst") if opened.ranked else None
    return regressions(pair, opened.systems, opened.data("--worst"), lists, measure, count)
