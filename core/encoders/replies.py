"""The vectors of a server's answer, or a failure with its remedy."""

from __future__ import annotations

import json

import numpy as np

from ..encoder import F32
from ..server.failures import Failure
from .common import bad_rows

_CHECK_REPLY = "check that encoder.openai.model is an embedding model of this server"


def vectors_from(body: bytes, rows: int) -> F32:
    """The vectors of a reply in the order of the request, float32 [rows, D].

    Raises Failure for anything but one finite vector of equal width for each index below `rows`.
    """
    try:
        items = json.loads(body)["data"]
        indices = [int(item["index"]) for item in items]
        vectors = np.array([item["embedding"] for item in items], dtype=np.float32)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Failure("sent a reply that is not a list of embeddings", _CHECK_REPLY) from None
    if sorted(indices) != list(range(rows)):
        missing = sorted(set(range(rows)) - set(indices))
        detail = f"none for text {missing[0]}" if missing else f"{len(indices)} vectors"
        raise Failure(
            f"answered {rows} texts with wrong indices ({detail})",
            "lower encoder.openai.request_texts, or report it to whoever runs the server",
        )
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise Failure("sent embeddings that are not vectors", _CHECK_REPLY)
    bad = bad_rows(vectors)
    if bad.size:
        raise Failure(
            f"returned NaN or infinity for {bad.size} of {rows} texts",
            "check the server's dtype, or set encoder.openai.max_chars to what its model takes",
        )
    return np.ascontiguousarray(vectors[np.argsort(indices, kind="stable")])
