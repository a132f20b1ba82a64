"""What an evaluation measures, of which systems, on which datasets, by whose rules."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..core.config import Section
from ..core.dataset import SPLIT
from ..core.run import RunConfig
from ..core.sbert import EncoderConfig
from ..core.used import Used
from ..indexes.sources import SourceConfig
from .identical_ids import drops_identical
from .measures import cutoff

DEFAULT_MEASURES = ("ndcg@10", "mrr@10", "recall@100")
LEXICAL = ("bm25s", "lucene")
IdenticalIds = Literal["auto", "keep", "drop"]
Convention = Literal["pyrite", "trec_eval"]
Judge = Literal["mteb", "beir"]


class ModelEntry(Section):
    """One model of a table; what is null is as in the section `encoder`."""

    model: str = Field(min_length=1, description="as encoder.model, or bm25s or lucene")
    name: str | None = Field(None, min_length=1, description="in the table; null: the model")
    query_prompt: str | None = Field(None, description="as encoder.query_prompt")
    document_prompt: str | None = Field(None, description="as encoder.document_prompt")
    max_length: int | None = Field(None, ge=4, le=32768, description="as encoder.max_length")
    normalize: bool | None = Field(None, description="as encoder.normalize")

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, given: Any) -> Any:
        return {"model": given} if isinstance(given, str) else given

    @property
    def label(self) -> str:
        return self.name or self.model

    def encoder(self, base: EncoderConfig) -> EncoderConfig:
        """The section `encoder` of this model."""
        own = self.model_dump(exclude={"name"}, exclude_none=True)
        return base.model_copy(update=own)


class DatasetEntry(Section):
    """One dataset of a table."""

    path: str = Field(min_length=1, description="as dataset.path")
    split: str | None = Field(None, pattern=SPLIT, description="null: dataset.eval_split")

    @model_validator(mode="before")
    @classmethod
    def _of_path(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given


class EvalSection(Section):
    """What to measure, and with which retriever."""

    measures: tuple[str, ...] = Field(
        DEFAULT_MEASURES, min_length=1, description="such as ndcg@10, map@100, success@5"
    )
    block_queries: int = Field(1024, ge=1, description="queries searched at a time")
    source: SourceConfig = Field(SourceConfig(), description="dense: the configured encoder")
    query_model: str | None = Field(
        None,
        min_length=1,
        description="folder of a query encoder (train.kind: query-side); documents by `encoder`",
    )
    models: tuple[ModelEntry, ...] = Field((), description="several; empty: encoder.model")
    runs: tuple[str, ...] = Field((), description="run files to measure too")
    datasets: tuple[DatasetEntry, ...] = Field((), description="several; empty: dataset.path")
    identical_ids: IdenticalIds = Field(
        "auto", description="a document with its query's id; auto: by the dataset's name"
    )
    convention: Convention = Field(
        "pyrite", description="trec_eval: its denominators and ties, as BEIR and MTEB have them"
    )
    also: tuple[Judge, ...] = Field((), description="measure the same ranking by these tools too")
    mteb_tasks: tuple[str, ...] = Field((), description="tasks of mteb by name")
    mteb_benchmarks: tuple[str, ...] = Field((), description="benchmarks of mteb by name")

    USED = (Used(("source.weight",), ("source",), lambda section: False, why="with one source"),)

    @field_validator("measures")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        cutoff(names)
        return names

    @model_validator(mode="after")
    def _one_query_model(self) -> EvalSection:
        if self.query_model is not None and len(self.models) > 1:
            raise ValueError(
                f"query_model={self.query_model} belongs to one model, and there are"
                f" {len(self.models)} in eval.models; name one, or remove query_model"
            )
        return self


class EvalConfig(RunConfig):
    """A model, a dataset, and what to measure."""

    eval: EvalSection = EvalSection()

    @property
    def drops_identical(self) -> bool:
        """Whether results with the query's own id are taken out."""
        return drops_identical(self.eval.identical_ids, self.dataset.path)
