"""A cross-encoder as a judge: cheap, without reasons, and silent where it is in doubt."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator

from scipy.special import expit

from ....core.cross_encoder import CrossEncoderScorer, PairScorer, score_pairs
from ....core.digest import digest_json
from ....core.encoders.common import approximate_lengths
from ....core.errors import PyriteError
from ..case import Case, Estimate, Judgement, Verdict
from ..price import FREE, Price
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
        settings = {"bias", "temperature", "low", "high"}
        return digest_json(
            {
                "kind": "cross-encoder",
                "model": self._scorer.fingerprint,
                "band": config.model_dump(include=settings),
            }
        )

    @property
    def price(self) -> Price:
        return FREE

    @property
    def concurrency(self) -> int:
        return 1

    def parts(self, case: Case) -> list[Case]:
        return [case]

    def cut_texts(self, case: Case) -> int:
        """0: the tokenizer cuts pairs at `max_length`, which is not looked for before."""
        return 0

    def estimate(self, part: Case) -> Estimate:
        texts = [part.query + doc.full for doc in part.documents]
        return Estimate(1, int(approximate_lengths(texts).sum()), 0)

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        queries = [part.query] * len(part.documents)
        texts = [doc.full for doc in part.documents]
        scores = score_pairs(self._scorer, queries, texts, self._config.batch_tokens)
        verdicts = tuple(self.verdict(float(score)) for score in scores)
        tokens = int(self._scorer.lengths(queries, texts).sum())
        yield Judgement("ok", verdicts, tokens, 0, 1)

    def verdict(self, score: float) -> Verdict:
        """What the log-odds `score` says about a document."""
        config = self._config
        probability = float(expit((score - config.bias) / config.temperature))
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
