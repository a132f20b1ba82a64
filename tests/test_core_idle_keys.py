"""Keys that nothing reads, in every section; and keys beside them that something does read."""

from __future__ import annotations

from typing import Any

import pytest

from pyrite.core.config import Section, parse_config
from pyrite.core.errors import PyriteError
from pyrite.eval.nevir import NevirConfig
from pyrite.miner.made.config import MakeConfig
from pyrite.miner.relabel.config import RelabelConfig
from pyrite.trainers.run_config import TrainConfig

BEIR = {"path": "data"}


def stage(**fields: Any) -> dict[str, Any]:
    return {"data": {"path": "f"}, "stages": [fields]}


IDLE: list[tuple[type[Section], dict[str, Any], str]] = [
    (TrainConfig, {"sampler": {"mix": [{"name": "topk"}], "n": 9}}, "sampler.n has no effect with"),
    (TrainConfig, {"sampler": {"mix": [{"name": "topk", "a": 2}]}}, "sampler.mix.0.a has no"),
    (TrainConfig, {"filters": {"clusters": 9}}, "set filters.max_per_cluster"),
    (TrainConfig, {"filters": {"cluster_device": "cuda"}}, "chosen by cluster; remove it or set"),
    (
        TrainConfig,
        {"filters": {"cluster_device": "cuda"}, "train": {"loss": {"name": "cluster_ns"}}},
        "filters.cluster_device has no effect",
    ),
    (
        TrainConfig,
        {"train": {"datasets": [{"dataset": BEIR, "filters": {"clusters": 9}}]}},
        "train.datasets.0.filters.clusters has no effect",
    ),
    (TrainConfig, {"encoder": {"kind": "precomputed", "openai": {"model": "m"}}}, "kind=openai"),
    (TrainConfig, {"encoder": {"kind": "precomputed", "max_length": 9}}, "kind=precomputed"),
    (TrainConfig, {"encoder": {"kind": "precomputed", "query_prompt": "q"}}, "callable or openai"),
    (TrainConfig, {"encoder": {"kind": "openai", "dtype": "float16"}}, "encoder.dtype has no"),
    (TrainConfig, {"encoder": {"onnx": {"precision": "int8"}}}, "set encoder.kind=onnx"),
    (TrainConfig, {"dataset": {"path": "x", "max_documents": 99}}, "set dataset.path=stdlib"),
    (
        TrainConfig,
        {"retrieve": {"sources": [{"kind": "bm25s", "index": {"device": "cuda"}}]}},
        "retrieve.sources.0.index.device has no effect with retrieve.sources.0.kind=bm25s",
    ),
    (TrainConfig, {"retrieve": {"sources": [{"lexical": {"k1": 1}}]}}, "kind=bm25s or lucene"),
    (
        TrainConfig,
        {"retrieve": {"sources": [{"kind": "bm25s", "lexical": {"backend": "lucene"}}]}},
        "sources.0.lexical.backend has no effect with retrieve.sources.0.kind=bm25s",
    ),
    (TrainConfig, {"retrieve": {"fuse": "rrf"}}, "list several sources"),
    (TrainConfig, {"retrieve": {"sources": [{"weight": 2}]}}, "retrieve.sources.0.weight has no"),
    (
        TrainConfig,
        {"retrieve": {"sources": [{}, {"kind": "bm25s"}], "rrf_k": 9}},
        "retrieve.rrf_k has no effect with retrieve.fuse=union; remove it or set retrieve.fuse=rrf",
    ),
    (TrainConfig, {"eval": {"source": {"weight": 2}}}, "eval.source.weight has no effect with one"),
    (TrainConfig, {"eval": {"source": {"index": {"nprobe": 2}}}}, "factory=Flat"),
    (TrainConfig, {"eval": {"source": {"index": {"several": "replicate"}}}}, "several GPUs"),
    (
        TrainConfig,
        {"eval": {"source": {"index": {"backend": "faiss", "float16": True}}}},
        "eval.source.index.float16 has no effect",
    ),
    (TrainConfig, {"filters": {"denoise": {"depth": 9}}}, "set filters.denoise.model to a"),
    (TrainConfig, {"train": {"loss": {"name": "triplet", "temperature": 1}}}, "loss.temperature"),
    (TrainConfig, {"train": {"loss": {"name": "ccl", "temperature": 1}}}, "with a temperature"),
    (TrainConfig, {"train": {"loss": {"partition": "per_direction"}}}, "with one direction"),
    (TrainConfig, {"train": {"loss": {"tau_plus": 0.1, "similarity": "dot"}}}, "debiased or hcl"),
    (TrainConfig, {"train": {"replace": {"every": 5}}}, "set train.draw=replace"),
    (TrainConfig, {"train": {"ngame": {"double_at": [1]}}}, "set train.batches=ngame"),
    (TrainConfig, {"train": {"kind": "cross-encoder", "lora": {"r": 4}}}, "train.lora.r has no"),
    (TrainConfig, {"train": {"kind": "cross-encoder", "neg_topk": 4}}, "set train.kind=query-side"),
    (TrainConfig, {"reranker": {"steps": 9}}, "set train.kind=cross-encoder"),
    (TrainConfig, {"refresh": {"mode": "sync", "refresher": "external"}}, "refresh.mode=async"),
    (
        TrainConfig,
        {"refresh": {"mode": "sync", "gate": {}, "keep": 2, "on_stale": "warn"}},
        "async",
    ),
    (TrainConfig, {"refresh": {"keep": 5}}, "set refresh.mode=sync or async"),
    (TrainConfig, {"made": {"negatives": 3}}, "set made.path"),
    (TrainConfig, {"ray": {"workers": 3}}, "ray.workers has no effect with engine=local"),
    (RelabelConfig, {**stage(judge="chat"), "ray": {"workers": 3}}, "set engine=ray"),
    (RelabelConfig, stage(judge="duplicates", chat={"model": "m"}), "stages.0.chat.model has no"),
    (RelabelConfig, stage(judge="chat", near=0.5), "set stages.0.judge=duplicates"),
    (
        RelabelConfig,
        stage(judge="embedding", embedding={"encoder": {"openai": {"model": "m"}}}),
        "stages.0.embedding.encoder.openai.model has no effect",
    ),
    (
        RelabelConfig,
        {**stage(judge="chat"), "operation": "weight", "max_false_negatives": 2},
        "max_false_negatives has no effect with operation=weight",
    ),
    (MakeConfig, {"checks": [{"judge": "chat"}], "one_slot": 2}, "set kind=queries"),
    (
        NevirConfig,
        {"encoder": {"max_length": 64}, "cross_encoder": {"model": "m"}},
        "encoder.max_length has no effect with cross_encoder.model=m",
    ),
    (NevirConfig, {"cross_encoder": {"max_length": 64}}, "set cross_encoder.model"),
]


