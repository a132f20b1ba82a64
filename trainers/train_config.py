"""The section `train`: how to fine-tune."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..core.config import Section
from ..core.dataset import SPLIT
from ..core.sbert import EncoderConfig
from ..core.used import ALL, Rules, Used, only
from ..eval.measures import cutoff
from ..indexes.sources import SourceConfig
from .draw_config import DrawOptions
from .loss_config import LossSection
from .mixture_config import DatasetEntry

# of transformers' schedulers those that need no further parameter
ScheduleName = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant_with_warmup",
    "inverse_sqrt",
]
Reporter = Literal["tensorboard", "wandb"]
# what a query-side step has no use for
_NOT_QUERY_SIDE = (
    *("negatives", "mini_batch_size", "mini_batch_tokens", "doubt", "guide", "matryoshka_dims"),
    *("distil_base", "push_to_hub", "datasets", *DrawOptions.model_fields),
    *("loss.partition", "loss.weight_floor"),
    *("early_stopping.pool_depth", "early_stopping.pool_sources", "early_stopping.full_every"),
)
# what the weights do not depend on, and `datasets`, which the key has by content
NOT_IN_KEY = {"report_to", "logging_steps", "num_workers", "push_to_hub", "datasets"}


class LoraSection(Section):
    """Low-rank adapters instead of all weights (Hu et al., arXiv 2106.09685)."""

    r: int | None = Field(None, ge=1, description="rank; null: all weights are trained")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the adapters' input")
    target_modules: tuple[str, ...] = Field(
        (), description="ends of the names of the layers that get one; empty: every linear layer"
    )

    USED = (only(ALL, "r", off=None, instead="set {at}r, as 16"),)


class EarlyStoppingSection(Section):
    """Measure on a development split while training; keep the best weights."""

    split: str | None = Field(
        None, pattern=SPLIT, description="such as dev; null: train to the end"
    )
    patience: int = Field(3, ge=1, description="measurements without a new best before it ends")
    every: int = Field(50, ge=1, description="steps between measurements; each is a checkpoint")
    measure: str = Field("ndcg@10", description="one of those that eval.measures may name")
    pool_depth: int | None = Field(
        None,
        ge=1,
        description="measure in what is judged and the first so many documents of each of"
        " pool_sources for each query; null: in the whole corpus",
    )
    pool_sources: tuple[SourceConfig, ...] = Field(
        (SourceConfig(), SourceConfig(kind="bm25s")),
        min_length=1,
        description="retrievers of the pool; dense: the untrained model",
    )
    full_every: int | None = Field(
        None,
        ge=1,
        description="every so many measurements one in the whole corpus too, to compare the orders",
    )

    @field_validator("measure")
    @classmethod
    def _known(cls, name: str) -> str:
        cutoff([name])
        return name

    USED = (
        only(ALL, "split", off=None, instead="set {at}split, as dev"),
        only("pool_sources full_every", "pool_depth", instead="set {at}pool_depth, as 100"),
        Used(
            ("pool_sources.weight",),
            ("pool_sources",),
            lambda section: False,
            why="where each source fills the pool by itself",
        ),
    )

    @model_validator(mode="after")
    def _pooled(self) -> EarlyStoppingSection:
        if any(source.query == "positive" for source in self.pool_sources):
            raise ValueError(
                "pool_sources: development queries are searched for by themselves; set query=query"
            )
        return self


class Schedule(Section):
    """How long, in which steps and how fast any model is trained."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; null: by epochs")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs, if steps is null")
    batch_size: int = Field(32, ge=2, description="on all processes together")
    negatives: int | None = Field(None, ge=1, description="per row; null: all that were mined")
    learning_rate: float = Field(5e-5, gt=0, description="the highest, after the warm-up")
    warmup: float = Field(0.1, ge=0, description="share of the steps; from 1 on a number of steps")
    dropout: float | None = Field(None, ge=0, lt=1, description="null: the model's own")
    bf16: bool = Field(False, description="mixed precision with bfloat16")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")

    @field_validator("warmup")
    @classmethod
    def _whole_steps(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"warmup={value} is neither a share below 1 nor whole steps")
        return value

    USED: ClassVar[Rules] = (
        Used(("epochs",), ("steps",), lambda section: section.steps is None, "set {at}steps=null"),
    )


