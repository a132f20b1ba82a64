"""What the encoders share: lengths without a tokenizer, unit vectors, optional packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoder import F32
from ..errors import MissingExtraError
from ..ids import I64

_BYTES_PER_TOKEN = 4
_SMALLEST_NORM = 1e-12


def approximate_lengths(texts: Sequence[str], prompt: str = "") -> I64:
    """Tokens of each prompt and text where no tokenizer is at hand, int64 [len(texts)].

    A quarter of the UTF-8 bytes, rounded up, at least 1. For English that is the usual four
    characters a token; scripts with longer code points get about a token for a sign or two.
    """
    before = len(prompt.encode("utf-8", "surrogatepass"))
    sizes = [before + len(t.encode("utf-8", "surrogatepass")) for t in texts]
    return np.maximum(-(-np.array(sizes, dtype=np.int64) // _BYTES_PER_TOKEN), 1)


def unit_rows(vectors: F32) -> F32:
    """Rows of float32 [n, D] divided by their lengths; a row of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, _SMALLEST_NORM), dtype=np.float32)


def bad_rows(vectors: npt.NDArray[np.floating[Any]]) -> I64:
    """Rows of [n, D] with NaN or infinity, ascending."""
    return np.flatnonzero(~np.isfinite(vectors).all(axis=1)).astype(np.int64)


def require(feature: str, extra: str, *packages: str) -> None:
    """Raise MissingExtraError for the first of `packages` that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(feature, package, extra)
