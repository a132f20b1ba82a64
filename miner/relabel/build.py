"""The judges of a configuration with the store and the budget that they share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...core.digest import u64
from ...core.encoders.build import build_encoder
from ...core.errors import PyriteError
from ...core.functions import imported_function
from ...core.run import FolderConfig
from .budget import Budget, Spent
from .cascade import Stage
from .case import Judge, Verdict
from .config import JudgeConfig, RelabelConfig
from .judges.build import build_judge
from .judges.config import ChatConfig, CrossConfig, LocalConfig
from .judges.duplicates import DuplicatesJudge
from .judges.embedding import EmbeddingJudge
from .judges.pooled import Pool, pooled_answerer, pooled_embedding
from .judges.scripted import ScriptedJudge
from .judges.stored import StoredJudge
from .paid_store import STORE
from .pool import judge_pool, why_here
from .verdict_store import VerdictStore

_WITHOUT_STORE = ("duplicates", "embedding", "scripted")


@contextmanager
def built(
    config: RelabelConfig,
    judges: Sequence[Judge] | None,
    people: Mapping[str, Verdict] | None = None,
) -> Iterator[tuple[list[Stage], Spent]]:
    """The stages of a configuration, and what earlier calls of this run took.

    `judges` stand in the place of the configured ones. The store is opened for judges that use it
    and closed at the end of the block; a dry run makes none.
    """
    if judges is not None and len(judges) != len(config.stages):
        raise PyriteError(
            f"{len(judges)} judges for {len(config.stages)} stages; give one for each of stages"
        )
    if judges is not None:
        yield [_stage(config, at, judge, None) for at, judge in enumerate(judges)], Spent()
        return
    with ExitStack() as stack:
        pool = stack.enter_context(judge_pool(config))
        if all(stage.judge in _WITHOUT_STORE for stage in config.stages):
            maker = JudgeMaker(config, None, None, Budget(), pool=pool)
            made = [maker.judge(s, f"stages[{at}]") for at, s in enumerate(config.stages)]
            yield [_stage(config, at, judge, None) for at, judge in enumerate(made)], Spent()
            return
        stores = opened_stores(config.cache, config.run_folder, config.dry_run)
        paid, own = stack.enter_context(stores)
        before = paid.spent()
        budget = Budget(config.max_cost, config.max_calls, before)
        maker = JudgeMaker(config, paid, own, budget, people, pool)
        stages = []
        for number, section in enumerate(config.stages):
            knob = f"stages[{number}]"
            turns = config.order_check and section.judge in ("chat", "local")
            twin = maker.judge(section, knob, turned=True) if turns else None
            stages.append(_stage(config, number, maker.judge(section, knob), twin))
        yield stages, before


@contextmanager
def opened_stores(
    cache: Path, run: Path, dry_run: bool
) -> Iterator[tuple[VerdictStore, VerdictStore]]:
    """The store of verdicts, for what the run in the folder `run` pays and for what is free.

    What runs on this machine is no part of a budget. Closed at the end of the block; a dry run
    makes no file.
    """
    with ExitStack() as stack:
        path = cache / STORE
        if dry_run and not path.exists():
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE
        paid = stack.enter_context(VerdictStore(path, str(run.resolve())))
        yield paid, stack.enter_context(VerdictStore(path))


def _stage(config: RelabelConfig, number: int, judge: Judge, twin: Judge | None) -> Stage:
    section = config.stages[number]
    return Stage(judge, section.goes_on, section.judge != "duplicates", twin)


@dataclass(frozen=True, slots=True)
class JudgeMaker:
    """Makes judges that share stores and a budget; `paid` and `own` are as in `opened_stores`.

    Models that may stand in `pool` do, where there is one.
    """

    config: FolderConfig
    paid: VerdictStore | None
    own: VerdictStore | None
    budget: Budget
    people: Mapping[str, Verdict] | None = None
    pool: Pool | None = None

    def judge(self, stage: JudgeConfig, knob: str, turned: bool = False) -> Judge:
        """The judge that the section `knob` describes; `turned` reads documents in another order.

        Raises PyriteError if the section lacks something.
        """
        if stage.judge == "duplicates":
            return DuplicatesJudge(stage.near)
        pool = self.pool if why_here(stage) is None else None
        if stage.judge == "embedding" and pool is not None:
            return pooled_embedding(stage.embedding, f"{knob}.embedding", pool)
        if stage.judge == "embedding":
            encoder = build_encoder(stage.embedding.encoder, self.config.cache)
            return EmbeddingJudge(encoder, stage.embedding, f"{knob}.embedding")
        if stage.judge == "scripted":
            name = stage.scripted.function
            return ScriptedJudge(imported_function(name, f"{knob}.scripted.function"), name)
        section, key = _section(stage)
        store = self.paid if stage.judge == "chat" else self.own
        if store is None:
            raise ValueError(f"{stage.judge} without a store")
        # by model, not by place: a stage put in front of it must not buy its verdicts again
        seed = u64(f"{self.config.seed}\0{section.model}", salt="turned" if turned else "order")
        knob = f"{knob}.{key}"
        if pool is not None and not isinstance(section, ChatConfig):
            answerer = pooled_answerer(section, seed, knob, pool)
            return StoredJudge(answerer, store, self.budget, self.people)
        return build_judge(section, store, self.budget, seed, knob, self.people)


def _section(stage: JudgeConfig) -> tuple[ChatConfig | LocalConfig | CrossConfig, str]:
    if stage.judge == "chat":
        return stage.chat, "chat"
    if stage.judge == "local":
        return stage.local, "local"
    return stage.cross_encoder, "cross_encoder"