class TrainSection(DrawOptions, Schedule):
    """How to fine-tune; the same for in-batch and for mined negatives."""

    kind: Literal["encoder", "cross-encoder", "query-side"] = Field(
        "encoder",
        description="cross-encoder: train one by the section `reranker`, not by this; query-side:"
        " a query encoder for the document vectors as they are",
    )
    datasets: tuple[DatasetEntry, ...] = Field(
        (), description="train on several; empty: on the run's own alone"
    )
    neg_topk: int = Field(
        200, ge=1, description="query-side: documents searched for each query at every step"
    )
    schedule: ScheduleName = Field("linear", description="of the learning rate, after the warm-up")
    gradient_accumulation: int = Field(1, ge=1, description="batches in one optimizer step")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, ge=0, description="longer gradients are shortened; 0: never")
    mini_batch_size: int | None = Field(
        None, ge=1, description="texts embedded at a time, batch_size counts in full; null: all"
    )
    mini_batch_tokens: int | None = Field(None, ge=1, description="the same, as a token budget")
    loss: LossSection = LossSection()
    doubt: Literal["none", "cross-encoder"] = Field(
        "none",
        description="cross-encoder: the more filters.denoise.model holds a negative for relevant,"
        " the less it weighs",
    )
    guide: EncoderConfig | None = Field(
        None, description="frozen model for losses with a guide; null: the run's encoder, untrained"
    )
    matryoshka_dims: tuple[int, ...] = Field((), description="the loss at each of these widths")
    distil_base: float = Field(
        0.0, ge=0, description="weight of the divergence from the untrained model's similarities"
    )
    base_weight: float = Field(
        0.0, ge=0, lt=1, description="share of the untrained weights in the saved ones"
    )
    lora: LoraSection = LoraSection()
    early_stopping: EarlyStoppingSection = EarlyStoppingSection()
    fp16: bool = Field(False, description="CUDA only; bf16 needs no scaling of the loss")
    gradient_checkpointing: bool = Field(False, description="less memory, a second forward pass")
    num_workers: int = Field(0, ge=0, le=256, description="processes that tokenize; 0: this one")
    logging_steps: int = Field(10, ge=1, description="steps between log entries")
    report_to: tuple[Reporter, ...] = Field((), description="where losses are logged too")
    push_to_hub: str | None = Field(
        None,
        pattern=r"^[\w][\w.-]*/[\w][\w.-]*$",
        description="owner/name of a Hugging Face repository for the mined model; token: HF_TOKEN",
    )

    USED = (
        only("neg_topk", "kind", "query-side"),
        only(
            " ".join(Schedule.model_fields),
            "kind",
            *("encoder", "query-side"),
            instead="set reranker.{key}",
        ),
        only(ALL, "kind", "encoder", "query-side", instead="set {at}kind=encoder"),
        only(" ".join(_NOT_QUERY_SIDE), "kind", "encoder"),
        only("loss.weight_floor", "doubt", "cross-encoder"),
        Used(
            ("guide",),
            ("loss.name", "loss.source"),
            lambda section: section.loss.looks_up,
            "set {at}loss.name to a loss with a guide, as gist",
        ),
    )

    @field_validator("matryoshka_dims")
    @classmethod
    def _distinct(cls, dims: tuple[int, ...]) -> tuple[int, ...]:
        if any(dim < 1 for dim in dims) or len(set(dims)) != len(dims):
            raise ValueError(f"{list(dims)}: widths are whole numbers from 1, each once")
        return dims

    @model_validator(mode="after")
    def _of_its_kind(self) -> TrainSection:
        if self.kind == "query-side" and self.loss.name != "lambda_rank":
            raise ValueError(
                f"train.kind=query-side orders lists, which train.loss.name={self.loss.name} does"
                " not; set train.loss.name=lambda_rank"
            )
        return self

    @model_validator(mode="after")
    def _agree(self) -> TrainSection:
        if self.draw == "replace" and (self.matryoshka_dims or self.loss.similarity != "cos"):
            raise ValueError(
                "train.draw=replace compares cosines of whole vectors; set"
                " train.loss.similarity=cos and train.matryoshka_dims=[], or train.draw=rotate"
            )
        if self.datasets:
            self._check_datasets()
        if self.bf16 and self.fp16:
            raise ValueError("train.bf16 and train.fp16 are both set; set one of them to false")
        if self.matryoshka_dims and self.loss.similarity != "cos":
            raise ValueError(
                f"train.loss.similarity={self.loss.similarity} with train.matryoshka_dims: the"
                " shortened vectors are made unit vectors; set train.loss.similarity=cos"
            )
        return self

    def _check_datasets(self) -> None:
        for name, found, value, other in (
            ("draw", self.draw, "replace", "rotate"),
            ("batches", self.batches, "ngame", "random"),
            ("loss.name", self.loss.name, "cluster_ns", "info_nce"),
        ):
            if found == value:
                raise ValueError(
                    f"train.{name}={value} looks at one dataset's rows, and train.datasets"
                    f" has a batch of each in turn; set train.{name}={other} or remove"
                    " train.datasets"
                )
