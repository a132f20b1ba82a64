"""String ids outside, int64 row numbers inside; converted once, at the border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import PyriteError

I64 = npt.NDArray[np.int64]
MAX_ID_BYTES = 512
_NO_ID = b"\xff"  # never part of UTF-8


class DuplicateIdError(PyriteError):
    """Two rows have one id."""

    def __init__(self, where: str, row_id: str, places: str) -> None:
        super().__init__(
            f"{where}: id {row_id!r} stands in {places}; ids must be unique, so rename or"
            " remove one"
        )
        self.row_id = row_id


@dataclass(frozen=True, slots=True)
class IdIndex:
    """Ids of a table: a sorted UTF-8 key array, searched in O(log N), and each row's rank.

    `rank_N` is the position of each row's id in ascending id order. It breaks every tie, so no
    result depends on the order of the rows in a file.
    """

    sorted_keys_N: npt.NDArray[np.bytes_]
    rows_N: I64
    rank_N: I64

    @classmethod
    def build(cls, ids: Sequence[str], where: str) -> IdIndex:
        """Index `ids`; raises DuplicateIdError, or PyriteError for an id over 512 bytes."""
        encoded = [i.encode("utf-8") for i in ids]
        longest = max(encoded, key=len, default=b"")
        if len(longest) > MAX_ID_BYTES:
            raise PyriteError(
                f"{where}: id {longest[:40]!r}... has {len(longest)} bytes, the limit is"
                f" {MAX_ID_BYTES}; shorten the id"
            )
        keys = np.array(encoded, dtype=f"S{max(len(longest), 1)}")
        rows = np.argsort(keys, kind="stable").astype(np.int64)
        ordered = keys[rows]
        same = np.flatnonzero(ordered[1:] == ordered[:-1])
        if same.size:
            first, second = sorted(int(r) for r in rows[same[0] : same[0] + 2])
            raise DuplicateIdError(where, ids[first], f"rows {first + 1} and {second + 1}")
        rank = np.empty(len(ids), dtype=np.int64)
        rank[rows] = np.arange(len(ids))
        return cls(ordered, rows, rank)

    def find(self, ids: Sequence[str]) -> I64:
        """Rows of `ids`, int64 [len(ids)]; -1 where an id is unknown."""
        if not len(ids) or not self.rows_N.size:
            return np.full(len(ids), -1, dtype=np.int64)
        # numpy strips NULs at the end of a key, so an id with one could pass for another id
        wanted = np.array(
            [_NO_ID if "\0" in i else i.encode("utf-8", "surrogatepass") for i in ids]
        )
        at = np.minimum(np.searchsorted(self.sorted_keys_N, wanted), self.rows_N.size - 1)
        return np.where(self.sorted_keys_N[at] == wanted, self.rows_N[at], -1)
