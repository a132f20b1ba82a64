"""The verb `calibrate`: scores of an embedding or cross-encoder judge as probabilities.

Writes `<runs_dir>/<name>/calibration/stage-<number>.json`: the fitted numbers, how good they are on
queries that they were not fitted on, and what they were fitted on. The same labels and scores give
the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.digest import digest_file, digest_json
from ...core.errors import PyriteError
from ...core.run import check_folders
from ...core.store import write_json
from ..training_file import TrainingFile, open_training_file
from .build import built, opened_stores
from .config import RelabelConfig
from .human_labels import read_human
from .judges.calibration import KIND, SCHEMA, ScoringJudge
from .judges.cross import CrossAnswerer
from .judges.embedding import EmbeddingJudge
from .paid_store import STORE
from .pair_labels import (
    LabelledCase,
    Source,
    by_people,
    by_verdicts,
    hidden_positives,
    labelled_by,
    sampled,
    source_of,
)
from .people import read_people
from .platt import (
    FOLDS,
    Labelled,
    Platt,
    Quality,
    fit_platt,
    out_of_fold,
    quality,
    separable,
    six_digits,
)

logger = logging.getLogger(__name__)

FOLDER = "calibration"
MIN_PAIRS = 30
_KEYS = {"embedding": "embedding", "cross-encoder": "cross_encoder"}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A fit, as the file says it: `before` is the configured scale, `after` the fit held out."""

    path: Path
    knob: str
    platt: Platt
    before: Quality
    after: Quality
    data: dict[str, Any]

    @property
    def line(self) -> str:
        """What the configuration has to say to use the file."""
        return f"{self.knob}.calibration: {self.path}"


def calibrate(
    config: RelabelConfig,
    labels: str = "stored",
    stage: int | None = None,
    sample: int = 2000,
    judge: ScoringJudge | None = None,
) -> Calibrated:
    """Fit bias and temperature of a stage's judge to labelled pairs of `config.data`.

    `labels` are `human`, of `config.human` and the people in the store; `stored`, what the last
    stage's judge has said so far; `positives`, one hidden positive of each row with several beside
    its negatives, both kinds with the same weight. At most `sample` rows are scored. `stage` counts
    from 0, by default the one that there is; `judge` stands in its place. Raises PyriteError with
    fewer than 30 pairs of a kind, or as `fit_platt` and `out_of_fold`.
    """
    check_folders(config)
    if config.engine != "local":
        logger.info("engine=%s: calibrate works in this process alone", config.engine)
    number, source = _stage(config, stage), source_of(labels)
    sources = config.data.sources(config.cache)
    file = open_training_file(Path(config.data.path), sources, config.data.format)
    with _labelled(config, file, source, number) as (cases, origin):
        labelled, chosen = sampled(cases, sample, config.seed)
    _check(chosen, source, config)
    knob = f"stages[{number}].{_KEYS[config.stages[number].judge]}"
    scorer = _scorer(config, number, knob) if judge is None else judge
    data = _scored(scorer, chosen, even=source == "positives")
    fitted = fit_platt(data)
    before = quality(scorer.platt.probabilities(data.scores), data)
    after = quality(out_of_fold(data, config.seed), data)
    facts = {
        "schema": SCHEMA,
        "kind": KIND,
        **asdict(fitted),
        "judge": scorer.label,
        "scores": scorer.scores_key,
        "labels": {"source": source, **origin},
        "data": digest_file(file.path),
        "seed": config.seed,
        "rows_with_labels": labelled,
        "rows": len(chosen),
        **_counts(data),
        "classes_weigh_the_same": source == "positives",
        "configured": asdict(scorer.platt),
        "before": _as_json(before),
        "after": _as_json(after),
    }
    path = config.run_folder / FOLDER / f"stage-{number}.json"
    write_json(path, facts)
    return Calibrated(path, knob, fitted, before, after, facts)


def _counts(data: Labelled) -> dict[str, Any]:
    return {
        "relevant": int(data.labels.sum()),
        "others": int((~data.labels).sum()),
        "queries": len(set(data.groups)),
        "folds": FOLDS,
        "separable": separable(data),
        "lowest_score": six_digits(float(data.scores.min())),
        "highest_score": six_digits(float(data.scores.max())),
    }


