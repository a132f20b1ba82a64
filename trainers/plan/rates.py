"""What was measured of a machine, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds that grow with documents N, queries Q and their product; none is below 0."""

    fixed: float = 0.0
    documents: float = 0.0
    queries: float = 0.0
    products: float = 0.0

    def at(self, documents: float, queries: float) -> float:
        """Seconds for so many documents and queries."""
        product = self.products * documents * queries
        return self.fixed + self.documents * documents + self.queries * queries + product

    def __add__(self, other: Line) -> Line:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Line(*(left + right for left, right in pairs))

    @classmethod
    def through(cls, points: Sequence[tuple[float, float, float]], terms: str = "1NQP") -> Line:
        """The line nearest to measured (documents, queries, seconds), by relative errors.

        `terms` are those that may be above 0: 1, N, Q and the product P.
        """
        from scipy.optimize import nnls

        columns = {
            "1": [1.0 for _ in points],
            "N": [n for n, _, _ in points],
            "Q": [q for _, q, _ in points],
            "P": [n * q for n, q, _ in points],
        }
        seconds = np.maximum([s for _, _, s in points], 1e-6)
        table = np.array([columns[term] for term in terms]).T / seconds[:, None]
        # columns of one size, or the solver takes small ones for zero
        scale = np.maximum(table.max(axis=0), 1e-300)
        found, _ = nnls(table / scale, np.ones(len(points)))
        values = dict(zip(terms, (found / scale).tolist(), strict=True))
        return cls(*(values.get(term, 0.0) for term in "1NQP"))


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds by their unit, as measured; None: not measured.

    `encode` and `train` are operations in a second (`encode` by role); `train_start` and `save`
    are seconds around a training and for each checkpoint; `tokens` are tokenized in a second.
    `build` and `probe` are seconds for a multiplication of an approximate index, `table` for
    a byte of its codes; `measure` is for
    the queries' measures, `compare` for one query in the comparison of
    three systems; `write` is bytes in a second and `sync` seconds for a file.
    """

    load: float
    encode: Mapping[str, float | None]
    tokens: float
    train: float | None
    train_start: float
    save: float
    read: Line
    reopen: Line
    dense: Line
    lexical: Line
    overhead: Line
    choose: Line
    measure: Line
    compare: float
    build: float | None
    probe: float | None
    table: float | None
    write: float
    sync: float
    hardware: str
    date: str
    depth: int
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rates:
        """Inverse of `as_json`."""
        lines = ("read", "reopen", "dense", "lexical", "overhead", "choose", "measure")
        read = {name: Line(**data[name]) for name in lines}
        return cls(**{**data, **read, "notes": tuple(data["notes"])})
