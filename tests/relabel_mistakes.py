"""Mistakes in a relabelling configuration, for `mistakes.CASES`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from mistake_case import Case

FLAG = {"query": "q", "pos": ["p"], "neg": ["n", "m"]}
TRIPLET = {"anchor": "q", "positive": "p", "negative": "n"}
STAGE = "{judge: scripted, scripted: {function: 'relabel_cases:nothing'}}"


def setup(record: Mapping[str, object], text: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / "train.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
        (folder / "config.yaml").write_text(f"stages: [{STAGE}]\n{text}", encoding="utf-8")

    return spoil


def given(
    *says: str,
    more: tuple[str, ...] = (),
    record: Mapping[str, object] = FLAG,
    text: str = "",
    data: str = "TMP/train.jsonl",
) -> Case:
    folders = ("runs_dir=TMP/out", "cache_dir=TMP/cache")
    overrides = (*folders, *((f"data.path={data}",) if data else ()), *more)
    return Case(says, overrides, setup(record, text), "relabel")


def stage(fields: str, *says: str) -> Case:
    return given(*says, more=(f"stages=[{{{fields}}}]",))


def calibrated(fields: str, *says: str, labels: str = "stored") -> Case:
    case = stage(fields, *says)
    return replace(case, overrides=(*case.overrides, f"--labels={labels}"), verb="calibrate")


def relabel_mistakes() -> dict[str, Case]:
    return {**_judges(), **_operations(), **_review()}


def _judges() -> dict[str, Case]:
    chat = "judge: chat, chat: {base_url: 'http://127.0.0.1:9/v1', model: m"
    return {
        "no such judge": stage("judge: nope", "stages.0.judge='nope'", "'duplicates'"),
        "nearer than equal": stage("judge: duplicates, near: 1.5", "near=1.5", "equal to 1"),
        "a band that is none": stage(
            "judge: embedding, embedding: {low: 0.9, high: 0.1}", "low=0.9", "high=0.1"
        ),
        "no function to judge": stage("judge: scripted", "scripted.function", "package.module"),
        "no module to judge": stage(
            "judge: scripted, scripted: {function: 'nope_x:f'}",
            "stages[0].scripted.function=nope_x:f",
            "no module nope_x",
        ),
        "a function that is none": stage(
            "judge: scripted, scripted: {function: 'relabel_cases:nope'}", "has no nope"
        ),
        "no chat server": stage("judge: chat", "stages[0].chat.base_url"),
        "no server there": stage(f"{chat}, max_retries: 0}}", "http://127.0.0.1:9/v1"),
        "no key for the server": stage(
            f"{chat}, api_key_env: PYRITE_NO_SUCH_KEY}}", "PYRITE_NO_SUCH_KEY"
        ),
        "a key in place of its name": stage(
            f"{chat}, api_key_env: sk-0123}}", "chat.api_key_env", "never put the key here"
        ),
        "a band of the cross-encoder that is none": stage(
            "judge: cross-encoder, cross_encoder: {low: 0.9, high: 0.1}", "low=0.9", "high=0.1"
        ),
        "a fit and numbers beside it": stage(
            "judge: cross-encoder, cross_encoder: {calibration: x.json, bias: 1}",
            "cross_encoder.bias has no effect",
            "calibration=x.json",
        ),
        "no such fit": stage(
            "judge: embedding, embedding: {encoder: {kind: callable, callable:"
            " {function: 'relabel_cases:nothing', fingerprint: x, dimension: 2}},"
            " calibration: x.json}",
            "stages[0].embedding.calibration=x.json",
            "pyrite calibrate",
        ),
        "a fit of no scores": calibrated("judge: duplicates", "0 of the 1 stages", "--stage"),
        "a fit to no such labels": calibrated(
            "judge: cross-encoder", "--labels nope", "positives", labels="nope"
        ),
        "a fit to its own verdicts": calibrated(
            "judge: cross-encoder", "stages[0]", "the one to fit"
        ),
        "a fit to too few": calibrated(
            "judge: cross-encoder", "0 relevant and 0 other", "at least 30", labels="human"
        ),
        "no such prompt": stage(f"{chat}, prompt: nope}}", "stages[0].chat.prompt='nope'"),
        "no local model": stage("judge: local", "stages[0].local.model"),
        "no cross-encoder to judge": stage("judge: cross-encoder", "stages[0].cross_encoder.model"),
    }


def _operations() -> dict[str, Case]:
    return {
        "relabel nothing": given("TMP/config.yaml", "data", "field required", data=""),
        "relabel no such file": given("TMP/nope", "no such training file", data="TMP/nope"),
        "relabel without stages": given("stages=[]", "at least 1", more=("stages=[]",)),
        "no such operation": given("operation='nope'", "'weight'", more=("operation=nope",)),
        "another order of nothing": given(
            "order_check has no effect", "set double_judge", more=("order_check=true",)
        ),
        "weights of what is dropped": given(
            "operation=weight", "on_unknown=drop", more=("operation=weight", "on_unknown=drop")
        ),
        "worse twice over": given(
            "on_worse=remove",
            "counted=relevant",
            more=("on_worse=remove", "counted=relevant"),
        ),
        "weights without a place": given(
            "FlagEmbedding has no place", "out=parquet", more=("operation=weight",)
        ),
        "one positive alone": given(
            "whose rows hold one positive", "set out=tevatron", record=TRIPLET
        ),
        "one negative alone": given(
            "a fixed number of negatives", more=("operation=remove_negative",), record=TRIPLET
        ),
        "no labels of a person": given(
            "TMP/nope.tsv", "no such file", more=("human=TMP/nope.tsv",)
        ),
        "no such format to relabel": given(
            "data.format", "'nope'", "tevatron", more=("data.format=nope",)
        ),
        "ids without texts to relabel": given(
            "data.corpus",
            record={"query_text": "q", "positive_document_ids": ["1"], "negative_document_ids": []},
        ),
    }


def _review() -> dict[str, Case]:
    def called(flag: str, *says: str) -> Case:
        return replace(given(*says, more=("--reviewer=ann", flag)), verb="review")

    return {
        "review before a run": called("--all", "no finished run to review", "run pyrite relabel"),
        "review by nobody": called("--reviewer= ", "--reviewer=''", "needs a name"),
        "review of all and of some": called("--sample=0", "--sample=0", "at least 1"),
        "no such port": called("--port=70000", "--port=70000", "from 0 to 65535"),
        "a page where something is": called(
            "--write=TMP/train.jsonl", "--write=TMP/train.jsonl", "never overwritten"
        ),
        "no answers to read": called("--read=TMP/nope", "no finished run to review"),
    }
