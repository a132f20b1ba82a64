"""The verb `train`: base, in-batch negatives, mined negatives; one table."""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import model_validator

from ..core.dataset import open_dataset, text_hashes
from ..core.digest import digest_json
from ..core.errors import PyriteError
from ..core.sbert import SentenceTransformerEncoder, load_model, prompt_for
from ..core.store import Manifest, atomic_write, discard, write_json
from ..eval.evaluate import EvalConfig, Evaluation, evaluate_encoder
from ..eval.significance import Comparison, compare
from ..miner.mine import MineConfig, Mined, mine
from ..miner.negatives_file import FILE, NegativeRows, read_negatives
from .fit import TrainSection, finished, fit
from .training_set import as_dataset, training_set

logger = logging.getLogger(__name__)

SCHEMA = 1
RESULTS, PER_QUERY = "results.json", "per_query.parquet"
BASE, IN_BATCH, MINED = "base", "in_batch", "mined"


class TrainConfig(MineConfig, EvalConfig):
    """Mining, training and evaluation of one run."""

    train: TrainSection = TrainSection()

    @model_validator(mode="after")
    def _enough_are_mined(self) -> TrainConfig:
        if (self.train.negatives or 0) > self.sampler.total:
            raise ValueError(
                f"train.negatives={self.train.negatives}, but only sampler.n={self.sampler.total}"
                " are mined for each query; raise sampler.n or lower train.negatives"
            )
        return self


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training run: its folder, every system's evaluation, and the comparisons."""

    folder: Path
    mined: Mined
    evaluations: dict[str, Evaluation]
    comparisons: list[Comparison]

    def results(self) -> dict[str, Any]:
        """What `results.json` holds."""
        return {
            "systems": {name: e.means() for name, e in self.evaluations.items()},
            "comparisons": [{**asdict(c), "ci95": _json_interval(c)} for c in self.comparisons],
        }


def _json_interval(comparison: Comparison) -> list[float] | None:
    # JSON has no NaN, and one query has no interval
    return None if math.isnan(comparison.ci95[0]) else list(comparison.ci95)


def train(config: TrainConfig) -> Trained:
    """Mine what is not mined yet, fine-tune twice at equal steps, evaluate all three models.

    The two trainings see the same pairs in the same order from the same weights; only the mined
    negatives differ. Writes `models/in_batch`, `models/mined` and `results.json` to the run's
    folder; each finished stage is kept when the run is repeated.
    """
    if config.encoder.kind != "sentence-transformers":
        raise PyriteError(
            f"encoder.kind={config.encoder.kind} cannot be trained; set"
            " encoder.kind=sentence-transformers, or use pyrite mine and pyrite eval with it"
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    encoder = SentenceTransformerEncoder(config.encoder)
    mined = mine(config, encoder)
    evaluations = {BASE: evaluate_encoder(config, encoder)}
    fingerprint = encoder.fingerprint
    del encoder
    for system in (IN_BATCH, MINED):
        model_folder = _train_system(config, system, mined, fingerprint)
        trained = config.encoder.model_copy(update={"model": str(model_folder / "model")})
        evaluations[system] = evaluate_encoder(config, SentenceTransformerEncoder(trained))
    result = Trained(config.run_folder, mined, evaluations, _compare_all(config, evaluations))
    _write_results(config, result)
    return result


def _write_results(config: TrainConfig, result: Trained) -> None:
    folder = result.folder
    discard(folder)
    write_json(folder / RESULTS, result.results())
    first = next(iter(result.evaluations.values()))
    columns: dict[str, Any] = {"query_id": first.query_ids}
    for system, evaluation in result.evaluations.items():
        for measure, values in evaluation.values.items():
            columns[f"{system} {measure}"] = values
    with atomic_write(folder / PER_QUERY) as handle:
        pq.write_table(pa.table(columns), handle)
    Manifest.write(
        folder,
        only=(RESULTS, PER_QUERY),
        schema=SCHEMA,
        kind="results",
        verb="train",
        config=config.model_dump(mode="json"),
        inputs={"negatives": result.mined.manifest.data["key"]},
        seed=config.seed,
        counts={"held_out_queries": len(first.query_ids)},
    )


def _train_system(config: TrainConfig, system: str, mined: Mined, fingerprint: str) -> Path:
    folder = config.run_folder / "models" / system
    key = digest_json(
        {
            "schema": SCHEMA,
            "system": system,
            "model": fingerprint,
            "seed": config.seed,
            "negatives": mined.manifest.data["key"],
            "train": config.train.model_dump(mode="json"),
            "max_length": config.encoder.max_length,
        }
    )
    if finished(folder, key) is not None:
        logger.info("%s: trained already", folder)
        return folder
    rows, texts = _training_data(config, system, mined)
    logger.info(
        "training %s: %d pairs, %d negatives a row, %d of them missing and masked",
        system,
        rows.queries.size,
        rows.negatives.shape[1],
        rows.missing,
    )
    model = load_model(config.encoder)
    prompts = {
        column: prompt_for(model, config.encoder, "query" if column == "query" else "document")
        for column in texts.column_names
        if column != "label"
    }
    fit(
        model,
        rows,
        texts,
        config.train,
        folder,
        key,
        config.seed,
        {column: prompt for column, prompt in prompts.items() if prompt},
    )
    return folder


def _training_data(config: TrainConfig, system: str, mined: Mined) -> Any:
    dataset = open_dataset(config.dataset, config.cache)
    qrels = dataset.qrels(config.dataset.train_split, config.dataset.min_grade)
    n = 0 if system == IN_BATCH else (config.train.negatives or config.sampler.total)
    negatives: NegativeRows = read_negatives(
        mined.folder / FILE, dataset.queries, dataset.corpus, config.sampler.total
    )
    hashes = np.asarray(text_hashes(dataset.corpus, config.cache))
    rows = training_set(qrels, negatives, hashes, n)
    return rows, as_dataset(rows, dataset)


def _compare_all(config: TrainConfig, evaluations: dict[str, Evaluation]) -> list[Comparison]:
    return [
        compare(
            a,
            b,
            measure,
            evaluations[a].values[measure],
            evaluations[b].values[measure],
            config.seed,
        )
        for b, a in itertools.combinations(evaluations, 2)
        for measure in config.eval.measures
    ]
