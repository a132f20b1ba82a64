"""The verb `train`: base, in-batch negatives, mined negatives; one table."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ..core.dataset import open_dataset
from ..core.digest import digest_json
from ..core.encoder import Role
from ..core.engine.config import anywhere
from ..core.errors import PyriteError
from ..core.run import RunConfig, check_folders, open_queries
from ..core.sbert import EncoderConfig, SentenceTransformerEncoder, load_model, prompt_for
from ..core.store import Manifest, atomic_write, discard, write_json
from ..eval.evaluate import refuse_several
from ..eval.results import Evaluation, data_digests
from ..eval.search import evaluate_encoder
from ..eval.significance import Comparison, compare_all
from ..indexes.sources import SearchInputs
from ..miner.mine import Mined, mine
from .arguments import check_model, check_training
from .dev_pool import dev_pool
from .dev_split import dev_key, open_dev
from .early_stopping import DevEvaluator
from .feed import Feed
from .fit import finished, fit
from .hub import check_token, push
from .loss_config import OF_LISTS, LossSection
from .made_pool import key_of, made_facts, opened
from .make_feed import make_feed
from .make_generation import check_refresh
from .make_loss import guide_facts, make_loss
from .mixed_feed import MinedSet, MixedFeed, MixedRows, check_sets, make_mixed_feed, mine_sets
from .model_card import write_card
from .processes import (
    by_main,
    check_shared,
    is_main,
    join_processes,
    main_first,
    process_count,
    wait_for_all,
)
from .refresh_callback import RefreshCallback
from .refresh_config import steps_ahead
from .refresh_home import RefreshHome
from .refresh_log import RefreshLog
from .refresh_report import PLOT, plot
from .run_config import TrainConfig
from .train_config import NOT_IN_KEY, TrainSection
from .train_query_side import train_query_side
from .train_reranker import train_reranker
from .training_set import TrainingSet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .feed import Feed
    from .training_set import TrainingSet

logger = logging.getLogger(__name__)

SCHEMA = 1
RESULTS, PER_QUERY = "results.json", "per_query.parquet"
BASE, IN_BATCH, MINED = "base", "in_batch", "mined"


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
            "comparisons": [one.as_json() for one in self.comparisons],
        }


def train(config: TrainConfig) -> Trained:
    """Mine what is not mined yet, fine-tune twice at equal steps, evaluate all three models.

    The two trainings see the same pairs in the same order from the same weights; only the mined
    negatives differ. Writes `models/in_batch`, `models/mined` and `results.json` to the run's
    folder; each finished stage is kept when the run is repeated. With `train.kind: cross-encoder`,
    what `train_reranker` does; with `query-side`, what `train_query_side` does.
    """
    check_folders(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    join_processes(config.encoder.device)
    check_shared({"runs_dir": config.run_folder, "cache_dir": config.cache})
    if not is_main():
        # the others read what the first one has made: one connection to a cluster is enough
        config = anywhere(config)
    _check(config)
    kinds = {"cross-encoder": train_reranker, "query-side": train_query_side}
    mined, evaluations = kinds.get(config.train.kind, _train_encoder)(config)
    comparisons = compare_all({n: e.values for n, e in evaluations.items()}, config.seed)
    result = Trained(config.run_folder, mined, evaluations, comparisons)
    if is_main():
        _write_results(config, result)
        if config.train.kind == "encoder":
            _present(config, result)
    wait_for_all()
    return result


def _check(config: TrainConfig) -> None:
    kind = config.train.kind
    if kind != "encoder" and process_count() > 1:
        raise PyriteError(
            f"train.kind={kind} trains in one process, and there are {process_count()};"
            " start it without torchrun"
        )
    if kind != "cross-encoder" and config.encoder.kind != "sentence-transformers":
        raise PyriteError(
            f"encoder.kind={config.encoder.kind} cannot be trained; set"
            " encoder.kind=sentence-transformers, or use pyrite mine and pyrite eval with it"
        )
    refuse_several(config, "pyrite eval, and pyrite train measures the models that it trains")
    if config.eval.query_model is not None:
        raise PyriteError(
            f"eval.query_model={config.eval.query_model} is for pyrite eval, and pyrite train"
            " measures the models that it trains; remove it"
        )


def _train_encoder(config: TrainConfig) -> tuple[Mined, dict[str, Evaluation]]:
    check_training(config.train, config.encoder.device)
    main_first(lambda: check_sets(config))
    main_first(lambda: _check_made(config))
    if config.train.push_to_hub is not None:
        check_token(config.train.push_to_hub)
    stopping = config.train.early_stopping
    dev = main_first(lambda: DevEvaluator(config, stopping)) if stopping.split else None
    # a split that cannot judge is to be known now, not at the first refresh
    main_first(lambda: _gate_key(config))
    main_first(lambda: check_refresh(config))
    encoder = SentenceTransformerEncoder(config.encoder)
    check_model(encoder.model, config.train)
    mined = main_first(lambda: mine(config, encoder))
    if dev is not None and stopping.split and stopping.pool_depth is not None:
        where = (stopping.split, stopping.pool_depth)
        dev.within(main_first(lambda: dev_pool(config, encoder, *where)))
    evaluations = {BASE: by_main(lambda: evaluate_encoder(config, encoder))}
    sets = main_first(lambda: mine_sets(config, mined, encoder))
    for system in (IN_BATCH, MINED):
        folder = train_system(config, system, mined, encoder.fingerprint, dev, sets)
        evaluations[system] = by_main(partial(_evaluate, config, folder))
    return mined, evaluations


def _check_made(config: TrainConfig) -> None:
    """Raise PyriteError, before anything is mined, for made texts that cannot be used."""
    for run in (config, *config.set_runs()):
        if run.made.path is not None:
            opened(run.made, open_dataset(run.dataset, run.cache))


def _evaluate(config: TrainConfig, folder: Path) -> Evaluation:
    return evaluate_encoder(config, SentenceTransformerEncoder(_trained(config, folder)))


def _trained(config: TrainConfig, folder: Path) -> EncoderConfig:
    return config.encoder.model_copy(update={"model": str(folder / "model")})


def _present(config: TrainConfig, result: Trained) -> None:
    """Write model cards and the refreshes' plot; push the mined model if that is asked for."""
    counts = result.mined.manifest.data["counts"]
    facts = {
        "dataset": config.dataset.path,
        "digest of its texts": result.mined.manifest.data["inputs"]["dataset"],
        "training split": config.dataset.train_split,
        "training queries": f"{counts['queries']:,}",
        "held-out split": config.dataset.eval_split,
        "base model": config.encoder.model,
        "candidates": f"the best {config.retrieve.depth} of each query, from"
        f" {', '.join(source.label for source in config.retrieve.sources)}",
        "sampler": config.sampler.model_dump_json(exclude_defaults=True),
        "filters": config.filters.model_dump_json(exclude_defaults=True),
        "digest of the negatives": result.mined.manifest.data["key"],
        **_shares(config),
        **made_facts(config.made),
    }
    for system in (IN_BATCH, MINED):
        folder = result.folder / "models" / system
        model = load_model(_trained(config, folder))
        used = {**facts, "negatives": "of the same batch" + (", and mined" * (system == MINED))}
        write_card(model, folder / "model", config, used, result.evaluations)
    if config.refresh.mode != "off":
        log = RefreshHome.of(config.run_folder).folder
        plot(RefreshLog(log), log / PLOT)
    if config.train.push_to_hub is not None:
        push(result.folder / "models" / MINED / "model", config.train.push_to_hub)


