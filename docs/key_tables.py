"""Every configuration key with its default, range and meaning, from the models' JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyrite
from pyrite.core.config import Section

Schema = dict[str, Any]
_BOUNDS = (
    ("minimum", "&ge;"),
    ("exclusiveMinimum", "&gt;"),
    ("maximum", "&le;"),
    ("exclusiveMaximum", "&lt;"),
)
_KINDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true`, `false`",
    "null": "`null`",
    "object": "keys and values",
}


def roots() -> list[type[Section]]:
    """The exported configurations, without those that another one contains."""
    found = [getattr(pyrite, name) for name in pyrite.__all__]
    kinds = [k for k in found if isinstance(k, type) and issubclass(k, Section)]
    whole = [
        k for k in kinds if not any(k is not other and issubclass(other, k) for other in kinds)
    ]
    return sorted(whole, key=lambda kind: (kind is not pyrite.TrainConfig, kind.__name__))


def reference() -> str:
    """A heading for each configuration, below it one for each section, as Markdown."""
    shown: dict[str, str] = {}
    return "\n".join(line for kind in roots() for line in _Configuration(kind).lines(shown))


class _Configuration:
    """One configuration: its sections by name, and for each the keys that hold it.

    A key that holds a list of sections ends in `[]`.
    """

    def __init__(self, kind: type[Section]) -> None:
        self.name = kind.__name__
        self.whole: Schema = kind.model_json_schema()
        self.sections: dict[str, Schema] = self.whole.get("$defs", {})
        self.places: dict[str, list[str]] = {}
        self._find(self.whole, "")

    def _find(self, schema: Schema, prefix: str) -> None:
        for key, value in schema["properties"].items():
            name, listed = _section(value)
            if name is not None:
                at = f"{prefix}{key}" + "[]" * listed
                self.places.setdefault(name, []).append(at)
                self._find(self.sections[name], f"{at}.")

    def lines(self, shown: dict[str, str]) -> Iterator[str]:
        """The tables of what an earlier configuration has not `shown` yet.

        `shown` has the label of each section by its content: names may be used twice.
        """
        content = {name: json.dumps(schema) for name, schema in self.sections.items()}
        new = [name for name in self.places if content[name] not in shown]
        for name in new:
            shown[content[name]] = _label(self.name, self.places[name][0])
        labels = {name: shown[content[name]] for name in self.places}
        yield f"\n## {self.name}\n"
        yield f"{self.whole['description']}\n"
        yield from self._table(self.whole, "", labels)
        for name in new:
            first, *others = self.places[name]
            yield f"\n({labels[name]})=\n### {first}\n"
            yield f"{self.sections[name]['description']}\n"
            if others:
                yield f"The same keys: {', '.join(f'`{other}`' for other in others)}.\n"
            yield from self._table(self.sections[name], f"{first}.", labels)

    def _table(self, schema: Schema, prefix: str, labels: dict[str, str]) -> Iterator[str]:
        yield "| key | default | allowed | what it is |"
        yield "|---|---|---|---|"
        needed = schema.get("required", [])
        for key, value in schema["properties"].items():
            default = "*must be given*" if key in needed else self._default(value)
            name, listed = _section(value)
            allowed = _allowed(value) if name is None else f"[a section](#{labels[name]})"
            if listed:
                allowed = f"list, each {allowed}"
            meaning = _cell(self._meaning(value)).replace("<", "&lt;")
            cells = (f"`{prefix}{key}`", default, allowed, meaning)
            yield f"| {' | '.join(cells)} |"

    def _meaning(self, schema: Schema) -> str:
        name, _ = _section(schema)
        own = "" if name is None else self.sections[name]["description"].partition("\n")[0]
        return str(schema.get("description", own))

    def _default(self, schema: Schema) -> str:
        name, _ = _section(schema)
        default = schema.get("default")
        if name is None or not isinstance(default, dict):
            return "" if isinstance(default, list) and default else _code(default)
        own = self.sections[name]["properties"]
        given = [f"{k}: {_plain(v)}" for k, v in default.items() if v != own[k].get("default")]
        return f"`{{{', '.join(given)}}}`" if given else ""


def _section(schema: Schema) -> tuple[str | None, bool]:
    """The name of the section that a key holds, if any, and whether it is a list of them."""
    for option in (schema, *schema.get("anyOf", [])):
        for part, listed in ((option, False), (option.get("items", {}), True)):
            if "$ref" in part:
                return part["$ref"].rpartition("/")[2], listed
    return None, False


def _label(kind: str, place: str) -> str:
    return f"{kind}.{place}".replace("[]", "").replace(".", "-").replace("_", "-").lower()


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _code(value: object) -> str:
    return f"`{_cell(_plain(value))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _allowed(schema: Schema) -> str:
    """What a key may hold, in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(_code(value) for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        least = f", at least {schema['minItems']}" if "minItems" in schema else ""
        return f"list of {_allowed(schema['items'])}{least}"
    words = [_KINDS[schema["type"]]]
    words += [f"{sign} {_number(schema[name])}" for name, sign in _BOUNDS if name in schema]
    if schema.get("minLength"):
        words.append("not empty")
    if "pattern" in schema:
        words.append(f"like `{_cell(schema['pattern'])}`")
    return ", ".join(words)


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:,}"
