"""Mistakes in the options of a training, for `mistakes.CASES`."""

from __future__ import annotations

from mistake_case import Case

POOL = "split: dev, pool_depth: 5"


def given(override: str, *says: str, verb: str = "mine") -> Case:
    return Case((override.partition("=")[0], *says), (override,), verb=verb)


def training_cases() -> dict[str, Case]:
    return {**_options(), **_stopping(), **_datasets(), **_losses(), **_gate()}


def _options() -> dict[str, Case]:
    return {
        "two half precisions": Case(
            ("train.bf16", "train.fp16", "set one"), ("train.bf16=true", "train.fp16=true")
        ),
        "fp16 on a processor": given(
            "train.fp16=true", "needs a CUDA device", "encoder.device=cpu", verb="train"
        ),
        "warm-up of half a step": given("train.warmup=1.5", "warmup=1.5", "share below 1"),
        "steps and epochs": Case(
            ("train.epochs has no effect with train.steps=3", "set train.steps=null"),
            ("train.steps=3", "train.epochs=2"),
        ),
        "LoRA without rank": Case(
            ("lora.alpha has", "set train.lora.r, as 16"), ("train.lora.alpha=8",)
        ),
        "LoRA nowhere": Case(
            ("train.lora.target_modules=['nope']", "linear layer", "query"),
            ("train.lora.r=2", "train.lora.target_modules=[nope]"),
            verb="train",
        ),
        "widths of nothing": given("train.matryoshka_dims=[0]", "[0]", "from 1"),
        "the same width twice": given("train.matryoshka_dims=[8,8]", "[8, 8]", "each once"),
        "width over the model's": given("train.matryoshka_dims=[64]", "at most 32", verb="train"),
        "widths of products": Case(
            ("train.loss.similarity=dot", "train.matryoshka_dims", "similarity=cos"),
            ("train.loss.similarity=dot", "train.matryoshka_dims=[8]"),
        ),
        "unknown schedule": given("train.schedule=sine", "'inverse_sqrt'"),
        "no repository": given("train.push_to_hub=model", "'model'", "pattern"),
        "no token": given("train.push_to_hub=a/b", "HF_TOKEN", "null", verb="train"),
    }


def _stopping() -> dict[str, Case]:
    split = "train.early_stopping.split"
    return {
        "patience without a split": Case(
            ("patience", f"set {split}"), ("train.early_stopping.patience=2",)
        ),
        "stopping by the training split": given(f"{split}=train", "dataset.train_split", "third"),
        "stopping by the held-out split": given(f"{split}=test", "dataset.eval_split", "third"),
        "stopping by no split": given(
            f"{split}=dev", "TMP/data/qrels/dev.tsv", "no such split", "dataset.path", verb="train"
        ),
        "stopping by a copy of the training split": Case(
            (f"{split}=dev", "queries are in dataset.train_split=train"),
            (f"{split}=dev",),
            spoil=lambda folder: (folder / "data/qrels/dev.tsv").write_bytes(
                (folder / "data/qrels/train.tsv").read_bytes()
            ),
            verb="train",
        ),
        "stopping by a path": given(f"{split}=../dev", "pattern"),
        "unknown measure to stop by": Case(
            ("'hits@3'", "ndcg@k"), (f"{split}=dev", "train.early_stopping.measure=hits@3")
        ),
        "pool sources without a pool": Case(
            ("full_every has no effect", "pool_depth=null", "pool_depth, as 100"),
            (f"{split}=dev", "train.early_stopping.full_every=2"),
        ),
        "a pool by positives": Case(
            ("train.early_stopping: pool_sources", "set query=query"),
            (f"train.early_stopping={{{POOL}, pool_sources: [{{query: positive}}]}}",),
        ),
        "a pool of a query side": Case(
            ("train.early_stopping.pool_depth", "train.kind=query-side", "remove it"),
            (
                "train={kind: query-side, loss: {name: lambda_rank},"
                f" early_stopping: {{{POOL}}}}}",
            ),
        ),
    }


