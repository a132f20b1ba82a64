"""What a run would take: calls, tokens and money of the writer and of each check."""

from __future__ import annotations

from collections.abc import Sequence

from ..relabel.case import Estimate
from ..relabel.estimate import StageEstimate
from ..relabel.price import Price
from .asked import Asked
from .making import Making, case_of


def estimate(making: Making) -> list[StageEstimate]:
    """The writer's, then each check's: as if every text passed all rules and checks before it.

    What is stored costs nothing. Retries are not in it.
    """
    writer, config = making.writing.writer, making.config
    labels = [writer.label, *(check.judge.label for check in making.checks)]
    found = [StageEstimate(label) for label in labels]
    for block in making.anchors.blocks(config.block_rows, config.most_truths):
        for one in block:
            if not making.seen_whole(one):
                continue
            takes, known = making.writing.estimate(one)
            _add(found[0], config.n, takes, writer.price)
            texts = _stand_ins(one, config.n) if known is None else _sifted(making, one, known)
            for total, check in zip(found[1:], making.checks, strict=True):
                if texts:
                    judged = check.judge.estimate(case_of(one, texts))
                    _add(total, len(texts), judged, check.judge.price)
    return found


def _sifted(making: Making, asked: Asked, texts: Sequence[str]) -> list[str]:
    return [text for _, text in making.sieve.sift(asked, texts)[0]]


def _stand_ins(asked: Asked, n: int) -> list[str]:
    """Texts of the right length, none of which a store can know."""
    return [" ".join([f"text-{i}", *["word"] * (asked.words - 1)]) for i in range(n)]


def _add(total: StageEstimate, texts: int, one: Estimate, price: Price) -> None:
    total.pairs += texts
    total.calls += one.calls
    total.prompt_tokens += one.prompt_tokens
    total.completion_tokens += one.completion_tokens
    total.cost += price.cost(one.prompt_tokens, one.completion_tokens)
