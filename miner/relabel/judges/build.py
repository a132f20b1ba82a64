"""From a section of the configuration to a judge."""

from __future__ import annotations

from collections.abc import Mapping

from ..budget import Budget
from ..case import Judge, Verdict
from ..verdict_store import VerdictStore
from .answerer import Answerer
from .config import ChatConfig, CrossConfig, LocalConfig
from .stored import StoredJudge

JudgeSection = ChatConfig | LocalConfig | CrossConfig


def build_judge(
    section: JudgeSection,
    store: VerdictStore,
    budget: Budget,
    seed: int,
    knob: str,
    people: Mapping[str, Verdict] | None = None,
) -> Judge:
    """The judge that `section` describes, with its replies in `store`.

    It is not asked about pairs that `people` decided, unless the store has its own verdict.
    `seed` decides the order in which a language model is shown documents: give each stage its own.
    Errors name the configuration section `knob`. Raises PyriteError if the section lacks something,
    and MissingExtraError for a chat server without the package `openai`.
    """
    return StoredJudge(answerer_of(section, budget, seed, knob), store, budget, people)


def answerer_of(section: JudgeSection, budget: Budget, seed: int, knob: str) -> Answerer:
    """The answerer that `section` describes; it loads no model yet. Raises as `build_judge`."""
    if isinstance(section, ChatConfig):
        from .chat import ChatAnswerer

        return ChatAnswerer(section, budget, seed, knob)
    if isinstance(section, LocalConfig):
        from .local import LocalAnswerer

        return LocalAnswerer(section, seed, knob)
    from .cross import CrossAnswerer

    return CrossAnswerer(section, knob)
