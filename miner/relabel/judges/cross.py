"""A cross-encoder as a judge: cheap, without reasons, and silent where it is in doubt."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator

import numpy as np

from ....core.cross_encoder import CrossEncoderScorer, PairScorer, score_pairs
from ....core.digest import digest_json
from ....core.encoders.common import approximate_lengths
from ....core.errors import PyriteError
from ..case import Case, Estimate, Judgement, Verdict
from ..platt import F64, Platt
from ..price import FREE, Price
from .calibration import Scale
from .config import CrossConfig


class CrossAnswerer:
    """An `Answerer` by calibrated probability, sigmoid((s - bias) / temperature) of log-odds s.

    From `high` on a document is relevant, below `low` it is not; between them the verdict says
    neither and has the probability. The truths are not read, so nothing is "better": a relevant
    document has `vs_truth` None, another "na".
    """

    def __init__(self, config: CrossConfig, knob: str, scorer: PairScorer | None = None) -> None:
        """Loads the model at first use; errors name the configuration section `knob`.

        Raises PyriteError without a model.
        """
        if config.model is None and scorer is None:
            raise PyriteError(f"the cross-encoder judge {knob} needs {knob}.model")
        self._config = config
        self._knob = knob
        self._given = scorer

    @property
    def label(self) -> str:
        return f"cross-encoder {self._config.model}"

    @functools.cached_property
    def key(self) -> str:
        config = self._config
        band = {"bias": self.platt.bias, "temperature": self.platt.temperature}
        return digest_json(
            {
                "kind": "cross-encoder",
                "model": self._scorer.fingerprint,
                "band": {**band, "low": config.low, "high": config.high},
            }
        )

    @property
    def scores_key(self) -> str:
        """Digest of all that decides a raw score, except the pair."""
        return self._scorer.fingerprint

    @functools.cached_property
    def platt(self) -> Platt:
        """How log-odds become probabilities. Raises PyriteError as `Scale.platt`."""
        config = self._config
        scale = Scale(config.bias, config.temperature, config.calibration, self._knob)
        return scale.platt(self.scores_key)

    def raw_scores(self, cases: Iterable[Case]) -> Iterator[tuple[Case, F64]]:
        """Each case with the log-odds of its documents, float64 [documents]."""
        for case in cases:
            scores = score_pairs(self._scorer, *_pairs(case), self._config.token_budget)
            yield case, scores.astype(np.float64)

    @property
    def price(self) -> Price:
        return FREE

    @property
    def concurrency(self) -> int:
        return 1

    def parts(self, case: Case) -> list[Case]:
        return [case]

    def cut_texts(self, case: Case) -> int:
        """How many documents are cut beside this query, at `max_length` tokens of the two."""
        return self._scorer.cut_pairs(*_pairs(case))

    def estimate(self, part: Case) -> Estimate:
        texts = [part.query + doc.full for doc in part.documents]
        return Estimate(1, int(approximate_lengths(texts).sum()), 0)

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        queries, texts = _pairs(part)
        ((_, scores),) = self.raw_scores([part])
        verdicts = tuple(self.verdict(float(score)) for score in scores)
        tokens = int(self._scorer.lengths(queries, texts).sum())
        yield Judgement("ok", verdicts, tokens, 0, 1)

    def verdict(self, score: float) -> Verdict:
        """What the log-odds `score` says about a document."""
        config = self._config
        probability = float(self.platt.probabilities(np.array(score)))
        why = f"probability {probability:.3f}"
        if probability >= config.high:
            return Verdict(True, None, probability, why)
        if probability < config.low:
            return Verdict(False, "na", probability, why)
        return Verdict(None, None, probability, why)

    @functools.cached_property
    def _scorer(self) -> PairScorer:
        if self._given is not None:
            return self._given
        return CrossEncoderScorer(str(self._config.model), self._config, self._knob)


def _pairs(case: Case) -> tuple[list[str], list[str]]:
    """The query beside each document of the case."""
    return [case.query] * len(case.documents), [doc.full for doc in case.documents]
