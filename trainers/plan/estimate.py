"""Seconds of encoding, searching and training, from measured rates or a device's figures."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.embeddings import PART_ROWS
from ...core.encoder import Role
from ...indexes.sources import SourceConfig
from ..run_config import TrainConfig
from .ann_work import ann_work
from .devices import Device
from .measure_model import batch_work
from .rates import Rates
from .shape import ModelShape, batches_of, encode_work, step_work
from .sizes import Sizes, TextFacts
from .stage import Basis


@dataclass(frozen=True, slots=True)
class Estimate:
    """What turns amounts into seconds. With a `device`, what it computes is assumed."""

    config: TrainConfig
    sizes: Sizes
    shape: ModelShape | None
    rates: Rates
    device: Device | None
    dimension: int

    @property
    def basis(self) -> Basis:
        """How the seconds of what the device computes are known."""
        return "measured" if self.device is None else "assumed"

    @property
    def vector_bytes(self) -> int:
        return 2 if self.config.encoder.store == "float16" else 4

    @property
    def workers(self) -> int:
        """How many share encoding and exact search, each as fast as what was measured."""
        return max(1, self.config.ray.workers) if self.config.engine == "ray" else 1

    @property
    def computed(self) -> bool:
        """Whether vectors are computed here at all."""
        return self.config.encoder.kind != "precomputed"

    def encode(self, rows: float, role: Role) -> float | None:
        """Seconds to encode texts and to keep their vectors."""
        size = round(rows)
        if not self.computed:
            return 0.0
        work = self._work(size, role)
        rate = self._encode_rate(role)
        if work is None or rate is None:
            return None
        seconds = work / rate
        if self.device is not None:
            # lengths first, then batches while the devices compute
            tokens = size * self.facts(role).mean_tokens / self.rates.tokens
            devices = len(self.config.encoder.device.split(","))
            seconds = tokens + max(tokens, seconds / devices)
        return seconds / self.workers + self.keep(size)

    def keep(self, rows: int) -> float:
        """Seconds to write parts of vectors and join them."""
        written = 2.0 * rows * self.dimension * self.vector_bytes / self.rates.write
        return written + 2 * self.rates.sync * (rows / PART_ROWS + 1)

    def facts(self, role: Role) -> TextFacts:
        """The lengths of documents or queries."""
        return self.sizes.query if role == "query" else self.sizes.document

    def _work(self, rows: int, role: Role) -> float | None:
        tokens, most = self.facts(role).tokens_S, self.config.encoder.token_budget
        if self.shape is not None:
            return encode_work(self.shape, tokens, rows, most)
        if self.device is not None:
            return None
        parts = batches_of(tokens, min(rows, PART_ROWS), most)
        padded = sum(batch_work(None, b.size, int(tokens[b].max())) for b in parts)
        return padded * rows / min(rows, PART_ROWS)

    def _encode_rate(self, role: Role) -> float | None:
        if self.device is None:
            return self.rates.encode[role]
        if self.shape is None:
            return None
        return self.device.rate(self.config.encoder.dtype != "float32", False, self.shape.hidden)

    def search(
        self, sources: tuple[SourceConfig, ...], documents: float, queries: float, k: int
    ) -> float | None:
        """Seconds to search all queries in all sources and to keep what is found."""
        total = self.rates.overhead.at(documents, queries)
        for source in sources:
            one = self._source(source, documents, queries, k)
            if one is None:
                return None
            total += one
        return total

    def build(self, source: SourceConfig, documents: int) -> float | None:
        """Seconds to build a source's approximate index and to measure its recall."""
        work = ann_work(source.index, self.dimension)
        if work is None or self.rates.build is None:
            return None
        recall = self.rates.dense.at(documents, source.index.recall_sample)
        tables = (self.rates.table or 0.0) * work.code
        return self.rates.build * work.build(documents) + tables + recall

    def _source(
        self, source: SourceConfig, documents: float, queries: float, k: int
    ) -> float | None:
        if source.kind == "run":
            return 0.0
        if source.kind != "dense":
            return self.rates.lexical.at(documents, queries)
        deeper = min(source.quota or k, k) / self.rates.depth
        each = self.rates.dense.queries * queries * deeper
        if not source.index.exact:
            work = ann_work(source.index, self.dimension)
            if work is None or self.rates.probe is None:
                return None
            width = k * source.index.rescore
            return self.rates.probe * work.search(int(documents), int(queries), width) + each
        if self.device is not None:
            rounded = round(documents), round(queries), self.dimension
            searched = each + self.device.search_seconds(*rounded, source.index.float16)
            return searched / self.workers
        line = self.rates.dense
        shared = line.documents * documents + line.products * documents * queries + each
        return line.fixed + shared / self.workers

    def choose(self) -> float:
        """Seconds to filter and draw."""
        line, deeper = self.rates.choose, self.config.retrieve.depth / self.rates.depth
        return line.at(self.sizes.documents, 0) + line.queries * self.sizes.queries * deeper

    def step(self, widths: list[float], rows: int) -> float | None:
        """Seconds of one training step over columns of such widths."""
        if self.shape is None:
            return None
        train = self.config.train
        work = step_work(self.shape, widths, rows) * train.gradient_accumulation
        if self.device is not None:
            half = train.bf16 or train.fp16 or self.config.encoder.dtype != "float32"
            passes = 3 + bool(train.mini_batch_size or train.mini_batch_tokens)
            passes += train.gradient_checkpointing
            return passes / 3 * work / self.device.rate(half, True, self.shape.hidden)
        return None if self.rates.train is None else work / self.rates.train
