"""One generation of negatives: encode, search, sample, judge, publish; whoever asks for it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.run import Prepared, open_queries, session_of
from ..core.sbert import SentenceTransformerEncoder, check_device
from ..core.store import Manifest, publish, scratch_folder, write_json
from ..miner.carried_clusters import Carried, carry, state_in
from ..miner.mine import mine
from ..miner.negatives_file import FILE, read_scored
from ..miner.negatives_merge import complete
from .generations import SCHEMA, Generation, Generations
from .refresh_facts import Measured, measure_facts
from .refresh_gate import decide
from .refresh_vectors import prepare_generation
from .run_config import TrainConfig
from .weights import Weights, check_weights

logger = logging.getLogger(__name__)

REPORT = "report.json"
# what a generation keeps of the manifest that mining writes
_OF_MINING = ("key", "inputs", "recall", "denoise")


def make_generation(config: TrainConfig, weights: Weights, store: Generations) -> Generation:
    """Mine with `weights` what `config` says, and publish it: adopted, or refused with the reason.

    What was mined with these very weights is not mined again. The noise of the sampler is that of
    generation 0, so the same weights give the same negatives, and two generations differ by what
    the weights have learned alone. Raises PyriteError as `mine`, or if the weights are not whole.
    """
    last = store.last_adopted(weights.step)
    made = store.of_weights(weights)
    if made is not None:
        logger.info(
            "generation %d: mined already with the weights of step %d", made.number, weights.step
        )
    else:
        check_weights(weights)
        number = _publish(config, weights, store, last)
        made = store.get(number)
    if made is None:
        raise PyriteError(f"{store.folder(number)}: gone as soon as it was written; refresh anew")
    _prune(store, made, last)
    _point(store, made)
    return made


def _prune(store: Generations, made: Generation, last: Generation | None) -> None:
    """Remove vectors that neither this generation nor the next can ask for.

    One of later weights is there if a killed training repeats its steps: it keeps its own.
    """
    if store.all()[-1].number != made.number:
        return
    used = made if made.adopted or last is None else last
    candidates = made.manifest.data["mined"]["inputs"]["candidates"]
    queries = made.manifest.data["query_vectors"]
    store.home.prune_cache(
        {candidates, queries, *(g.manifest.data["vectors"] for g in (made, used))}
    )


def _publish(
    config: TrainConfig, weights: Weights, store: Generations, last: Generation | None
) -> int:
    """Make the next generation after `last`; its number."""
    started, number = time.monotonic(), store.next_number()
    own = _with_weights(config, weights, store)
    encoder = _encoder(own)
    prepared, partial = prepare_generation(config, own, encoder, number, last)
    home = last.folder if last else config.run_folder / "negatives"
    before, carried = home / FILE, _carried(own, prepared, home)
    with scratch_folder(store.folder(number)) as scratch:
        mined = mine(own, prepared=prepared, folder=scratch, carried=carried)
        files = (before, scratch / FILE)
        measured = _measure(own, encoder, prepared, store, weights.step, files, carried)
        old = before if config.refresh.chunk > 1 else None
        kept = complete(scratch / FILE, old, prepared.dataset.queries, number)
        reasons = list(decide(config.refresh.gate, measured.facts))
        found = {"measured": measured.as_json(), "partial": partial, "reasons": reasons}
        write_json(scratch / REPORT, found)
        facts: dict[str, Any] = {
            **found,
            "generation": number,
            "step": weights.step,
            "weights": weights.key,
            "training": weights.training,
            "adopted": not reasons,
            "reason": "; ".join(reasons),
            "counts": mined.tally.as_json(),
            "kept_queries": kept,
            "vectors": prepared.corpus.key,
            "query_vectors": prepared.queries.embeddings.key,
            "clusters": carried.as_json() if carried else None,
            "mined": {name: mined.manifest.data[name] for name in _OF_MINING},
            "seconds": time.monotonic() - started,
        }
        Manifest.write(scratch, schema=SCHEMA, kind="generation", **facts)
        publish(scratch, store.folder(number))
    return number


def check_refresh(config: TrainConfig) -> None:
    """Raise PyriteError, before any work, for what would stop the first generation only."""
    refresh = config.refresh
    if refresh.mode == "off":
        return
    # an actor's node may have what this one has not
    if refresh.device is not None and refresh.refresher != "ray":
        check_device(refresh.device, "refresh.device")
    _, _, rows = open_queries(config, config.dataset.train_split)
    if rows.size < refresh.chunk:
        raise PyriteError(
            f"refresh.chunk={refresh.chunk}, but there are {rows.size} training queries; set"
            f" refresh.chunk to at most {rows.size}"
        )


def _point(store: Generations, made: Generation) -> None:
    if made.adopted:
        store.point_to(made)
    else:
        logger.warning("generation %d is refused: %s", made.number, made.reason)


def _with_weights(config: TrainConfig, weights: Weights, store: Generations) -> TrainConfig:
    """The configuration of a run whose model are these weights, with a cache of its own."""
    encoder = {
        "model": str(weights.folder),
        "device": config.refresh.device or config.encoder.device,
        "dtype": config.refresh.dtype or config.encoder.dtype,
    }
    return config.model_copy(
        update={
            "encoder": config.encoder.model_copy(update=encoder),
            "cache_dir": str(store.home.own_cache(config.cache)),
        }
    )


def _encoder(config: TrainConfig) -> Encoder:
    """The encoder of published weights: on the workers of Ray, where they see the weights."""
    if config.engine == "ray":
        from ..core.engine.encoding import ray_encoder

        session = session_of(config)
        if session.sees_files:
            return ray_encoder(config.encoder, config.cache, session)
        session.plan("refresh: encode on the driver, as no other node sees the weights")
    return SentenceTransformerEncoder(config.encoder)


def _carried(config: TrainConfig, prepared: Prepared, home: Path) -> Carried | None:
    """The clusters that come after those of `home`; None: none are asked for, or k-means anew."""
    state = state_in(home) if config.needs_clusters else None
    if state is None:
        return None
    corpus = prepared.dataset.corpus
    rank, hashes = corpus.ids.rank_N, corpus.id_hashes()
    return carry(state, prepared.corpus, rank, hashes, config.refresh.cluster_rate, config.seed)


def _measure(
    config: TrainConfig,
    encoder: Encoder,
    prepared: Prepared,
    store: Generations,
    step: int,
    files: tuple[Path, Path],
    carried: Carried | None,
) -> Measured:
    """What the gate asks, of the queries that were mined now."""
    tables = (prepared.dataset.queries, prepared.dataset.corpus)
    before, after = (read_scored(path, *tables, config.sampler.total) for path in files)
    adopted = [g.measured("ndcg") for g in store.all() if g.adopted and g.step < step]
    best = max((value for value in adopted if value is not None), default=None)
    gate = config.refresh.gate
    clusters = carried.clusters if carried else None
    return measure_facts(gate, config, encoder, prepared, before, after, best, clusters)
