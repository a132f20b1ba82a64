"""Malformed lines of a text table, and what the sentence about each must hold."""

from __future__ import annotations


def text_faults(name: str) -> dict[str, tuple[str | bytes, *tuple[str, ...]]]:
    """Malformed lines of `<name>.jsonl`: the line, then what the sentence must hold."""
    return {
        "not JSON": ('{"_id": "x", ', "not a JSON object"),
        "not UTF-8": (b'{"_id": "x", "text": "\xff"}', "UTF-8"),
        "not an object": ('["x", "y"]', "a JSON list", "one JSON object"),
        "without id": ('{"text": "a"}', "'_id' is missing", "string"),
        "with empty id": ('{"_id": "", "text": "a"}', "empty", "'_id'"),
        "with NUL in the id": ('{"_id": "a\\u0000b", "text": "a"}', "'_id'"),
        "with a list as id": ('{"_id": ["x"], "text": "a"}', "'_id' is a list", "string"),
        "without text": ('{"_id": "x"}', "'text' is missing", "string"),
        "with a number as text": ('{"_id": "x", "text": 3}', "'text' is a int", "string"),
        "with a number as title": ('{"_id": "x", "title": 3, "text": "a"}', "'title'", "string"),
        "with half a letter": ('{"_id": "x", "text": "\\ud800"}', "'text'", "surrogate"),
        "with empty text": ('{"_id": "x", "text": " "}', "empty text", "'x'", "dataset.on_empty"),
    }
