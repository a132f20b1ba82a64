"""The exported functions and classes, as directives for autodoc."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pyrite
from pyrite.core.config import Section


def exports() -> str:
    """A block for each exported name: functions, results, configurations, the error."""
    return "\n".join(_blocks())


def _blocks() -> Iterator[str]:
    named = {name: getattr(pyrite, name) for name in pyrite.__all__ if not name.startswith("__")}
    functions = {name: value for name, value in named.items() if inspect.isfunction(value)}
    kinds = {name: value for name, value in named.items() if name not in functions}
    sections = {name: kind for name, kind in kinds.items() if issubclass(kind, Section)}
    results = {kind for name, kind in kinds.items() if name not in sections}
    results |= {_returned(function) for function in functions.values()} - {None}
    yield "## Functions\n"
    for function in functions.values():
        yield _directive("autofunction", function)
    yield "## Results and errors\n"
    for kind in sorted(results, key=lambda kind: kind.__name__):
        yield _directive("autoclass", kind, "   :members:\n")
    yield "## Configurations\n"
    yield "Each is one of [the configurations](configuration.md), which `load_config` reads.\n"
    for name, kind in sections.items():
        yield f"- `{name}`: {(inspect.getdoc(kind) or '').partition(chr(10))[0]}"


def _returned(function: Any) -> Any:
    """The class of this package that a function's annotation names as its result, or None."""
    found = function.__globals__.get(inspect.signature(function).return_annotation)
    return found if inspect.isclass(found) else None


def _directive(name: str, value: Any, options: str = "") -> str:
    exported = value.__name__ in pyrite.__all__
    home = "pyrite" if exported else value.__module__
    return f"```{{eval-rst}}\n.. {name}:: {home}.{value.__name__}\n{options}```\n"
