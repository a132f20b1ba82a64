"""Early stopping: the model in training is measured on a development split, the best is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import TrainerCallback

from ..core.digest import digest_array, digest_json
from ..core.embeddings import Embeddings
from ..core.encoder import Encoder
from ..core.ids import I64
from ..core.sbert import SentenceTransformerEncoder
from ..eval.config import EvalConfig
from ..eval.in_memory import evaluate_in_memory
from .best import FULL_PREFIX, PREFIX, exhausted
from .dev_pool import agreement
from .dev_split import dev_key, open_dev
from .train_config import EarlyStoppingSection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


class DevEvaluator(BaseEvaluator):  # type: ignore[misc]
    """Measures a model on the development split; nothing is written."""

    def __init__(
        self, run: EvalConfig, section: EarlyStoppingSection, corpus: Embeddings | None = None
    ) -> None:
        """`corpus` are document vectors that the training does not change; None: it does.

        Raises PyriteError if the split is missing, or shares queries with the training split.
        """
        super().__init__()
        split = section.split or ""
        self._run, self._section, self._corpus = run, section, corpus
        self._dataset, self._qrels, self._rows = open_dev(run, split, "train.early_stopping.split")
        self._pool: I64 | None = None
        self.primary_metric = f"{PREFIX}{section.measure}"

    @property
    def key(self) -> str:
        """Digest of the judgements, and the documents, that decide which weights are the best."""
        judged = dev_key(self._qrels, self._rows)
        if self._run.drops_identical:
            judged = digest_json([judged, "without identical ids"])
        return judged if self._pool is None else digest_json([judged, digest_array(self._pool)])

    def within(self, pool: I64) -> None:
        """Measure in the corpus rows `pool` int64 [P] from now on, which ascend."""
        self._pool = pool

    def facts(
        self, history: Sequence[dict[str, float]], elsewhere: Mapping[int, float]
    ) -> dict[str, Any]:
        """What the model's manifest says of the pool, if there is one; see `agreement`."""
        if self._pool is None:
            return {}
        size = {"documents": int(self._pool.size), "corpus": len(self._dataset.corpus)}
        return {"pool": {**size, **agreement(history, elsewhere)}}

    def __call__(
        self,
        model: SentenceTransformer,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        encoder = SentenceTransformerEncoder(self._run.encoder, model)
        measure, where = self._section.measure, self._section.split
        value = self._measured(encoder, self._pool)
        logger.info("step %d: %s %.4f on %s", steps, measure, value, where)
        found = {self.primary_metric: value}
        if self._full_is_due(steps):
            found[f"{FULL_PREFIX}{measure}"] = full = self._measured(encoder, None)
            logger.info("step %d: %s %.4f on %s in the whole corpus", steps, measure, full, where)
        return found

    def _full_is_due(self, steps: int) -> bool:
        every = self._section.full_every
        # by the step, so that a resumed training measures the same
        return every is not None and steps // self._section.every % every == 0

    def _measured(self, encoder: Encoder, pool: I64 | None) -> float:
        found = evaluate_in_memory(
            encoder,
            self._dataset,
            self._qrels,
            self._rows,
            (self._section.measure,),
            self._run.encoder.token_budget,
            self._corpus,
            pool,
            self._run.drops_identical,
        )
        return found.means()[self._section.measure]


class StopEarly(TrainerCallback):  # type: ignore[misc]
    """Ends the training once the patience is spent; a resume finds the same in the log."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if exhausted(state.log_history, self._patience):
            control.should_training_stop = True