def _shares(config: TrainConfig) -> dict[str, str]:
    """What the model card says of `train.datasets`."""
    entries, total = config.train.datasets, sum(e.weight for e in config.train.datasets)
    return {
        f"training dataset {at}": f"{entry.weight / total:.1%} of the batches:"
        f" {run.dataset.path}, split {run.dataset.train_split}"
        for at, (entry, run) in enumerate(zip(entries, config.set_runs(), strict=True))
    }


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
        config=anywhere(config).model_dump(mode="json"),
        inputs={"negatives": result.mined.manifest.data["key"], "data": _held_out(config)},
        seed=config.seed,
        counts={"held_out_queries": len(first.query_ids)},
    )


def _held_out(config: TrainConfig) -> dict[str, str]:
    """What was asked and judged: `pyrite compare` refuses runs that differ in it."""
    dataset, qrels, rows = open_queries(config, config.dataset.eval_split)
    return data_digests(SearchInputs(dataset.queries, dataset.corpus, rows, None, None), qrels)


def train_system(
    config: TrainConfig,
    system: str,
    mined: Mined,
    fingerprint: str,
    dev: DevEvaluator | None = None,
    sets: Sequence[MinedSet] = (),
) -> Path:
    """Train `in_batch` or `mined` if that is not done; the folder that holds `model`.

    `fingerprint` is the untrained encoder's; `sets` are what `train.datasets` lists. A killed
    training goes on at its last checkpoint.
    """
    folder = config.run_folder / "models" / system
    guide = by_main(lambda: guide_facts(config, config.train, fingerprint))
    given = {
        "schema": SCHEMA,
        "system": system,
        "model": fingerprint,
        "seed": config.seed,
        "negatives": mined.manifest.data["key"],
        "datasets": [one.key for one in sets],
        "guide": guide["fingerprint"] if guide else None,
        "train": config.train.model_dump(mode="json", exclude=NOT_IN_KEY),
        "dev": dev.key if dev else None,
        "max_length": config.encoder.max_length,
    }
    made = {"made": key_of(config.made)} if system == MINED and config.made.path else {}
    key = digest_json({**given, **made, **_refresh_key(config, system)})
    if finished(folder, key) is not None:
        logger.info("%s: trained already", folder)
        return folder
    n = 0 if system == IN_BATCH else (config.train.negatives or config.sampler.total)
    model = load_model(config.encoder)
    prompts = partial(_prompts, model)

    def make() -> tuple[TrainingSet | MixedRows, Feed | MixedFeed]:
        if sets:
            return make_mixed_feed(config, sets, n, system, prompts)
        return make_feed(config, config.train, mined, system, n, config.made)

    rows, feed = main_first(make)
    of_sets = [[one.run for one in sets]] if sets else []
    clusters = config.filters.clusters
    section = config.train if n else _in_batch(config.train)
    with _refreshing(config, system, key, feed, rows) as refresh:
        fit(
            model,
            main_first(lambda: make_loss(config, section, clusters, model, rows, *of_sets)),
            feed,
            config.train,
            folder,
            key,
            config.seed,
            prompts(config, feed.columns),
            dev=dev,
            facts={"guide": guide} if guide else None,
            refresh=refresh,
        )
    return folder


