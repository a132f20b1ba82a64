"""Lines of JSON that people wrote: one object each, strings that UTF-8 can hold."""

from __future__ import annotations

import json
from typing import Any

from .errors import PyriteError


def json_object(raw: bytes, where: str) -> dict[str, Any]:
    """The object of a line; raises PyriteError that begins with `where`, the file and line."""
    try:
        record = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PyriteError(
            f"{where}: not a JSON object in UTF-8 ({error}); mend the line"
        ) from error
    if not isinstance(record, dict):
        raise PyriteError(
            f"{where}: a JSON {type(record).__name__}, but each line must be one JSON object"
        )
    return record


def whole_text(value: str, key: str, where: str) -> str:
    """`value`, if UTF-8 can hold it; raises PyriteError for half a surrogate pair."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PyriteError(
            f"{where}: field {key!r} holds half a surrogate pair; mend the line"
        ) from error
    return value
