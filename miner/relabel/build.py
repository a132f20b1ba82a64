"""The judges of a configuration with the store and the budget that they share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...core.digest import u64
from ...core.encoders.build import build_encoder
from ...core.errors import PyriteError
from ...core.functions import imported_function
from .budget import Budget, Spent
from .cascade import Stage
from .case import Judge
from .config import RelabelConfig, StageConfig
from .judges.build import build_judge
from .judges.config import ChatConfig, CrossConfig, LocalConfig
from .judges.duplicates import DuplicatesJudge
from .judges.embedding import EmbeddingJudge
from .judges.scripted import ScriptedJudge
from .verdict_store import VerdictStore

STORE = "verdicts.sqlite"
_WITHOUT_STORE = ("duplicates", "embedding", "scripted")


@contextmanager
def built(
    config: RelabelConfig, judges: Sequence[Judge] | None
) -> Iterator[tuple[list[Stage], Spent]]:
    """The stages of a configuration, and what earlier calls of this run took.

    `judges` stand in the place of the configured ones. The store is opened for judges that use it
    and closed at the end of the block; a dry run makes none.
    """
    if judges is not None and len(judges) != len(config.stages):
        raise PyriteError(
            f"{len(judges)} judges for {len(config.stages)} stages; give one for each of stages"
        )
    if judges is not None or all(stage.judge in _WITHOUT_STORE for stage in config.stages):
        maker = _Maker(config, None, None, Budget())
        made = [maker.judge(at) for at in range(len(config.stages))] if judges is None else judges
        yield [_stage(config, at, judge, None) for at, judge in enumerate(made)], Spent()
        return
    with ExitStack() as stack:
        path = config.cache / STORE
        if config.dry_run and not path.exists():
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE
        paid = stack.enter_context(VerdictStore(path, str(config.run_folder.resolve())))
        # what runs on this machine is no part of a budget
        own = stack.enter_context(VerdictStore(path))
        before = paid.spent()
        maker = _Maker(config, paid, own, Budget(config.max_cost, config.max_calls, before))
        stages = []
        for number, section in enumerate(config.stages):
            turns = config.order_check and section.judge in ("chat", "local")
            twin = maker.judge(number, turned=True) if turns else None
            stages.append(_stage(config, number, maker.judge(number), twin))
        yield stages, before


def _stage(config: RelabelConfig, number: int, judge: Judge, twin: Judge | None) -> Stage:
    section = config.stages[number]
    return Stage(judge, section.goes_on, section.judge != "duplicates", twin)


@dataclass(frozen=True, slots=True)
class _Maker:
    config: RelabelConfig
    paid: VerdictStore | None
    own: VerdictStore | None
    budget: Budget

    def judge(self, number: int, turned: bool = False) -> Judge:
        stage, knob = self.config.stages[number], f"stages[{number}]"
        if stage.judge == "duplicates":
            return DuplicatesJudge(stage.near)
        if stage.judge == "embedding":
            encoder = build_encoder(stage.embedding.encoder, self.config.cache)
            return EmbeddingJudge(encoder, stage.embedding)
        if stage.judge == "scripted":
            name = stage.scripted.function
            return ScriptedJudge(imported_function(name, f"{knob}.scripted.function"), name)
        section, key = _section(stage)
        store = self.paid if stage.judge == "chat" else self.own
        if store is None:
            raise ValueError(f"{stage.judge} without a store")
        # by model, not by place: a stage put in front of it must not buy its verdicts again
        seed = u64(f"{self.config.seed}\0{section.model}", salt="turned" if turned else "order")
        return build_judge(section, store, self.budget, seed, f"{knob}.{key}")


def _section(stage: StageConfig) -> tuple[ChatConfig | LocalConfig | CrossConfig, str]:
    if stage.judge == "chat":
        return stage.chat, "chat"
    if stage.judge == "local":
        return stage.local, "local"
    return stage.cross_encoder, "cross_encoder"
