"""Mistakes in the section `train.loss`."""

from __future__ import annotations

from collections.abc import Callable

from mistake_case import Case


def loss_cases() -> dict[str, Case]:
    here = "train.loss"

    def given(*settings: str) -> Callable[..., Case]:
        return lambda *says: Case(says, tuple(f"{here}.{setting}" for setting in settings))

    return {
        "unknown loss": given("name=nope")(f"{here}.name='nope'", "'info_nce'"),
        "another loss's parameter": given("alpha=1")(
            f"{here}.alpha has no effect", "name=info_nce", "hardness, soft_info_nce or cluster_ns"
        ),
        "a direction twice": given("directions=[q2d,q2d]")(f"{here}.directions", "twice"),
        "no positive compared": given("directions=[q2q]")(f"{here}.directions needs q2d or d2q"),
        "softmax without a positive": given("directions=[q2d,d2d]", "partition=per_direction")(
            f"{here}.partition=per_direction", "set partition=joint"
        ),
        "a loss of one direction": given("name=ccl", "directions=[d2q]")("ccl", "[q2d]"),
        "a floor for products": given("name=debiased", "similarity=dot")(f"{here}.similarity=cos"),
        "easy negatives preferred": given("name=hcl", "beta=-1")(f"{here}.beta=-1", "at least 0"),
        "no band of margins": given("name=cluster_ns", "alpha=0.6")(
            f"{here}.alpha=0.6", f"{here}.beta=0.5"
        ),
        "weights below 0": given("name=soft_info_nce", "beta=0")(f"{here}.beta=0", "above 0"),
        "documents' scores for queries": given(
            "name=soft_info_nce", "source=bm25_documents", "directions=[q2d,d2q]"
        )(f"{here}.directions=[q2d]", f"{here}.source=bm25_queries"),
    }