def _datasets() -> dict[str, Case]:
    return {
        "datasets with a rule for one": Case(
            ("train.batches=ngame", "train.datasets", "set train.batches=random"),
            ("train.datasets=[{}]", "train.batches=ngame"),
        ),
        "the same dataset twice": given("train.datasets=[{}, {weight: 2}]", "1 is the same as"),
        "a dataset of no weight": Case(
            ("train.datasets.0.weight=0", "greater than 0"), ("train.datasets=[{weight: 0}]",)
        ),
        "a dataset that is held out": Case(
            ("train.datasets.0.dataset.train_split=test", "held out", "another split"),
            ("train.datasets=[{dataset: {path: TMP/data, train_split: test}}]",),
        ),
        "a dataset too small for its weight": Case(
            ("train.datasets.1.weight=1e-05", "so none", "raise it"),
            ("train.datasets=[{}, {weight: 1.0e-5, sampler: {n: 1}}]",),
            verb="train",
        ),
        "a dataset too small for a batch": Case(
            ("train.batch_size=9", "train.datasets.0 (TMP/data) has 3", "at most 3"),
            ("train.datasets=[{}]", "train.batch_size=9"),
            spoil=lambda folder: (folder / "data/qrels/train.tsv").write_text(
                "".join((folder / "data/qrels/train.tsv").open(encoding="utf-8").readlines()[:4])
            ),
            verb="train",
        ),
        "no such dataset": Case(
            ("TMP/nowhere", "no such dataset folder"),
            ("train.datasets=[{}, {dataset: {path: TMP/nowhere}}]",),
            verb="train",
        ),
    }


def _losses() -> dict[str, Case]:
    return {
        "a guide for nothing": Case(
            ("train.guide has no effect", "train.loss.name=info_nce", "gist"),
            ("train.guide={model: minilm}",),
        ),
        "products of unit vectors": Case(
            ("train.loss.guide_similarity=dot", "set encoder.normalize=false"),
            ("train.loss={name: gist, guide_similarity: dot}",),
        ),
        "products of no guide": Case(
            ("train.loss.guide_similarity=dot", "source=bm25_queries", "set train.loss.source"),
            ("train.loss={name: soft_info_nce, source: bm25_queries, guide_similarity: dot}",),
        ),
        "a reranker that is not trained": Case(
            ("reranker.depth has no effect", "train.kind=encoder", "set train.kind=cross-encoder"),
            ("reranker.depth=50",),
        ),
        "a weight of no doubts": Case(
            ("train.loss.weight_floor has no effect", "set train.doubt=cross-encoder"),
            ("train.loss.weight_floor=0.5",),
        ),
        "a key that the kind does not read": Case(
            ("train.kind=cross-encoder", "train.steps", "set reranker.steps"),
            ("train.kind=cross-encoder", "train.steps=2"),
        ),
    }


def _gate() -> dict[str, Case]:
    return {
        "a gate without a split": Case(
            ("refresh.gate: max_ndcg_drop=0.1", "set split beside it"),
            ("refresh={mode: sync, gate: {max_ndcg_drop: 0.1}}",),
        ),
        "a gate by the held-out split": Case(
            ("refresh.gate.split=test", "dataset.eval_split", "third"),
            ("refresh={mode: sync, gate: {split: test}}",),
        ),
        "a gate by no split": Case(
            ("refresh.gate.split=dev", "TMP/data/qrels/dev.tsv", "no such split", "dataset.path"),
            ("refresh={mode: sync, gate: {split: dev}}",),
            verb="train",
        ),
        "an overlap over 1": Case(
            ("refresh.gate.min_overlap=2", "less than or equal to 1"),
            ("refresh={mode: sync, gate: {min_overlap: 2}}",),
        ),
        "a trigger without a share": Case(
            ("refresh.trigger.window", "easy_share=null", "easy_share, as 0.9"),
            ("refresh={mode: sync, trigger: {window: 5}}",),
        ),
    }
