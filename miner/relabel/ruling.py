"""What a stage's verdicts mean for the pairs of a row: decided, or on to the next stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .case import Judgement, Verdict

Counted = Literal["better_or_equal", "relevant"]
Forward = Literal["unsure", "relevant", "row"]
Ruling = Literal["clean", "false_negative", "unknown", "forwarded"]


def is_false_negative(verdict: Verdict, counted: Counted) -> bool | None:
    """Whether the document is a false negative; None where the judge did not say.

    `better_or_equal` counts what is at least as good as the truths, and all that is relevant where
    the judge does not compare; `relevant` counts what is worse than the truths as well.
    """
    if verdict.relevant is None:
        return None
    return verdict.relevant and (counted == "relevant" or verdict.vs_truth != "worse")


def rulings(
    verdicts: Sequence[Verdict], counted: Counted, forward: Forward | None, sampled: bool
) -> list[Ruling]:
    """The ruling of each of a row's documents; `forward` None: the last stage, which decides.

    `unsure` passes on what has no verdict, `relevant` what is relevant too, `row` all documents of
    a row with one of either. All documents of a `sampled` row go on.
    """
    if forward is None:
        return [_decided(verdict, counted) for verdict in verdicts]
    going = [sampled or _goes_on(verdict, forward) for verdict in verdicts]
    if forward == "row" and any(going):
        going = [True] * len(going)
    return [
        "forwarded" if goes else _decided(verdict, counted)
        for verdict, goes in zip(verdicts, going, strict=True)
    ]


def _goes_on(verdict: Verdict, forward: Forward) -> bool:
    return verdict.relevant is None or (forward != "unsure" and verdict.relevant)


def _decided(verdict: Verdict, counted: Counted) -> Ruling:
    found = is_false_negative(verdict, counted)
    if found is None:
        return "unknown"
    return "false_negative" if found else "clean"


def reason(verdict: Verdict, judgement: Judgement) -> str:
    """Why a document without a verdict has none: the call's state, or `abstained`."""
    failed = judgement.state != "ok" and verdict.probability is None
    return judgement.state if failed else "abstained"
