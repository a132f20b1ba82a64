"""Encoding with a function of the user's: texts in, an array out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..digest import digest_json
from ..encoder import F32, Role
from ..errors import PyriteError
from ..functions import imported_function
from ..ids import I64
from .common import approximate_lengths, bad_rows, unit_rows

if TYPE_CHECKING:
    from ..sbert import EncoderConfig

TextFunction = Callable[[list[str]], Any]
_PROBE = "dimension"


class CallableEncoder:
    """An `Encoder` around functions from a list of texts to an array-like [len(texts), D].

    The functions may return any floating dtype, as numpy, nested lists or a torch tensor; vectors
    come out as float32. `fingerprint` stands for all that they compute: a function's code cannot
    be digested together with the weights it reaches, so whoever changes them changes it. An
    exception inside a function is passed on as it is, with a note that names the function.
    """

    def __init__(
        self,
        function: TextFunction,
        fingerprint: str | None,
        query_function: TextFunction | None = None,
        dimension: int | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        normalize: bool = True,
    ) -> None:
        """Raises PyriteError without a fingerprint or if a function cannot be called."""
        if not fingerprint:
            raise PyriteError(
                "a cache key cannot be computed from a function: set fingerprint="
                " (encoder.callable.fingerprint) to a text that changes when its vectors do"
            )
        self._functions: dict[Role, TextFunction] = {
            "query": query_function or function,
            "document": function,
        }
        for role, chosen in self._functions.items():
            if not callable(chosen):
                raise PyriteError(
                    f"the {role} function is a {type(chosen).__name__}, which cannot be called;"
                    " give a function of a list of texts"
                )
        self._prompts: dict[Role, str] = {"query": query_prompt, "document": document_prompt}
        self._normalize = normalize
        self._dimension = dimension
        self._fingerprint = digest_json(
            {
                "kind": "callable",
                "fingerprint": fingerprint,
                "prompts": [query_prompt, document_prompt],
                "normalize": normalize,
            }
        )

    @property
    def dimension(self) -> int:
        if self._dimension is None:
            self._dimension = int(self._call([_PROBE], "document").shape[1])
        return self._dimension

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        """Approximate tokens, a quarter of the UTF-8 bytes; int64 [len(texts)]."""
        return approximate_lengths(texts, self._prompts[role])

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return self._encode(texts, "query")

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return self._encode(texts, "document")

    def _encode(self, texts: Sequence[str], role: Role) -> F32:
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = self._call(texts, role)
        if self._dimension is None:
            self._dimension = int(vectors.shape[1])
        if vectors.shape[1] != self._dimension:
            raise PyriteError(
                f"{_name(self._functions[role])} returned vectors of {vectors.shape[1]} numbers,"
                f" expected {self._dimension} (encoder.callable.dimension)"
            )
        return unit_rows(vectors) if self._normalize else vectors

    def _call(self, texts: Sequence[str], role: Role) -> F32:
        function = self._functions[role]
        try:
            result = function([self._prompts[role] + text for text in texts])
        except Exception as error:
            error.add_note(f"raised by {_name(function)} (encoder.callable) on {len(texts)} texts")
            raise
        return _checked(result, len(texts), _name(function))


def callable_encoder(config: EncoderConfig) -> CallableEncoder:
    """The encoder of `encoder.kind=callable`; imports the module that the configuration names.

    Raises PyriteError if the function is missing, cannot be imported or has no fingerprint.
    """
    section = config.callable
    if section.function is None:
        raise PyriteError(
            "encoder.kind=callable needs encoder.callable.function=package.module:function"
        )
    if section.fingerprint is None:
        raise PyriteError(
            "encoder.callable.fingerprint is not set, and a cache key cannot be computed from a"
            " function: set it to a text that changes when the function's vectors do"
        )
    queries = section.query_function
    return CallableEncoder(
        _imported(section.function, "function"),
        section.fingerprint,
        None if queries is None else _imported(queries, "query_function"),
        section.dimension,
        config.query_prompt or "",
        config.document_prompt or "",
        config.normalize,
    )


def _imported(name: str, key: str) -> TextFunction:
    return imported_function(name, f"encoder.callable.{key}")


def _name(function: TextFunction) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _checked(result: Any, rows: int, name: str) -> F32:
    if hasattr(result, "detach"):  # a torch tensor, maybe on a device or in bfloat16
        result = result.detach().float().cpu().numpy()
    try:
        values = np.asarray(result)
    except ValueError:  # rows of different lengths
        values = np.empty(0, dtype=object)
    if values.dtype.kind != "f":
        raise PyriteError(
            f"{name} returned {_described(values)}, expected floating numbers [{rows}, D]"
        )
    if values.ndim != 2 or len(values) != rows or not values.shape[1]:
        raise PyriteError(f"{name} returned shape {values.shape} for {rows} texts, not [{rows}, D]")
    with np.errstate(over="ignore"):  # infinity is reported below
        vectors = np.ascontiguousarray(values, dtype=np.float32)
    bad = bad_rows(vectors)
    if bad.size:
        raise PyriteError(
            f"{name} returned NaN or infinity for text {int(bad[0])} of a batch of {rows}"
            f" ({bad.size} such rows); every number must be finite in float32"
        )
    return vectors


def _described(values: Any) -> str:
    if values.dtype == object:
        return "rows of different lengths or of objects"
    return f"dtype {values.dtype}"
