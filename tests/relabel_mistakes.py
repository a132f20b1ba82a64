"""Mistakes in a relabelling configuration, for `mistakes.CASES`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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


def relabel_mistakes() -> dict[str, Case]:
    return {**_judges(), **_operations()}


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
            "order_check=true", "set double_judge", more=("order_check=true",)
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
