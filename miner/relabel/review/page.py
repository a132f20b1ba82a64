"""The page as one HTML file that loads nothing: texts are data in it, never markup."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

_HERE = "page"


def policy() -> str:
    """A Content-Security-Policy that lets run and load nothing but our own script and style."""
    script, style = _part("review.js"), _part("review.css")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def page(data: dict[str, Any]) -> str:
    """The page around `data`: pairs, or what is needed to ask the server for them."""
    script, style = _part("review.js"), _part("review.css")
    shell, _, rest = _part("review.html").partition("<!--data-->")
    middle, _, end = rest.partition("/*script*/")
    head = shell.replace("/*style*/", style).replace("{policy}", policy())
    # texts may hold our marks: nothing is replaced from here on
    return head + _json(data) + middle + script + end


def _json(value: dict[str, Any]) -> str:
    """JSON that ends no element: `<`, `>` and `&` are escapes, as all that is not ASCII."""
    raw = json.dumps(value)
    for mark in "<>&":
        raw = raw.replace(mark, f"\\u{ord(mark):04x}")
    return raw


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (files(__package__) / _HERE / name).read_text("utf-8")
