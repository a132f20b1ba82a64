"""Copies of a positive are positives: a judge that costs nothing and asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ....core.digest import digest_json
from ....core.errors import PyriteError
from ...near_duplicates import jaccard, shingles
from ...text_keys import doc_keys
from ..case import UNKNOWN, Case, Estimate, Judgement, Verdict
from ..price import FREE, Price

_SAME = Verdict(True, "equal", 1.0, "the id or the text of a positive")
_NEAR = Verdict(True, "equal", 1.0, "nearly the text of a positive")


class DuplicatesJudge:
    """Calls equal and near copies of a truth relevant, and says nothing about other documents.

    Two texts are near if their sets of runs of 5 words have a Jaccard index of at least `near`;
    None: only equal ids and texts count.
    """

    def __init__(self, near: float | None = 0.8) -> None:
        if near is not None and not 0 < near <= 1:
            raise PyriteError(f"stages: near={near} must be in (0, 1]; set near to such a number")
        self._near = near

    @property
    def label(self) -> str:
        return "duplicates"

    @property
    def key(self) -> str:
        return digest_json({"judge": "duplicates", "near": self._near})

    @property
    def price(self) -> Price:
        return FREE

    @property
    def stopped(self) -> str | None:
        return None

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Judgement]]:
        for case in cases:
            yield case, Judgement("ok", tuple(self._verdicts(case)))

    def estimate(self, case: Case) -> Estimate:
        return Estimate(0, 0, 0)

    def _verdicts(self, case: Case) -> Iterator[Verdict]:
        known = {key for truth in case.truths for key in doc_keys(truth)}
        sets = [shingles(t.full) for t in case.truths if t.full.strip()]
        for doc in case.documents:
            if known.intersection(doc_keys(doc)):
                yield _SAME
            elif self._near is not None and doc.full.strip():
                mine, near = shingles(doc.full), self._near
                yield _NEAR if any(jaccard(mine, other) >= near for other in sets) else UNKNOWN
            else:
                yield UNKNOWN
