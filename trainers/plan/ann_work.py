"""Multiplications and bytes of an approximate index, from its factory string."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from ...indexes.config import IndexConfig

_IVF = re.compile(r"(?:IVF(\d+),)?(Flat|SQ8|SQfp16|PQ(\d+))(,RFlat)?")
# bytes of a number that is no code
_NUMBERS = {"Flat": 4, "SQfp16": 2, "SQ8": 1}
_HNSW = re.compile(r"HNSW(\d+)(?:,Flat)?")
# FAISS: k-means has 10 rounds on at most 256 vectors a centroid, a product quantizer 25 rounds
_ROUNDS, _PER_CENTROID, _CODE_ROUNDS, _CODES = 10, 256, 25, 256
_LEAST_PER_LIST = 39
_DEFAULT_EF_BUILD, _DEFAULT_EF = 40, 16


@dataclass(frozen=True, slots=True)
class AnnWork:
    """An index by its numbers: `lists` 0 without an IVF, `code` bytes of PQ, 0 with none.

    `stored` is how FAISS calls what a list holds.
    """

    dimension: int
    lists: int
    probes: int
    bytes_each: float
    code: int
    links: int
    ef: int
    ef_build: int
    train_size: int
    stored: str = "Flat"

    def build(self, documents: int) -> float:
        """Multiplications to train and fill it."""
        d = self.dimension
        if self.links:
            return documents * max(1.0, math.log2(documents)) * self.ef_build * d
        lists = min(documents, self.train_size, _PER_CENTROID * self.lists) * self.lists
        total = float(_ROUNDS * lists * d + documents * (self.lists + 1) * d)
        if self.code:
            sample = min(documents, self.train_size, _PER_CENTROID * _CODES)
            total += (_CODE_ROUNDS * sample + documents) * _CODES * d
        return total

    def search(self, documents: int, queries: int, k: int) -> float:
        """Multiplications (for PQ: additions) to search so many queries."""
        d = self.dimension
        if self.links:
            return float(queries) * max(self.ef, k) * 2 * self.links * d
        share = min(1.0, self.probes / self.lists) if self.lists else 1.0
        tables = _CODES * d if self.code else 0
        return queries * (self.lists * d + tables + share * documents * (self.code or d))

    def memory(self, documents: int) -> int:
        """Bytes that it holds."""
        numbers = 8 * documents if self.lists else 0
        links = 8 * self.links * documents
        tables = 4 * self.dimension * (self.lists + (_CODES if self.code else 0))
        return int(self.bytes_each * documents) + numbers + links + tables

    def scaled(self, documents: int) -> tuple[AnnWork, str]:
        """The same kind of index for fewer documents, and its factory string."""
        lists = min(self.lists, max(1, documents // _LEAST_PER_LIST)) if self.lists else 0
        small = replace(self, lists=lists, probes=min(self.probes, max(lists, 1)))
        if self.links:
            return small, f"HNSW{self.links}"
        return small, f"IVF{lists},{self.stored}" if lists else self.stored


def ann_work(config: IndexConfig, dimension: int) -> AnnWork | None:
    """The numbers of a factory string, None for one that there is no formula for."""
    ivf, hnsw = _IVF.fullmatch(config.factory), _HNSW.fullmatch(config.factory)
    if hnsw is not None:
        return AnnWork(
            *(dimension, 0, 1, 4.0 * dimension, 0, int(hnsw[1])),
            config.ef_search or _DEFAULT_EF,
            config.ef_construction or _DEFAULT_EF_BUILD,
            config.train_size,
        )
    if ivf is None:
        return None
    code = int(ivf[3] or 0)
    each = float(code or _NUMBERS[ivf[2]] * dimension) + (4.0 * dimension if ivf[4] else 0.0)
    lists, probes = int(ivf[1] or 0), config.nprobe or 1
    return AnnWork(
        *(dimension, lists, probes, each, code, 0, 0, 0, config.train_size), stored=ivf[2]
    )
