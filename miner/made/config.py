"""Everything that a YAML file can say about made negatives."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ...core.config import Section
from ...core.dataset import DatasetConfig
from ...core.run import FolderConfig
from ...core.used import only
from ..relabel.config import JudgeConfig, ScriptedConfig
from ..relabel.judges.config import ChatModelConfig, LocalModelConfig
from ..relabel.prompt import ShownConfig

Kind = Literal["passages", "queries"]
AUTO = "auto"
# what reads a document as the answer to a query cannot read it the other way round
_CHECKS: dict[Kind, tuple[str, ...]] = {
    "passages": ("embedding", "cross-encoder", "chat", "local", "scripted"),
    "queries": ("chat", "local", "scripted"),
}
_ASK: dict[Kind, str] = {"passages": "relevance-", "queries": "answerable-"}
_BOTH = 2  # DocReRank (arXiv 2505.22584) keeps a query only if two checks agree


def prompt_of(check: JudgeConfig) -> str:
    """The instructions of a check by name; empty for one that has none."""
    if check.judge == "chat":
        return check.chat.prompt
    return check.local.prompt if check.judge == "local" else ""


class WriterShownConfig(ShownConfig):
    """Instructions of a writer, and how much of a text it sees."""

    prompt: str = Field(
        AUTO, description="passages-1 or queries-1, or the path of a .md file; auto: as kind says"
    )


class ChatWriterConfig(ChatModelConfig, WriterShownConfig):
    """A language model on a server, as a writer."""


class LocalWriterConfig(LocalModelConfig, WriterShownConfig):
    """A language model on this machine, as a writer."""


class WriterConfig(Section):
    """Who writes."""

    writer: Literal["chat", "local", "scripted"] = Field(
        "chat", description="its settings are in the section of this name"
    )
    chat: ChatWriterConfig = ChatWriterConfig()
    local: LocalWriterConfig = LocalWriterConfig()
    scripted: ScriptedConfig = ScriptedConfig()

    USED = tuple(only(kind, "writer", kind) for kind in ("chat", "local", "scripted"))

    @model_validator(mode="after")
    def _has_a_function(self) -> Self:
        if self.writer == "scripted" and ":" not in self.scripted.function:
            raise ValueError(
                "writer=scripted needs scripted.function, as in package.module:function"
            )
        return self


class LengthConfig(Section):
    """Quantiles of the numbers of words of real texts, between which a made one has to lie."""

    low: float = Field(0.05, ge=0, le=1, description="shorter ones are rejected")
    high: float = Field(0.95, ge=0, le=1, description="longer ones are rejected")

    @model_validator(mode="after")
    def _band(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low={self.low:g} is over high={self.high:g}; lower low")
        return self


class MakeConfig(FolderConfig):
    """Has texts written that look like answers and are not; keeps those that pass all checks."""

    kind: Kind = Field(
        "passages",
        description="passages that do not answer a query; queries: such that a document does not"
        " answer",
    )
    dataset: DatasetConfig = DatasetConfig()
    n: int = Field(5, ge=1, le=50, description="asked for at once, for each query (document)")
    most: int | None = Field(
        None, ge=1, description="queries (documents) to write for, chosen by a hash; null: all"
    )
    most_truths: int = Field(3, ge=1, le=25, description="positives that writer and checks see")
    writer: WriterConfig = WriterConfig()
    checks: list[JudgeConfig] = Field(
        min_length=1, description="all must say that a text is not relevant, the cheapest first"
    )
    length: LengthConfig = LengthConfig()
    one_slot: int | None = Field(
        None,
        ge=1,
        description="kind=queries: most words of the one place in which a query may differ from one"
        " that the document answers; null: any difference",
    )
    max_cost: float | None = Field(None, gt=0, description="stop before more is spent")
    max_calls: int | None = Field(None, ge=1, description="stop before more calls are made")
    block_rows: int = Field(256, ge=1, description="queries (documents) in memory at a time")
    dry_run: bool = Field(False, description="estimate calls, tokens and cost; write nothing")

    USED = (only("one_slot", "kind", "queries"),)

    @property
    def prompt(self) -> str:
        """The writer's instructions by name; empty for a function, which needs none."""
        if self.writer.writer == "scripted":
            return ""
        name = getattr(self.writer, self.writer.writer).prompt
        return f"{self.kind}-1" if name == AUTO else str(name)

    @model_validator(mode="after")
    def _checks_of_the_kind(self) -> Self:
        for at, check in enumerate(self.checks):
            if check.judge not in _CHECKS[self.kind]:
                raise ValueError(
                    f"checks.{at}.judge={check.judge} cannot check kind={self.kind}; set it to one"
                    f" of {', '.join(_CHECKS[self.kind])}"
                )
            prompt = prompt_of(check)
            other = next(name for kind, name in _ASK.items() if kind != self.kind)
            if prompt.startswith(other):
                raise ValueError(
                    f"checks.{at}.{check.judge}.prompt={prompt} does not ask what kind={self.kind}"
                    f" has to be asked; set it to {_ASK[self.kind]}1"
                )
        return self

    @model_validator(mode="after")
    def _two_checks_of_queries(self) -> Self:
        if self.kind == "passages":
            return self
        different = [c for at, c in enumerate(self.checks) if c not in self.checks[:at]]
        if len(different) < _BOTH:
            raise ValueError(
                "kind=queries needs two different checks, since a rephrased query is no negative;"
                " list two, such as prompts answerable-1 and answerable-2"
            )
        return self
