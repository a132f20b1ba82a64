"""Mistakes about made negatives, for `mistakes.CASES`."""

from __future__ import annotations

from pathlib import Path

from mistake_case import Case

CHECK = "{judge: scripted, scripted: {function: 'made_cases:judge'}}"
WRITER = "{writer: scripted, scripted: {function: 'made_cases:write'}}"
CHAT = "base_url: 'http://127.0.0.1:9/v1', model: m"


def _config(folder: Path) -> None:
    text = f"dataset: {{path: {folder}/data}}\nwriter: {WRITER}\nchecks: [{CHECK}]\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def given(*says: str, more: tuple[str, ...] = ()) -> Case:
    folders = ("runs_dir=TMP/out", "cache_dir=TMP/cache")
    return Case(says, (*folders, *more), _config, "make")


def checks(fields: str, *says: str, kind: str = "passages") -> Case:
    return given(*says, more=(f"checks=[{fields}]", f"kind={kind}"))


def training(override: str, *says: str, more: tuple[str, ...] = (), verb: str = "mine") -> Case:
    return Case(says, (override, *more), verb=verb)


def made_mistakes() -> dict[str, Case]:
    return {**_writers(), **_checks(), **_trainings()}


def _writers() -> dict[str, Case]:
    return {
        "no such kind to make": given("kind='nope'", "'queries'", more=("kind=nope",)),
        "no function to write": given(
            "scripted.function", "package.module", more=("writer={writer: scripted}",)
        ),
        "no module to write": given(
            "writer.scripted.function=nope_x:f",
            "no module nope_x",
            more=("writer.scripted.function=nope_x:f",),
        ),
        "a writer that is not asked": given(
            "local.model has no effect with writer.writer=scripted",
            "set writer.writer=local",
            more=("writer.local.model=x",),
        ),
        "no server to write": given("writer.chat.base_url", more=("writer={writer: chat}",)),
        "no server there to write": given(
            "http://127.0.0.1:9/v1", more=(f"writer={{chat: {{{CHAT}, max_retries: 0}}}}",)
        ),
        "no key for the writer": given(
            "PYRITE_NO_SUCH_KEY",
            more=(f"writer={{chat: {{{CHAT}, api_key_env: PYRITE_NO_SUCH_KEY}}}}",),
        ),
        "no prompt to write by": given(
            "writer.chat.prompt='nope'",
            "passages-1, queries-1",
            more=(f"writer={{chat: {{{CHAT}, prompt: nope}}}}",),
        ),
        "no local model to write": given("writer.local.model", more=("writer={writer: local}",)),
        "lengths upside down": given("low=0.9", "high=0.1", more=("length={low: 0.9, high: 0.1}",)),
        "one slot of a passage": given("one_slot", "kind=passages", more=("one_slot=1",)),
        "no split to write for": given(
            "no such split", more=("dataset={path: TMP/data, train_split: nope}",)
        ),
        "nothing of it is left": given(
            "no text is left",
            "too_long",
            more=("writer.scripted.function=made_cases:write_too_much",),
        ),
    }


def _checks() -> dict[str, Case]:
    return {
        "made without a check": given("checks", "at least 1", more=("checks=[]",)),
        "duplicates as a check": checks(
            "{judge: duplicates}", "checks.0.judge=duplicates", "cross-encoder"
        ),
        "a cross-encoder the wrong way round": checks(
            "{judge: cross-encoder}", "checks.0.judge=cross-encoder", "kind=queries", kind="queries"
        ),
        "one check of queries": checks(CHECK, "two different checks", kind="queries"),
        "the same check twice": checks(f"{CHECK}, {CHECK}", "two different checks", kind="queries"),
        "a check that asks about documents": checks(
            f"{{judge: chat, chat: {{{CHAT}}}}}",
            "checks.0.chat.prompt=relevance-1",
            "set it to answerable-1",
            kind="queries",
        ),
        "a check that asks about queries": checks(
            f"{{judge: chat, chat: {{{CHAT}, prompt: answerable-2}}}}",
            "checks.0.chat.prompt=answerable-2",
            "set it to relevance-1",
        ),
    }


def _trainings() -> dict[str, Case]:
    path = "made.path=TMP/nope"
    return {
        "made negatives that nobody made": training(
            path, path, "no finished run", "pyrite make", verb="train"
        ),
        "made negatives of no path": training(
            "made.negatives=2", "negatives has no effect", "set made.path"
        ),
        "made negatives for a reranker": training(
            path, path, "train.kind=cross-encoder", more=("train={kind: cross-encoder}",)
        ),
        "made negatives with a guide": training(
            path, "train.loss.name=gist needs vectors", more=("train.loss.name=gist",)
        ),
        "made negatives that nobody uses": training(
            path,
            "no item of train.datasets",
            more=("train.datasets=[{dataset: {path: TMP/other}}]",),
        ),
    }