def _refreshing(
    config: TrainConfig, system: str, key: str, feed: object, rows: object
) -> contextlib.AbstractContextManager[RefreshCallback | None]:
    """What refreshes the negatives of a training that has any, as long as it is entered."""
    if system != MINED or config.refresh.mode == "off":
        return contextlib.nullcontext()
    # `refresh` excludes a feed of several datasets
    if not isinstance(feed, Feed) or not isinstance(rows, TrainingSet):
        raise TypeError(f"no refresh of {type(feed).__name__}")
    return RefreshCallback(config, key, feed, rows)


def _refresh_key(config: TrainConfig, system: str) -> dict[str, object]:
    """What refreshing adds to a training's key: nothing where it is off."""
    if system != MINED or config.refresh.mode == "off":
        return {}
    # the number of workers decides the step at which new negatives are in force
    ahead, judged = steps_ahead(config.train.num_workers), _gate_key(config)
    return {"refresh": [config.refresh.decisive, ahead, judged]}


def _gate_key(config: TrainConfig) -> str | None:
    """Digest of the judgements that decide which generations are adopted, if any do."""
    split = config.refresh.gate.split
    if split is None:
        return None
    _, qrels, rows = open_dev(config, split, "refresh.gate.split")
    return dev_key(qrels, rows)


def _prompts(model: SentenceTransformer, run: RunConfig, columns: list[str]) -> dict[str, str]:
    """What goes before the texts of each column, where anything does."""
    roles: dict[str, Role] = {c: "query" if c == "query" else "document" for c in columns}
    found = {column: prompt_for(model, run.encoder, role) for column, role in roles.items()}
    return {column: prompt for column, prompt in found.items() if prompt}


def _in_batch(section: TrainSection) -> TrainSection:
    """The same without mined negatives: a loss over a row's own list would have nothing to do."""
    if section.loss.name not in OF_LISTS:
        return section
    plain = LossSection(temperature=section.loss.temperature, similarity=section.loss.similarity)
    logger.info("training in_batch: by info_nce, since %s needs negatives", section.loss.name)
    return section.model_copy(update={"loss": plain})
