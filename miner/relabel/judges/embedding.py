"""A judge that compares vectors: cheap, and good for telling what nobody needs to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from pydantic import Field, model_validator

from ....core.config import Section
from ....core.digest import digest_json
from ....core.encoder import F32, Encoder, Role, plan_batches
from ....core.sbert import EncoderConfig
from ..case import Case, Estimate, Judgement, Verdict
from ..platt import F64, Platt
from ..price import FREE, Price
from .calibration import NUMBERS_ARE_USED, Scale

_BLOCK = 512
# scores of blocks of cases, in their order
Spread = Callable[[Iterable[Sequence[Case]]], Iterator[list[F64]]]


class EmbeddingConfig(Section):
    """`sigmoid((s - bias) / temperature)`, where s is the document's similarity to the query.

    `relative` takes the lowest similarity of a positive from s, so that a bias of -0.05 passes on
    what scores at most 0.05 below it, if `low` is 0.5.
    """

    encoder: EncoderConfig = EncoderConfig()
    relative: bool = Field(True, description="compare with the row's lowest positive")
    bias: float = Field(-0.1, description="the similarity whose probability is 0.5")
    temperature: float = Field(0.05, gt=0, description="how far from the bias it is 0.73")
    calibration: str | None = Field(
        None, description="a file by pyrite calibrate, in the place of bias and temperature"
    )
    low: float = Field(0.5, ge=0, le=1, description="clean below this probability")
    high: float = Field(1.0, ge=0, le=1, description="relevant from this probability on")

    USED = (NUMBERS_ARE_USED,)

    @model_validator(mode="after")
    def _ordered(self) -> EmbeddingConfig:
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}; lower low or raise high")
        return self


class EmbeddingJudge:
    """Calls documents relevant by `EmbeddingConfig`, and abstains between its thresholds."""

    def __init__(
        self,
        encoder: Encoder,
        config: EmbeddingConfig,
        knob: str = "embedding",
        spread: Spread | None = None,
    ) -> None:
        """Errors name the configuration section `knob`; `spread` compares blocks in our place.

        Raises PyriteError as `Scale.platt`.
        """
        self._encoder = encoder
        self._config = config
        self._spread = spread or self._here
        scale = Scale(config.bias, config.temperature, config.calibration, knob)
        self._platt = scale.platt(self.scores_key)

    @property
    def label(self) -> str:
        return f"embedding {self._config.encoder.model}"

    @property
    def key(self) -> str:
        settings = self._config.model_dump(mode="json", exclude={"encoder", "calibration"})
        fitted = {"bias": self._platt.bias, "temperature": self._platt.temperature}
        return digest_json({"encoder": self._encoder.fingerprint, **settings, **fitted})

    @property
    def scores_key(self) -> str:
        """Digest of all that decides a raw score, except the case."""
        return digest_json([self._encoder.fingerprint, self._config.relative])

    @property
    def platt(self) -> Platt:
        """How similarities become probabilities."""
        return self._platt

    @property
    def price(self) -> Price:
        return FREE

    @property
    def stopped(self) -> str | None:
        return None

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Judgement]]:
        for case, scores in self.raw_scores(cases):
            found = self._platt.probabilities(scores)
            yield case, Judgement("ok", tuple(self._verdict(float(p)) for p in found))

    def raw_scores(self, cases: Iterable[Case]) -> Iterator[tuple[Case, F64]]:
        """Each case with its documents' similarities, float64 [documents], less the base."""
        waiting: deque[list[Case]] = deque()

        def blocks() -> Iterator[list[Case]]:
            left = iter(cases)
            while block := list(islice(left, _BLOCK)):
                waiting.append(block)
                yield block

        for scores in self._spread(blocks()):
            yield from zip(waiting.popleft(), scores, strict=True)

    def _here(self, blocks: Iterable[Sequence[Case]]) -> Iterator[list[F64]]:
        return map(self.scores, blocks)

    def scores(self, block: Sequence[Case]) -> list[F64]:
        """What `raw_scores` yields beside each case of one block."""
        queries = self._vectors([case.query for case in block], "query")
        docs = [doc.full for case in block for doc in (*case.truths, *case.documents)]
        vectors = self._vectors(docs, "document")
        found = []
        start = 0
        for case, query_D in zip(block, queries, strict=True):
            stop = start + len(case.truths) + len(case.documents)
            similarities = vectors[start:stop].astype(np.float64) @ query_D.astype(np.float64)
            start = stop
            truths = len(case.truths)
            relative = self._config.relative and truths
            base = float(similarities[:truths].min()) if relative else 0.0
            found.append(similarities[truths:] - base)
        return found

    def estimate(self, case: Case) -> Estimate:
        return Estimate(0, 0, 0)

    def _verdict(self, probability: float) -> Verdict:
        if probability < self._config.low:
            return Verdict(False, "na", probability)
        return Verdict(True if probability >= self._config.high else None, None, probability)

    def _vectors(self, texts: Sequence[str], role: Role) -> F32:
        """A vector for each text [len(texts), D]; equal texts are encoded once."""
        places = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        distinct = list(places)
        out = np.empty((len(distinct), self._encoder.dimension), dtype=np.float32)
        encode = {
            "query": self._encoder.encode_queries,
            "document": self._encoder.encode_documents,
        }[role]
        lengths = self._encoder.lengths(distinct, role)
        for batch in plan_batches(lengths, self._config.encoder.token_budget):
            out[batch] = encode([distinct[at] for at in batch])
        return out[[places[text] for text in texts]]
