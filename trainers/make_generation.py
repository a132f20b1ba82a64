"""One generation of negatives: encode, search, sample, judge, publish; whoever asks for it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

from ..core.beir import Dataset
from ..core.embeddings import Embeddings, StoreLayout
from ..core.encoder import Encoder
from ..core.encoders.build import embed_table
from ..core.errors import PyriteError
from ..core.run import Prepared, QuerySet, open_queries
from ..core.sbert import SentenceTransformerEncoder
from ..core.store import Manifest, publish, scratch_folder, write_json
from ..miner.mine import mine
from ..miner.negatives_file import FILE, read_scored
from ..miner.negatives_merge import complete
from .generations import SCHEMA, Generation, Generations
from .refresh_facts import Measured, measure_facts
from .refresh_gate import decide
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
    known = store.of_weights(weights)
    if known is not None:
        logger.info("generation %d: mined already with the weights of step %d", known.number, weights.step)
        _point(store, known)
        return known
    started = time.monotonic()
    check_weights(weights)
    number, last = store.next_number(), store.last_adopted(weights.step)
    own = _with_weights(config, weights, store)
    encoder = SentenceTransformerEncoder(own.encoder)
    prepared = _prepare(own, encoder, number)
    with scratch_folder(store.folder(number)) as scratch:
        mined = mine(own, prepared=prepared, folder=scratch)
        before = (last.folder if last else config.run_folder / "negatives") / FILE
        kept = complete(
            scratch / FILE,
            before if config.refresh.chunk > 1 else None,
            prepared.dataset.queries,
            number,
        )
        measured = _measure(own, encoder, prepared, store, (before, scratch / FILE))
        reasons = decide(config.refresh.gate, measured.facts)
        write_json(scratch / REPORT, {"measured": measured.as_json(), "reasons": reasons})
        Manifest.write(
            scratch,
            schema=SCHEMA,
            kind="generation",
            generation=number,
            step=weights.step,
            weights=weights.key,
            training=weights.training,
            adopted=not reasons,
            reason="; ".join(reasons),
            reasons=list(reasons),
            counts=mined.tally.as_json(),
            kept_queries=kept,
            measured=measured.as_json(),
            mined={name: mined.manifest.data[name] for name in _OF_MINING},
            seconds=time.monotonic() - started,
        )
        publish(scratch, store.folder(number))
    candidates = mined.manifest.data["inputs"]["candidates"]
    store.home.prune_cache({prepared.corpus.key, prepared.queries.embeddings.key, candidates})
    made = store.get(number)
    if made is None:
        raise PyriteError(f"{store.folder(number)}: gone as soon as it was written; refresh anew")
    _point(store, made)
    return made


def _point(store: Generations, made: Generation) -> None:
    if made.adopted:
        store.point_to(made)
    else:
        logger.warning("generation %d is refused: %s", made.number, made.reason)


def _with_weights(config: TrainConfig, weights: Weights, store: Generations) -> TrainConfig:
    """The configuration of a run whose model are these weights, with a cache of its own."""
    encoder = {"model": str(weights.folder), "device": config.refresh.device or config.encoder.device}
    return config.model_copy(
        update={
            "encoder": config.encoder.model_copy(update=encoder),
            "cache_dir": str(store.home.own_cache(config.cache)),
        }
    )


def _prepare(config: TrainConfig, encoder: Encoder, number: int) -> Prepared:
    """Vectors of the corpus and of the queries that this generation mines."""
    dataset, qrels, rows = open_queries(config, config.dataset.train_split, more_qrels=True)
    chunk = config.refresh.chunk
    if rows.size < chunk:
        raise PyriteError(
            f"refresh.chunk={chunk}, but there are {rows.size} training queries; set refresh.chunk"
            f" to at most {rows.size}"
        )
    rows = rows[np.arange(rows.size) % chunk == number % chunk]
    tokens, layout = config.encoder.batch_tokens, StoreLayout(config.encoder.store)
    corpus = corpus_vectors(config, encoder, dataset)
    queries = embed_table(encoder, dataset.queries, "query", config.cache, tokens, rows, layout)
    return Prepared(dataset, qrels, corpus, QuerySet(rows, queries))


def corpus_vectors(config: TrainConfig, encoder: Encoder, dataset: Dataset) -> Embeddings:
    """The corpus by the weights of `encoder`: every document is encoded.

    The vectors of the generation before are in the same cache until this one is published.
    """
    tokens, layout = config.encoder.batch_tokens, StoreLayout(config.encoder.store)
    return embed_table(encoder, dataset.corpus, "document", config.cache, tokens, None, layout)


def _measure(
    config: TrainConfig,
    encoder: Encoder,
    prepared: Prepared,
    store: Generations,
    files: tuple[Path, Path],
) -> Measured:
    tables = (prepared.dataset.queries, prepared.dataset.corpus)
    before, after = (read_scored(path, *tables, config.sampler.total) for path in files)
    adopted = [g.measured("ndcg") for g in store.all() if g.adopted]
    best = max((value for value in adopted if value is not None), default=None)
    gate = config.refresh.gate
    return measure_facts(gate, config, encoder, prepared, before, after, best)