def _stage(config: RelabelConfig, wanted: int | None) -> int:
    """The number of the stage to fit."""
    fitting = [at for at, stage in enumerate(config.stages) if stage.judge in _KEYS]
    kinds = " or ".join(f"judge={kind}" for kind in _KEYS)
    if wanted is None and len(fitting) != 1:
        raise PyriteError(
            f"{len(fitting)} of the {len(config.stages)} stages have {kinds}; set --stage to the"
            " number of one, from 0"
        )
    number = fitting[0] if wanted is None else wanted
    if number not in fitting:
        raise PyriteError(
            f"--stage {number}: no stage with {kinds}, whose scores can be fitted; such stages are"
            f" {fitting or 'none'}"
        )
    return number


@contextmanager
def _labelled(
    config: RelabelConfig, file: TrainingFile, source: Source, number: int
) -> Iterator[tuple[Iterator[LabelledCase], dict[str, Any]]]:
    """All labelled cases of the file, and where the labels come from."""
    if source == "positives":
        yield hidden_positives(file.rows(), config.seed), {}
        return
    if source == "human":
        path = None if config.human is None else Path(config.human)
        by_id = {} if path is None else read_human(path)
        people = read_people(config.cache / STORE)
        said = sorted((pair, verdict.relevant) for pair, verdict in people.items())
        origin = {
            "file": digest_file(path) if path else None,
            "people": digest_json(said),
            "given": len(by_id) + len(people),
        }
        yield labelled_by(file.rows(), by_people(by_id, people, config.counted)), origin
        return
    last = len(config.stages) - 1
    if number == last or config.stages[last].judge not in ("chat", "local", "cross-encoder"):
        raise PyriteError(
            f"--labels stored takes what the judge of the last stage has said, and stages[{last}]"
            f" (judge={config.stages[last].judge}) is"
            f" {'the one to fit' if number == last else 'one whose verdicts are not kept'}; put a"
            " chat or local judge last, or name other --labels"
        )
    # its stored word is asked for, not a model
    trusted = config.model_copy(update={"stages": config.stages[last:], "engine": "local"})
    with (
        built(trusted, None) as (stages, _),
        opened_stores(config.cache, config.run_folder, False) as (_, store),
    ):
        judge = stages[0].judge
        label = by_verdicts(lambda case: store.get(judge.key, case), config.counted)
        yield labelled_by(file.rows(), label), {"judge": judge.label, "key": judge.key}


_MORE: dict[Source, str] = {
    "human": "label more pairs in the file of human, or with pyrite review",
    "stored": "let the last stage judge some: pyrite audit FILE --judge CONFIG --sample 1000",
    "positives": "take a file with more rows of several positives, or other --labels",
}


def _check(chosen: list[LabelledCase], source: Source, config: RelabelConfig) -> None:
    relevant = sum(sum(found.labels) for found in chosen)
    others = sum(len(found.labels) for found in chosen) - relevant
    if min(relevant, others) < MIN_PAIRS:
        raise PyriteError(
            f"{config.data.path}: {relevant} relevant and {others} other pairs have labels"
            f" ({source}), too few to fit on: at least {MIN_PAIRS} of each are needed;"
            f" {_MORE[source]}"
        )


def _scorer(config: RelabelConfig, number: int, knob: str) -> ScoringJudge:
    from ...core.encoders.build import build_encoder

    section = config.stages[number]
    # an earlier fit, perhaps of other weights, is what is to be made anew
    anew: dict[str, Any] = {"calibration": None}
    if section.judge == "embedding":
        encoder = build_encoder(section.embedding.encoder, config.cache)
        return EmbeddingJudge(encoder, section.embedding.model_copy(update=anew), knob)
    return CrossAnswerer(section.cross_encoder.model_copy(update=anew), knob)


def _scored(scorer: ScoringJudge, chosen: list[LabelledCase], even: bool) -> Labelled:
    """Scores beside labels; `even` gives both kinds the same weight in all."""
    scores = [found for _, found in scorer.raw_scores(one.case for one in chosen)]
    labels = np.array([label for one in chosen for label in one.labels], dtype=np.bool_)
    weights = np.ones(labels.size)
    if even:
        weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum()) * labels.size
    groups = [one.case.query for one in chosen for _ in one.labels]
    return Labelled(np.concatenate(scores).astype(np.float64), labels, weights, groups)


def _as_json(found: Quality) -> dict[str, Any]:
    bins = [None if one is None else _rounded(asdict(one)) for one in found.bins]
    return {**_rounded({"brier": found.brier, "ece": found.ece}), "bins": bins}


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {k: v if isinstance(v, int) else six_digits(v) for k, v in numbers.items()}
