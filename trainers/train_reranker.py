"""`pyrite train` with `train.kind: cross-encoder`: mine, train a reranker, measure it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.cross_encoder import CrossEncoderScorer, pair_fingerprint
from ..core.dataset import open_dataset
from ..core.digest import digest_json
from ..core.errors import PyriteError
from ..core.run import build_encoder
from ..eval.rerank import rerank
from ..eval.results import Evaluation
from ..eval.search import search_held_out
from ..miner.mine import Mined, mine
from ..miner.negatives_file import FILE, read_negatives
from .fit import finished
from .reranker import KNOB, fit_reranker, judged_pairs, load_start, reranker_dataset

if TYPE_CHECKING:
    from .run_config import TrainConfig

logger = logging.getLogger(__name__)

SCHEMA = 1
RETRIEVER, RERANKED = "retriever", "reranked"


def train_reranker(config: TrainConfig) -> tuple[Mined, dict[str, Evaluation]]:
    """Mine what is not mined yet, train the cross-encoder of `reranker` on it, and evaluate.

    `retriever` is the order of `eval.source`; `reranked` has its first `reranker.depth` in the
    order of the trained model, which is in `models/reranker/model`.
    """
    encoder = build_encoder(config)
    mined = mine(config, encoder)
    found = search_held_out(config, encoder, config.reranker.depth)
    del encoder
    scorer = CrossEncoderScorer(str(_trained(config, mined) / "model"), config.reranker, KNOB)
    section = config.reranker
    ids = rerank(scorer, found.inputs, found.ids, section.depth, section.token_budget)
    rankings = {RETRIEVER: found.ids, RERANKED: ids}
    return mined, {n: found.evaluate(config.eval.measures, i) for n, i in rankings.items()}


def _trained(config: TrainConfig, mined: Mined) -> Path:
    """The folder of the trained reranker, trained if it is not there."""
    section, folder = config.reranker, config.run_folder / "models" / "reranker"
    model = load_start(section, config.seed)
    left_out = {"model", "device", "depth", "batch_tokens"}
    key = digest_json(
        {
            "schema": SCHEMA,
            "system": "reranker",
            "model": pair_fingerprint(model, section),
            "seed": config.seed,
            "negatives": mined.manifest.data["key"],
            "reranker": section.model_dump(mode="json", exclude=left_out),
        }
    )
    if finished(folder, key) is not None:
        logger.info("%s: trained already", folder)
        return folder
    dataset = open_dataset(config.dataset, config.cache)
    qrels = dataset.qrels(config.dataset.train_split, config.dataset.min_grade)
    total = config.sampler.total
    negatives = read_negatives(mined.folder / FILE, dataset.queries, dataset.corpus, total)
    judged = judged_pairs(qrels, negatives, section.negatives or total)
    if not (judged.labels == 0).any():
        raise PyriteError(
            f"{mined.folder / FILE}: holds no negative, and a cross-encoder learns nothing from"
            " positives alone; loosen filters or set sampler.on_short=[random_fill]"
        )
    texts, lists = reranker_dataset(judged, dataset, section.loss)
    logger.info(
        "training reranker: %d positives, %d negatives, %d negatives missing, %d queries without"
        " negatives left out",
        int(judged.labels.sum()),
        int((judged.labels == 0).sum()),
        judged.missing,
        lists,
    )
    fit_reranker(model, texts, section, folder, key, config.seed)
    return folder
