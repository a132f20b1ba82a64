"""The documents that early stopping measures in, and how far their order of checkpoints holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.run import prepare
from ..eval.pooled import kendall_tau, pool_of
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.sources import SearchInputs
from .best import measured, measured_in_full
from .run_config import TrainConfig

logger = logging.getLogger(__name__)

KNOB = "train.early_stopping"


def dev_pool(config: TrainConfig, encoder: Encoder, split: str, depth: int) -> I64:
    """Corpus rows of the pool of `split`, int64 [P], ascending: a matter of data and base alone.

    What is judged there, and the first `depth` of each of `train.early_stopping.pool_sources` for
    each query; `encoder` is the untrained one. Vectors and candidates are kept in the cache. Raises
    PyriteError if the pool would be the whole corpus, and what the sources raise.
    """
    prepared = prepare(config, encoder, split)
    size = len(prepared.dataset.corpus)
    if depth >= size:
        raise PyriteError(
            f"{KNOB}.pool_depth={depth}, but the corpus has {size} documents: nothing would be"
            f" spared; lower it or set {KNOB}.pool_depth=null"
        )
    inputs = SearchInputs.of(prepared)
    found = []
    for at, source in enumerate(config.train.early_stopping.pool_sources):
        alone = RetrieveConfig(depth=depth, sources=(source,))
        knob = f"{KNOB}.pool_sources[{at}]"
        # the one source has the number 0 there
        retrieved = retrieve(inputs, alone, config.cache, config.threads, knob)
        found.append(np.asarray(retrieved.candidates.ids))
    pool = pool_of(prepared.qrels, found)
    logger.info("early stopping: measures in a pool of %d of %d documents", pool.size, size)
    return pool


def agreement(
    history: Sequence[dict[str, float]], elsewhere: Mapping[int, float]
) -> dict[str, Any]:
    """Kendall's tau of the checkpoints' order in the pool and in the whole corpus.

    Over the steps that were measured in both: `history` is the trainer's log, `elsewhere` has
    values in the whole corpus by step. The tau is None where it is undefined.
    """
    full = {**elsewhere, **dict(measured_in_full(history))}
    both = [(value, full[step]) for step, value in measured(history) if step in full]
    tau = kendall_tau([pooled for pooled, _ in both], [whole for _, whole in both])
    logger.info(
        "early stopping: Kendall's tau of pool and whole corpus is %s over %d checkpoints",
        "undefined" if tau is None else f"{tau:.3f}",
        len(both),
    )
    return {"checkpoints": len(both), "kendall_tau": tau}