@pytest.mark.parametrize(("kind", "data", "says"), IDLE, ids=[says for _, _, says in IDLE])
def test_a_key_that_nothing_reads_is_refused(
    kind: type[Section], data: dict[str, Any], says: str
) -> None:
    with pytest.raises(PyriteError) as error:
        parse_config(kind, data)
    assert " has no effect " in str(error.value)
    assert "; remove it" in str(error.value)
    assert says in str(error.value)


USED: list[dict[str, Any]] = [
    {"filters": {"clusters": 9, "max_per_cluster": 1, "cluster_device": "cuda"}},
    {"filters": {"clusters": 9}, "sampler": {"cluster": "second_nearest"}},
    {"filters": {"clusters": 9}, "train": {"loss": {"name": "cluster_ns"}}},
    {
        "filters": {"clusters": 9},
        "train": {"datasets": [{}, {"sampler": {"cluster": "second_nearest"}}]},
    },
    {
        "sampler": {"cluster": "second_nearest"},
        "filters": {"clusters": 9},
        "train": {"datasets": [{}, {"sampler": {"name": "topk"}}]},
    },
    {"encoder": {"kind": "openai", "query_prompt": "q", "batch_tokens": 99, "normalize": False}},
    {"retrieve": {"sources": [{"kind": "lucene", "lexical": {"backend": "lucene", "k1": 1}}]}},
    {"retrieve": {"sources": [{"weight": 2}, {"kind": "bm25s"}], "fuse": "score"}},
    {
        "train": {"loss": {"name": "triplet", "temperature": 1}},
        "refresh": {"mode": "sync", "trigger": {"easy_share": 0.5}},
    },
    {
        "train": {"loss": {"name": "margin_mse", "temperature": 1}},
        "filters": {"denoise": {"model": "m"}},
    },
    {"train": {"kind": "cross-encoder"}, "reranker": {"steps": 9, "negatives": 2}},
    {"engine": "ray", "ray": {"workers": 2}},
]


@pytest.mark.parametrize("data", USED, ids=str)
def test_a_key_that_something_reads_is_not(
    data: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    config = parse_config(TrainConfig, data)
    assert not caplog.messages
    # all keys at once, as a dump has them
    assert parse_config(TrainConfig, config.model_dump(mode="json")) == config
    assert not caplog.messages
