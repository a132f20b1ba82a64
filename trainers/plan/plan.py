"""The verb `plan`: what a configuration would take, by stage, and the largest sizes that fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.encoder import Encoder, Role
from ...core.encoders.common import approximate_lengths
from ...core.errors import PyriteError
from ...core.ids import I64
from ...core.run import build_encoder
from ...indexes.sources import SourceConfig
from ...miner.relabel.config import RelabelConfig
from ..run_config import TrainConfig
from .devices import Device, device_named
from .estimate import Estimate
from .judge_stages import judge_stages
from .limits import Free, Limit, free_here, limits
from .measure import measured_rates
from .mine_stages import mine_stages
from .rates import Rates
from .shape import ModelShape, shape_of
from .sizes import Said, Sizes, sizes_of
from .stage import Stage
from .stopwatch import Stopwatch
from .train_stages import negatives, train_stages


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What a plan is asked for besides the configuration.

    `said` are sizes in the place of the dataset's own. `device` is `cpu` or `cuda`, measured on
    this machine, or an accelerator by name, assumed; None: the configured ones. `measure` measures
    anew what is in the cache. `price_per_hour` is of the machine; `relabel` adds its judges.
    """

    said: Said = field(default_factory=Said)
    device: str | None = None
    price_per_hour: float | None = None
    measure: bool = False
    relabel: RelabelConfig | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in their order, the largest sizes, and what stands behind both.

    `device` is the name of an accelerator whose figures are assumed; None: all is measured.
    """

    sizes: Sizes
    stages: tuple[Stage, ...]
    limits: tuple[Limit, ...]
    free: Free
    rates: Rates
    device: str | None = None
    price_per_hour: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        """All stages whose time is known and that nothing runs beside."""
        return sum(one.seconds or 0.0 for one in self.stages if not one.beside)

    @property
    def whole(self) -> bool:
        """Whether the time of every stage is known."""
        return all(one.seconds is not None for one in self.stages)

    @property
    def disk(self) -> float:
        """Bytes that stay, and the most that one stage needs beside them."""
        return sum(one.disk for one in self.stages) + max(one.scratch for one in self.stages)

    def memory(self, where: str) -> float:
        """The most that a stage takes on `host` or `device`."""
        return max((one.memory for one in self.stages if one.where == where), default=0.0)

    @property
    def price(self) -> float:
        """Hours at the machine's price, and the judges."""
        hours = self.seconds / 3600 * (self.price_per_hour or 0.0)
        return hours + sum(one.price for one in self.stages)

    def stage(self, name: str) -> Stage:
        """The stage of that name; raises KeyError."""
        return {one.name: one for one in self.stages}[name]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        sizes = ("documents", "queries", "held_out", "pairs")
        return {
            "sizes": {
                **{name: getattr(self.sizes, name) for name in sizes},
                "document_tokens": self.sizes.document.mean_tokens,
                "query_tokens": self.sizes.query.mean_tokens,
                "counted_in": self.sizes.where,
            },
            "device": self.device,
            "measured_on": {"hardware": self.rates.hardware, "date": self.rates.date},
            "stages": [one.as_json() for one in self.stages],
            "total": {
                "seconds": self.seconds,
                "all_stages_known": self.whole,
                "disk": self.disk,
                "memory": self.memory("host"),
                "device_memory": self.memory("device"),
                "price": self.price,
            },
            # JSON has no infinity: a container without a limit
            "free": {"memory": _finite(self.free.memory), "disk": self.free.disk},
            "limits": [one.as_json() for one in self.limits],
            "notes": list(self.notes),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plan(config: TrainConfig, options: PlanOptions | None = None) -> Plan:
    """What `pyrite mine` and `pyrite train` would take with `config`; nothing of it is run.

    The model is loaded, and this machine is measured for about half a minute unless the cache
    has its rates. Raises PyriteError if the sizes are not known, the device is not, or the model
    cannot be loaded.
    """
    options = options or PlanOptions()
    device = None if options.device is None else device_named(options.device)
    # what is measured is measured in this process
    here = _on_device(config.model_copy(update={"engine": "local"}), options.device, device)
    _check(here)
    # not a part of loading
    import sentence_transformers  # noqa: F401

    with Stopwatch() as loading:
        encoder = build_encoder(here)
    most = here.encoder.max_length
    sizes = sizes_of(here.dataset, here.cache, _lengths(encoder, here), options.said, most)
    shape = _shape(encoder, here)
    rates = measured_rates(here, encoder, shape, sizes, loading.seconds, options.measure)
    planned = here if device is None else _with_indexes(config, "cuda")
    planned = planned.model_copy(update={"engine": config.engine})
    if shape is not None and planned.encoder.dtype != "float32":
        shape = replace(shape, bytes_each=2)
    of = Estimate(planned, sizes, shape, rates, device, encoder.dimension)
    stages = [*mine_stages(of), *train_stages(of)]
    if options.relabel is not None:
        stages += judge_stages(options.relabel, sizes, negatives(of))
    free = free_here(of)
    return Plan(
        sizes,
        tuple(stages),
        tuple(limits(of, free)),
        free,
        rates,
        None if device is None else device.name,
        options.price_per_hour,
        tuple(_notes(config, sizes, options)),
    )


def _check(config: TrainConfig) -> None:
    if config.encoder.kind == "openai" and config.encoder.openai.dimensions is None:
        raise PyriteError(
            "encoder.kind=openai: a plan asks no server how wide its vectors are; set"
            " encoder.openai.dimensions"
        )


def _on_device(config: TrainConfig, name: str | None, device: Device | None) -> TrainConfig:
    """What is measured here: on the CPU in the place of a device that is not here."""
    if name is None:
        return config
    here = "cpu" if device is not None else name
    encoder = config.encoder.model_copy(update={"device": here})
    if device is not None and encoder.dtype != "float32":
        # what half precision takes on a CPU says nothing about the device
        encoder = encoder.model_copy(update={"dtype": "float32"})
    return _with_indexes(config.model_copy(update={"encoder": encoder}), here)


def _with_indexes(config: TrainConfig, device: str) -> TrainConfig:
    """With exact dense indexes on `device`."""

    def moved(source: SourceConfig) -> SourceConfig:
        if source.kind != "dense" or not source.index.exact:
            return source
        index = source.index.model_copy(update={"device": device, "backend": "torch"})
        return source.model_copy(update={"index": index})

    sources = tuple(moved(source) for source in config.retrieve.sources)
    retrieve = config.retrieve.model_copy(update={"sources": sources})
    measured = config.eval.model_copy(update={"source": moved(config.eval.source)})
    return config.model_copy(update={"retrieve": retrieve, "eval": measured})


def _lengths(encoder: Encoder, config: TrainConfig) -> Any:
    if config.encoder.kind != "precomputed":
        return encoder.lengths

    def about(texts: list[str], role: Role) -> I64:
        return approximate_lengths(texts).clip(1, config.encoder.max_length)

    return about


def _shape(encoder: Encoder, config: TrainConfig) -> ModelShape | None:
    replicas = getattr(encoder, "_replicas", [encoder])
    model = getattr(replicas[0], "model", None)
    return None if model is None else shape_of(model, config.train.lora.r)


def _notes(config: TrainConfig, sizes: Sizes, options: PlanOptions) -> Iterator[str]:
    """What the plan leaves out or had to take for granted."""
    if sizes.where is None:
        yield (
            "the dataset is not here: lengths are those that were given, or the longest that the"
            " model reads, and queries of 32 tokens"
        )
    if not sizes.held_out:
        yield "no held-out queries are known: evaluations are those of none; give --eval-queries"
    if config.engine == "ray":
        shared = f"{config.ray.workers} workers" if config.ray.workers else "one, as ray.workers=0"
        yield (
            f"engine=ray: encoding and exact search are divided by {shared}; each is taken to be as"
            " fast as this machine alone"
        )
    if config.train.datasets:
        yield "train.datasets: only the run's own dataset is planned"
    if config.train.guide is not None or config.train.loss.needs_guide:
        yield "the vectors of the loss's guide are not planned"
    if config.filters.denoise.model is not None:
        yield "filters.denoise: the cross-encoder's time is not planned"
    if any(source.kind == "run" for source in config.retrieve.sources):
        yield "reading the run files of retrieve.sources is not planned"
    if options.device is not None and device_named(options.device) is not None:
        yield (
            f"{options.device}: published peaks times an assumed share of them; what the processor"
            " does is as measured here, and memory and disk are this machine's"
        )
