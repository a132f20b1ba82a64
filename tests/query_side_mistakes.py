"""Mistakes with query-side training and with the models that come of it."""

from __future__ import annotations

from mistake_case import Case


def query_side_cases() -> dict[str, Case]:
    def train(options: str, *says: str, more: tuple[str, ...] = ()) -> Case:
        return Case(says, (f"train={{kind: query-side, {options}}}", *more), verb="train")

    ranked, knob = "loss: {name: lambda_rank}", "eval.query_model"
    return {
        "query side without lists": train(
            "steps: 2", "train.loss.name=info_nce", "set train.loss.name=lambda_rank"
        ),
        "query side with mined negatives": train(
            f"negatives: 1, {ranked}", "train.kind=query-side", "train.negatives", "remove it"
        ),
        "query side deeper than the corpus": train(
            ranked, "train.neg_topk=200", "40 documents", "set train.neg_topk to at most 40"
        ),
        "query side with another similarity": train(
            ranked,
            "train.loss.similarity=cos",
            "encoder.normalize=false",
            "set train.loss.similarity=dot",
            more=("encoder.normalize=false",),
        ),
        "query side's depth elsewhere": Case(
            ("train.neg_topk has", "train.kind=query-side", "remove it"),
            ("train.neg_topk=20",),
            verb="train",
        ),
        "query model in training": Case(
            (f"{knob}=TMP/tiny", "pyrite eval", "remove it"), (f"{knob}=TMP/tiny",), verb="train"
        ),
        "no such query model": Case(
            (f"{knob}='TMP/nowhere'", f"set {knob}"), (f"{knob}=TMP/nowhere",), verb="eval"
        ),
    }
