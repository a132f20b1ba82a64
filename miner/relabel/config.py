"""Everything that a YAML file can say about relabelling."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...core.config import Section
from ...core.engine.config import RAY_IS_USED, EngineName, RayConfig
from ...core.run import FolderConfig
from ...core.used import Rules, Used, only
from ..formats.sources import Sources
from .formats_out import Out
from .judges.config import ChatConfig, CrossConfig, LocalConfig
from .judges.embedding import EmbeddingConfig
from .operations import Operation
from .ruling import Counted, Forward

JudgeKind = Literal["duplicates", "embedding", "cross-encoder", "chat", "local", "scripted"]
# duplicates settle what they find; a model's word on one document is enough to spare the others;
# RLHN hands on the whole row
_FORWARD: dict[JudgeKind, Forward] = {
    "duplicates": "unsure",
    "embedding": "relevant",
    "cross-encoder": "relevant",
    "chat": "row",
    "local": "row",
    "scripted": "row",
}


class DataConfig(Section):
    """The training file that is to be repaired, and the texts of the ids that it may hold."""

    path: str = Field(min_length=1, description="a training file or the folder of a mining run")
    format: str | None = Field(None, description="as audit's --format; null: guessed")
    corpus: str | None = Field(None, description="texts of document ids: a file or a BEIR folder")
    queries: str | None = Field(None, description="texts of query ids; null: the BEIR folder's")
    qrels: str | None = Field(None, description="positives of a ranked run")

    def sources(self, cache: Path) -> Sources:
        """The paths as readers take them."""
        corpus, queries, qrels = (
            None if path is None else Path(path) for path in (self.corpus, self.queries, self.qrels)
        )
        return Sources(corpus, queries, qrels, cache, "data.")


class ScriptedConfig(Section):
    """A Python function from a `Case` to a `Verdict` for each of its documents."""

    function: str = Field("", description="package.module:function, on PYTHONPATH")


class JudgeConfig(Section):
    """One judge, and the settings of its kind."""

    judge: JudgeKind = Field(description="who judges; its settings are in the section it names")
    near: float | None = Field(
        0.8, gt=0, le=1, description="duplicates: Jaccard index of near copies; null: equal texts"
    )
    embedding: EmbeddingConfig = EmbeddingConfig()
    cross_encoder: CrossConfig = CrossConfig()
    chat: ChatConfig = ChatConfig()
    local: LocalConfig = LocalConfig()
    scripted: ScriptedConfig = ScriptedConfig()

    USED: ClassVar[Rules] = (
        only("near", "judge", "duplicates"),
        only("cross_encoder", "judge", "cross-encoder"),
        *(only(kind, "judge", kind) for kind in ("embedding", "chat", "local", "scripted")),
    )

    @model_validator(mode="after")
    def _has_a_function(self) -> Self:
        if self.judge == "scripted" and ":" not in self.scripted.function:
            raise ValueError(
                "judge=scripted needs scripted.function, as in package.module:function"
            )
        return self


class StageConfig(JudgeConfig):
    """One judge of the cascade, and what it leaves to the next one."""

    forward: Forward | None = Field(
        None,
        description="what goes on: unsure, what has no verdict; relevant, what is relevant too;"
        " row, all of a row with one of either; null: as suits the judge",
    )
    expect: float = Field(
        1.0, gt=0, le=1, description="share of the pairs that goes on; for --dry-run alone"
    )

    @property
    def goes_on(self) -> Forward:
        """`forward`, or what suits the judge."""
        return self.forward or _FORWARD[self.judge]


class RelabelConfig(FolderConfig):
    """Finds false negatives of a training file with a cascade of judges, and repairs the file."""

    engine: EngineName = Field("local", description="where models judge: here, or Ray's workers")
    ray: RayConfig = RayConfig()
    data: DataConfig
    stages: list[StageConfig] = Field(min_length=1, description="judges, the cheapest first")
    operation: Operation = Field("relabel", description="what is done about false negatives")
    max_false_negatives: int = Field(7, ge=0, description="a row with more is dropped")
    counted: Counted = Field(
        "better_or_equal", description="relevant: what is worse than the positives counts too"
    )
    on_unknown: Literal["keep", "drop"] = Field(
        "keep", description="what is done with a negative that no judge decided"
    )
    on_worse: Literal["keep", "remove"] = Field(
        "keep",
        description="what is done with a negative that is relevant, but worse than positives",
    )
    out: Out = Field("same", description="format of what is written; same: as it was read")
    double_judge: float = Field(
        0.0, ge=0, le=1, description="share of the rows that every stage sees, to compare them"
    )
    order_check: bool = Field(
        False, description="judge the rows of double_judge again with documents in another order"
    )
    human: str | None = Field(
        None, description="a person's labels to compare with: tsv of query_id, doc_id, 1 or 0"
    )
    max_cost: float | None = Field(None, gt=0, description="stop before more is spent")
    max_calls: int | None = Field(None, ge=1, description="stop before more calls are made")
    block_rows: int = Field(1024, ge=1, description="rows in memory at a time")
    dry_run: bool = Field(False, description="estimate calls, tokens and cost; write nothing")

    USED = (
        RAY_IS_USED,
        only("max_false_negatives", "operation", "relabel", "remove_negative"),
        Used(
            ("order_check",),
            ("double_judge",),
            lambda config: config.double_judge > 0,
            "set {at}double_judge to the share of rows to judge again, such as 0.02",
        ),
    )

    @model_validator(mode="after")
    def _nothing_is_in_vain(self) -> RelabelConfig:
        if self.on_worse == "remove" and self.counted == "relevant":
            raise ValueError(
                "on_worse=remove with counted=relevant, which takes worse ones for false negatives;"
                " leave one of both out"
            )
        for key, value in (("on_unknown", "drop"), ("on_worse", "remove")):
            if self.operation == "weight" and getattr(self, key) == value:
                raise ValueError(
                    f"operation=weight removes nothing, so {key}={value} cannot hold; leave {key}"
                    " out"
                )
        return self
