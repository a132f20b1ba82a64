"""Reading a reply: one verdict for every document, or a state that says why there is none.

Nothing is guessed. A reply that is not exactly what was asked for decides nothing, so that no
document is taken for clean because a reply was cut or malformed.
"""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from .case import UNKNOWN, State, Verdict, VsTruth

_FIELDS = frozenset({"doc", "relevant", "vs_truth", "why"})
_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["verdicts"],
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["doc", "why", "relevant", "vs_truth"],
                # the reason first: a model that writes in this order has one when it decides
                "properties": {
                    "doc": {"type": "integer"},
                    "why": {"type": "string"},
                    "relevant": {"type": "boolean"},
                    "vs_truth": {"type": "string", "enum": list(get_args(VsTruth))},
                },
            },
        }
    },
}


class Malformed(ValueError):
    """The reply is not what was asked for."""


def parse_reply(text: str, documents: int) -> tuple[State, tuple[Verdict, ...]]:
    """The verdicts on documents 1 to `documents`, in that order, and the state `ok`.

    `index_error` where the numbers are not exactly these, each once; `parse_error` for anything
    else that the schema does not allow, a verdict that contradicts itself included. Both come
    with `UNKNOWN` for every document. A Markdown fence around the JSON is allowed.
    """
    unknown = (UNKNOWN,) * documents
    try:
        found = [_verdict(item) for item in items_of(text, "verdicts")]
    # ValueError: no JSON, a number with thousands of digits, half a surrogate pair
    except (ValueError, RecursionError):
        return "parse_error", unknown
    if sorted(number for number, _ in found) != list(range(1, documents + 1)):
        return "index_error", unknown
    return "ok", tuple(verdict for _, verdict in sorted(found, key=lambda pair: pair[0]))


def items_of(text: str, name: str) -> list[Any]:
    """The list that is the one field, `name`, of a JSON object; a Markdown fence is allowed.

    Raises ValueError or RecursionError for anything else, a field that stands twice included.
    """
    fenced = _FENCED.fullmatch(text)
    reply = json.loads(fenced.group(1) if fenced else text, object_pairs_hook=_object)
    if not isinstance(reply, dict) or set(reply) != {name}:
        raise Malformed
    items = reply[name]
    if not isinstance(items, list):
        raise Malformed
    return items


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Malformed
    return dict(pairs)


def _verdict(item: Any) -> tuple[int, Verdict]:
    if not isinstance(item, dict) or set(item) != _FIELDS:
        raise Malformed
    number, relevant = item["doc"], item["relevant"]
    versus, why = item["vs_truth"], item["why"]
    # True is an int to Python
    if type(number) is not int or type(relevant) is not bool or not isinstance(why, str):
        raise Malformed
    if not isinstance(versus, str) or versus not in get_args(VsTruth):
        raise Malformed
    if relevant == (versus == "na"):
        raise Malformed
    why.encode("utf-8")
    return number, Verdict(relevant, versus, None, why)  # type: ignore[arg-type]
