"""The stages of `pyrite relabel` on what a run would mine: calls, tokens and list prices."""

from __future__ import annotations

from collections.abc import Iterator

from ...miner.relabel.build import built
from ...miner.relabel.config import RelabelConfig
from ...miner.relabel.estimate import estimate
from ...miner.training_row import Doc, TrainingRow
from .sizes import Sizes
from .stage import Stage

RELABEL = "relabel"
_ROWS = 200


def judge_stages(config: RelabelConfig, sizes: Sizes, negatives: int) -> Iterator[Stage]:
    """A stage for each judge, from texts of the dataset in as many rows as there are queries.

    How long a judge takes to answer is not known here.
    """
    rows = list(sampled_rows(sizes, negatives))
    expect = [stage.expect for stage in config.stages]
    with built(config.model_copy(update={"dry_run": True}), None) as (stages, _):
        found = estimate(rows, stages, expect, config.double_judge)
    share = sizes.queries / len(rows)
    for one in found:
        tokens = round(share * (one.prompt_tokens + one.completion_tokens))
        amount = (
            f"{share * one.pairs:,.0f} pairs, {share * one.calls:,.0f} calls, {tokens:,} tokens"
        )
        yield Stage(
            *(RELABEL, one.label, amount, None, "unknown", "tokens times list prices"),
            price=share * one.cost,
        )


def sampled_rows(sizes: Sizes, negatives: int) -> Iterator[TrainingRow]:
    """Training rows of sampled texts: what counts of them is how long they are."""
    documents, queries = sizes.document.texts, sizes.query.texts
    for at in range(min(_ROWS, sizes.queries)):
        # far apart in the sample, which is in the order of the lengths
        places = [(at * 619 + column * 389) % len(documents) for column in range(1 + negatives)]
        docs = tuple(Doc(f"{at}-{p}-{c}", "", documents[p]) for c, p in enumerate(places))
        query = queries[at * 619 % len(queries)]
        yield TrainingRow(at + 1, f"q{at}", query, docs[:1], docs[1:])
