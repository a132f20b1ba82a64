"""Early stopping: the model in training is measured on a development split, the best is kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import TrainerCallback

from ..core.embeddings import Embeddings
from ..core.run import RunConfig
from ..core.sbert import SentenceTransformerEncoder
from ..eval.in_memory import evaluate_in_memory
from .best import PREFIX, exhausted
from .dev_split import dev_key, open_dev
from .train_config import EarlyStoppingSection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


class DevEvaluator(BaseEvaluator):  # type: ignore[misc]
    """Measures a model on the development split; nothing is written."""

    def __init__(
        self, run: RunConfig, section: EarlyStoppingSection, corpus: Embeddings | None = None
    ) -> None:
        """`corpus` are document vectors that the training does not change; None: it does.

        Raises PyriteError if the split is missing, or shares queries with the training split.
        """
        super().__init__()
        split = section.split or ""
        self._run, self._section, self._corpus = run, section, corpus
        self._dataset, self._qrels, self._rows = open_dev(run, split, "train.early_stopping.split")
        self.primary_metric = f"{PREFIX}{section.measure}"

    @property
    def key(self) -> str:
        """Digest of the judgements that decide which weights are the best."""
        return dev_key(self._qrels, self._rows)

    def __call__(
        self,
        model: SentenceTransformer,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        encoder = SentenceTransformerEncoder(self._run.encoder, model)
        found = evaluate_in_memory(
            encoder,
            self._dataset,
            self._qrels,
            self._rows,
            (self._section.measure,),
            self._run.encoder.batch_tokens,
            self._corpus,
        )
        value = found.means()[self._section.measure]
        logger.info(
            "step %d: %s %.4f on %s", steps, self._section.measure, value, self._section.split
        )
        return {self.primary_metric: value}


class StopEarly(TrainerCallback):  # type: ignore[misc]
    """Ends the training once the patience is spent; a resume finds the same in the log."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if exhausted(state.log_history, self._patience):
            control.should_training_stop = True
