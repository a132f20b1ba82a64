"""Mistakes in the options of a training, for `mistakes.CASES`."""

from __future__ import annotations

from mistake_case import Case


def training_cases() -> dict[str, Case]:
    def given(override: str, *says: str, verb: str = "mine") -> Case:
        return Case((override.partition("=")[0], *says), (override,), verb=verb)

    split = "train.early_stopping.split"
    return {
        "two half precisions": Case(
            ("train.bf16", "train.fp16", "set one"), ("train.bf16=true", "train.fp16=true")
        ),
        "fp16 on a processor": given(
            "train.fp16=true", "needs a CUDA device", "encoder.device=cpu", verb="train"
        ),
        "warm-up of half a step": given("train.warmup=1.5", "warmup=1.5", "share below 1"),
        "LoRA without rank": Case(("train.lora.r", "set it"), ("train.lora.alpha=8",)),
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
        "patience without a split": Case((split, "set it"), ("train.early_stopping.patience=2",)),
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
        "unknown schedule": given("train.schedule=sine", "'inverse_sqrt'"),
        "no repository": given("train.push_to_hub=model", "'model'", "pattern"),
        "no token": given("train.push_to_hub=a/b", "HF_TOKEN", "null", verb="train"),
    }
