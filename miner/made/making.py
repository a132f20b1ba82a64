"""From anchors to made texts, a block at a time: written, sifted, checked, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..relabel.case import Case
from ..training_row import Doc
from .asked import Anchors, Asked
from .check import Check
from .config import MakeConfig
from .made_row import MadeRow, made_id
from .sieve import RULES, Sieve
from .writer import Written
from .writing import Writing

Block = list[tuple[Asked, list[MadeRow]]]
TOO_LONG = "anchor_too_long"


@dataclass(slots=True)
class Making:
    """A run under way, and its counts; nothing here grows with the number of anchors.

    `whole` is the most characters of a document that writer and checks see whole (kind=queries):
    of a longer one nobody can say what it does not answer. None: any.
    """

    config: MakeConfig
    anchors: Anchors
    writing: Writing
    checks: Sequence[Check]
    sieve: Sieve
    whole: int | None = None
    done: int = 0
    states: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)
    written: int = 0

    def blocks(self) -> Iterator[Block]:
        """Each block's anchors with their texts, in id order, whatever arrived first.

        An anchor whose reply could not be read has none: it keeps its mined negatives alone. Raises
        StoppedError if the budget ended.
        """
        config = self.config
        for block in self.anchors.blocks(config.block_rows, config.most_truths):
            shown = [one for one in block if self.seen_whole(one)]
            written = dict(zip([a.id for a in shown], self.writing.write(shown), strict=True))
            left = [self._sifted(one, written.get(one.id)) for one in block]
            for check in self.checks:
                left = self._checked(check, block, left)
            found = [self._rows(one, texts) for one, texts in zip(block, left, strict=True)]
            self.done += len(block)
            self.kept.update(len(rows) for rows in found)
            yield list(zip(block, found, strict=True))

    def seen_whole(self, asked: Asked) -> bool:
        """Whether the anchor is short enough for a judgement of what it does not answer."""
        return self.whole is None or len(asked.text) <= self.whole

    def _sifted(self, asked: Asked, written: Written | None) -> list[tuple[int, str]]:
        if written is None:
            self.states[TOO_LONG] += 1
            return []
        self.states[written.state] += 1
        self.written += len(written.texts)
        kept, dropped = self.sieve.sift(asked, written.texts)
        self.dropped.update(dropped)
        return kept

    def _checked(
        self, check: Check, block: Sequence[Asked], left: Sequence[list[tuple[int, str]]]
    ) -> list[list[tuple[int, str]]]:
        cases = [
            case_of(one, [t for _, t in texts]) for one, texts in zip(block, left, strict=True)
        ]
        return [
            [text for text, passes in zip(texts, passed, strict=True) if passes]
            for texts, passed in zip(left, check.passed(cases), strict=True)
        ]

    def _rows(self, asked: Asked, texts: Sequence[tuple[int, str]]) -> list[MadeRow]:
        writer = self.writing.writer
        row = MadeRow(
            asked.id,
            "",
            "",
            0,
            tuple(doc.id or "" for doc in asked.truths),
            writer.label,
            writer.key,
            self.config.prompt,
            tuple(check.tally.label for check in self.checks),
        )
        return [replace(row, id=made_id(t), text=t, number=number) for number, t in texts]

    def report(self) -> dict[str, Any]:
        """All counts that the replies decide: the same whether a run was interrupted or not.

        `written` are the texts that were kept, dropped by a rule, or stopped by a check.
        """
        without = self.kept[0]
        return {
            "kind": self.config.kind,
            "anchors": self.done,
            "anchors_by_state": dict(sorted(self.states.items())),
            "anchors_without_texts": without,
            "anchors_by_texts": {str(n): count for n, count in sorted(self.kept.items())},
            "asked_for": self.config.n * (self.done - self.states[TOO_LONG]),
            "written": self.written,
            "dropped": {rule: self.dropped[rule] for rule in RULES if self.dropped[rule]},
            "checks": [check.as_json() for check in self.checks],
            "kept": sum(n * count for n, count in self.kept.items()),
            "words": list(self.sieve.band),
        }

    def spent(self) -> dict[str, Any]:
        """What this run paid for: nothing of it is the same in a run that finds it stored."""
        checks = [{"stage": c.tally.label, **c.tally.spent()} for c in self.checks]
        return {"stages": [self.writing.spent(), *checks]}


def case_of(asked: Asked, texts: Sequence[str]) -> Case:
    """What a check is asked about an anchor: whether its texts are relevant beside its truths."""
    documents = tuple(Doc(None, "", text) for text in texts)
    return Case(asked.id, asked.text, asked.truths, documents)
