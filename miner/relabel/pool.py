"""The workers that judge, with `engine: ray`, and the plan of who judges where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ...core.engine.actors import Actors
from ...core.engine.session import open_session
from .config import JudgeConfig, RelabelConfig
from .judges.pooled import JudgeWorker, Pool, why_not_pooled

_HERE = {
    "chat": "a server judges, and the budget is kept where the calls are made",
    "duplicates": "it has no model",
    "scripted": "it is a function of this process",
}


@contextmanager
def judge_pool(config: RelabelConfig) -> Iterator[Pool | None]:
    """Workers for the models of a configuration, for as long as the context is entered.

    None with `engine: local`, for a dry run, which asks nobody, and where no stage has a model. The
    plan is printed before the first worker starts.
    """
    if config.engine == "local" or config.dry_run:
        yield None
        return
    session = open_session(config.ray)
    pooled = False
    for number, stage in enumerate(config.stages):
        reason = why_here(stage)
        where = f"on the driver: {reason}" if reason else f"on {session.room()} workers"
        session.plan(f"judge: stages[{number}] ({stage.judge}) {where}")
        pooled = pooled or reason is None
    if not pooled:
        yield None
        return
    with closing(Actors(session, JudgeWorker, "judge")) as pool:
        yield pool


def why_here(stage: JudgeConfig) -> str | None:
    """Why a stage's judge stays in this process; None: it may stand in a pool."""
    if stage.judge == "embedding":
        return why_not_pooled(stage.embedding.encoder)
    return _HERE.get(stage.judge)
