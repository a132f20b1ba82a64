"""Our encoders and retrievers as models of mteb: encoded into the cache, searched by block.

Importing this file needs the package `mteb`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.digest import digest_json, digest_texts
from ..core.embeddings import Embeddings, StoreLayout
from ..core.encoder import F32, Encoder, Role, plan_batches
from ..core.encoders.build import embed_table
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.store import Manifest
from ..core.tables import TextTable, write_texts
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.sources import SearchInputs
from ..indexes.topk import exact_scores, order_rows
from .as_run import Run, strict_scores
from .config import EvalConfig
from .identical_ids import without_identical
from .local_task import model_meta

_BLOCK = 1024


class TaskSearch:
    """The configured retriever on mteb's retrieval tasks.

    `drops` says of which tasks results with the query's own id are taken out; one more is searched
    for there. Memory: as for `pyrite eval`, and one query block of results as Python objects times
    what mteb keeps of all of them.
    """

    def __init__(
        self,
        config: EvalConfig,
        label: str,
        encoder: Encoder | None,
        asking: Encoder | None = None,
        drops: Mapping[str, bool] | None = None,
    ) -> None:
        self.config = config
        self.encoder = encoder
        self.asking = asking or encoder
        self.drops = drops or {}
        by = [e.fingerprint if e else None for e in (encoder, self.asking)]
        revision = digest_json([by, config.eval.source.model_dump(mode="json")])[:16]
        width = None if encoder is None else encoder.dimension
        length = None if encoder is None else config.encoder.max_length
        self.mteb_model_meta = model_meta(label, revision, embed_dim=width, max_tokens=length)
        self._corpus: TextTable | None = None

    def index(self, corpus: Any, *, task_metadata: Any, **_: Any) -> None:
        self._corpus = self._table(lambda: _documents(corpus), f"corpus of {task_metadata.name}")

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> Run:
        if self._corpus is None:
            raise RuntimeError("index a corpus before the search")
        asked = _queries(queries, task_metadata.name)
        table = self._table(lambda: asked, f"queries of {task_metadata.name}")
        inputs = self._inputs(table, self._corpus)
        if top_ranked is not None:
            return self._rerank(inputs, top_ranked, top_k, task_metadata.name)
        drop = self.drops.get(task_metadata.name, False)
        depth = min(top_k, len(self._corpus))
        settings = RetrieveConfig(
            depth=min(depth + drop, len(self._corpus)),
            block_queries=self.config.eval.block_queries,
            sources=(self.config.eval.source,),
        )
        threads = self.config.threads
        found = retrieve(inputs, settings, self.config.cache, threads, "eval.source").candidates
        if drop:
            found = without_identical(found, table, self._corpus, depth)[0]
        names = table.id_strings(inputs.rows)
        return _as_dict(names, self._corpus, np.asarray(found.ids), np.asarray(found.scores))

    def _rerank(
        self, inputs: SearchInputs, given: Mapping[str, Sequence[str]], top_k: int, task: str
    ) -> Run:
        vectors, corpus = inputs.query_vectors, inputs.corpus_vectors
        if vectors is None or corpus is None:
            raise PyriteError(
                f"task {task} has documents reranked, which takes an encoder; name a model or leave"
                " the task out of eval.mteb_tasks"
            )
        run: Run = {}
        for row, query in enumerate(inputs.queries.id_strings(inputs.rows)):
            # one query at a time: the lists may be of any length
            ids = inputs.corpus.ids.find(list(given[query]))[None, :]
            scores = exact_scores(vectors.take(np.array([row])), corpus, ids)
            width = min(top_k, ids.shape[1])
            ids, scores = order_rows(ids, scores, inputs.corpus.ids.rank_N, width)
            run |= _as_dict([query], inputs.corpus, ids, scores)
        return run

    def _inputs(self, queries: TextTable, corpus: TextTable) -> SearchInputs:
        rows = np.arange(len(queries))
        if self.config.eval.source.kind != "dense" or self.encoder is None or self.asking is None:
            return SearchInputs(queries, corpus, rows, None, None)
        asked = self._embed(self.asking, queries, "query")
        return SearchInputs(
            queries, corpus, rows, asked, self._embed(self.encoder, corpus, "document")
        )

    def _embed(self, encoder: Encoder, table: TextTable, role: Role) -> Embeddings:
        section = self.config.encoder
        layout = StoreLayout(section.store)
        return embed_table(
            encoder, table, role, self.config.cache, section.token_budget, None, layout
        )

    def _table(self, rows: Callable[[], Iterable[tuple[str, str]]], where: str) -> TextTable:
        """The rows as a mapped table, kept in the cache by their content."""
        key = digest_texts(part for row in rows() for part in row)
        folder = self.config.cache / "mteb-texts" / key
        manifest = Manifest.read(folder)
        if manifest is None or not manifest.intact(folder):
            count = write_texts(folder / "texts.arrow", rows())
            Manifest.write(folder, schema=1, kind="texts", rows=count)
        return TextTable.open(folder / "texts.arrow", key, where)


class TaskEncoder(TaskSearch):
    """An encoder on every task of mteb; on retrieval tasks it searches as `TaskSearch`."""

    encoder: Encoder

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: Any = None, **_: Any) -> F32:
        """Vectors [N, D] of the batches' texts: as queries or, in all other cases, documents."""
        is_query = getattr(prompt_type, "value", prompt_type) == "query"
        role: Role = "query" if is_query else "document"
        encoder = self.asking if is_query and self.asking is not None else self.encoder
        encode = encoder.encode_queries if is_query else encoder.encode_documents
        parts = [np.empty((0, encoder.dimension), dtype=np.float32)]
        for texts in _blocks(inputs, task_metadata.name):
            vectors = np.empty((len(texts), encoder.dimension), dtype=np.float32)
            lengths = encoder.lengths(texts, role)
            for batch in plan_batches(lengths, self.config.encoder.token_budget):
                vectors[batch] = encode([texts[at] for at in batch])
            parts.append(vectors)
        return np.concatenate(parts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Inner products, a torch tensor [N, M]."""
        return _tensor(embeddings1) @ _tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Inner products of rows in pairs, a torch tensor [N]."""
        return (_tensor(embeddings1) * _tensor(embeddings2)).sum(dim=-1)


def _tensor(values: Any) -> Any:
    import torch

    found = torch.as_tensor(np.asarray(values), dtype=torch.float32)
    return found[None, :] if found.ndim == 1 else found


def _blocks(inputs: Iterable[Mapping[str, Any]], task: str) -> Iterator[list[str]]:
    """Texts of the batches, about a thousand at a time."""
    waiting: list[str] = []
    for batch in inputs:
        if "text" not in batch:
            raise PyriteError(f"task {task} has no texts; leave it out of eval.mteb_tasks")
        waiting.extend(batch["text"])
        if len(waiting) >= _BLOCK:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _documents(corpus: Any) -> Iterator[tuple[str, str]]:
    titled = "title" in corpus.column_names
    for start in range(0, len(corpus), _BLOCK):
        block = corpus[start : start + _BLOCK]
        titles = block["title"] if titled else [""] * len(block["text"])
        for row_id, title, text in zip(block["id"], titles, block["text"], strict=True):
            yield row_id, f"{title or ''} {text}".strip()


def _queries(queries: Any, task: str) -> list[tuple[str, str]]:
    texts = list(queries["text"])
    if any(not isinstance(text, str) for text in texts):
        raise PyriteError(
            f"task {task} asks with conversations, which an encoder of Pyrite does not take; leave"
            " it out of eval.mteb_tasks"
        )
    if "instruction" in queries.column_names:
        asked = zip(texts, queries["instruction"], strict=True)
        texts = [text if told is None else f"{text} {told}" for text, told in asked]
    return list(zip(queries["id"], texts, strict=True))


def _as_dict(names: Sequence[str], corpus: TextTable, ids_QK: I64, scores_QK: F32) -> Run:
    run: Run = {}
    for query, ids, scores in zip(names, ids_QK, strict_scores(scores_QK), strict=True):
        there = ids >= 0
        documents = corpus.id_strings(ids[there])
        run[query] = dict(zip(documents, scores[there].tolist(), strict=True))
    return run
