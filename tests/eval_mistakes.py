"""Mistakes in what `pyrite eval` is asked to measure."""

from __future__ import annotations

from mistake_case import Case, put


def given(override: str, *says: str, more: tuple[str, ...] = ()) -> Case:
    return Case(says, (override, *more), verb="eval")


def eval_cases() -> dict[str, Case]:
    return {**hub_cases(), **table_cases(), **run_cases()}


def hub_cases() -> dict[str, Case]:
    words = ("eval.source.kind=bm25s",)
    return {
        "unknown name of BEIR's": given(
            "dataset.path=scifct", "scifct: no such dataset folder", "did you mean 'scifact'?"
        ),
        "name of BEIR's without a network": given(
            "dataset.path=scifact", "HF_HUB_OFFLINE", "set dataset.path to its folder"
        ),
        "unknown task of mteb": given(
            "eval.mteb_tasks=[Scifct]", "eval.mteb_tasks", "'Scifct'", "'SciFact'", more=words
        ),
        "task of mteb without a network": given(
            "eval.mteb_tasks=[SciFact]",
            "task SciFact: mteb cannot load mteb/scifact",
            "--data FOLDER",
            more=("eval.source.kind=bm25s", "dataset={}"),
        ),
    }


def table_cases() -> dict[str, Case]:
    return {
        "two systems of one name": given(
            "eval.models=[bm25s, bm25s]", "'bm25s'", "{model: ..., name: ...}"
        ),
        "two datasets of one name": given(
            "eval.datasets=[TMP/data, TMP/data]", "'data-test'", "eval.datasets"
        ),
        "a model without its name": given("eval.models=[{name: x}]", "eval.models.0.model"),
        "a later dataset that is not there": given(
            "eval.datasets=[TMP/data, TMP/none]", "TMP/none: no such dataset folder"
        ),
        "a later split that is not there": given(
            "eval.datasets=[TMP/data, {path: TMP/data, split: dev}]", "dev.tsv: no such split"
        ),
        "a query model of several models": given(
            "eval={query_model: x, models: [a, b]}", "query_model=x", "2 in eval.models"
        ),
        "several models in training": Case(
            ("eval.models is for pyrite eval", "remove it"), ("eval.models=[a]",), verb="train"
        ),
        "an unknown tool": given("eval.also=[ranx]", "eval.also.0='ranx'", "'mteb' or 'beir'"),
    }


def run_cases() -> dict[str, Case]:
    strange = "q0 Q0 d0000 1 1.0 x\nnobody Q0 d0000 1 1.0 x\n"
    return {
        "a run that is not there": given("eval.runs=[TMP/x.run]", "TMP/x.run: no such run file"),
        "a run of unknown documents": Case(
            ("TMP/x.run:1: unknown corpus id 'zzz'",),
            ("eval.runs=[TMP/x.run]",),
            put("x.run", "q0000 Q0 zzz 1 1.0 x\n"),
            verb="eval",
        ),
        "a run of unknown queries alone": Case(
            ("no query has a result", "set eval.convention=pyrite"),
            ("eval.runs=[TMP/x.run]", "eval.convention=trec_eval"),
            put("x.run", strange.replace("d0000", "d0001")),
            verb="eval",
        ),
        "a run for tasks of mteb": Case(
            ("TMP/x.run: a run file cannot be searched with", "name a model"),
            ("eval.runs=[TMP/x.run]", "eval.mteb_tasks=[SciFact]", "dataset={}"),
            put("x.run", strange),
            verb="eval",
        ),
    }
