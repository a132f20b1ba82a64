"""Configuration: frozen sections, YAML files, dotted overrides, and errors that name the knob."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import PyriteError


class Section(BaseModel):
    """Base of every configuration section: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


C = TypeVar("C", bound=Section)
_BOOL = "tag:yaml.org,2002:bool"
_TRUTH = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice in one mapping is an error, and `off` is a word.

    As in YAML 1.2 only true and false are booleans: `refresh.mode: off` names a mode. A key that
    wants a boolean takes yes, no, on and off all the same.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # as nodes: once they are dictionaries, merged keys cannot be told from repeated ones
        mapping: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                where = f"line {line}" if first == line else f"lines {first} and {line}"
                raise PyriteError(f"the key {key.value!r} is given twice, in {where}; remove one")
            lines[key.tag, key.value] = line
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, _TRUTH if tag == _BOOL else pattern) for tag, pattern in resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_config(kind: type[C], path: Path | None, overrides: Sequence[str] = ()) -> C:
    """Read a YAML file, apply `a.b=c` overrides in order, validate.

    Precedence: default < file < override. Raises PyriteError naming the file or override, the
    key, what is allowed, and for an unknown key the closest valid one.
    """
    data = _read_yaml(path) if path is not None else {}
    for override in overrides:
        _apply(data, override)
    return parse_config(kind, data, str(path) if path is not None else "configuration")


def parse_config(kind: type[C], data: dict[str, Any], where: str = "configuration") -> C:
    """Validate a mapping as `kind`; all mistakes become one PyriteError about the first."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise PyriteError(f"{where}: {_sentence(kind, error)}") from error


def changed(section: Section, prefix: str = "") -> list[str]:
    """Dotted keys below `section` that are not at their defaults, in declaration order.

    Values count, not what was given: a dumped configuration says every key.
    """
    found: list[str] = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        default = info.get_default(call_default_factory=True)
        if value == default:
            continue
        inner = changed(value, f"{prefix}{name}.") if isinstance(value, Section) else []
        found += inner or [prefix + name]
    return found


def refuse_unread(keys: Iterable[str], why: str, instead: str) -> None:
    """Raise ValueError for the first of `keys`, which nothing reads because of `why`."""
    for key in keys:
        raise ValueError(f"{key} has no effect with {why}; remove it or {instead}")


def dump_config(config: Section) -> str:
    """The resolved configuration as YAML, keys in declaration order."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return str(text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except PyriteError as error:
        raise PyriteError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise PyriteError(f"{path}: no such configuration file") from error
    # ValueError: a date or a number that YAML's own reader cannot convert, or no UTF-8
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise PyriteError(f"{path}: not readable as YAML: {detail}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise PyriteError(f"{path}: a YAML {type(data).__name__}, expected keys and values")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise PyriteError(f"override {override!r}: expected the form section.key=value")
    try:
        value = yaml.load(raw, _Loader)
    except PyriteError as error:
        raise PyriteError(f"override {override!r}: {error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise PyriteError(f"override {override!r}: the value is not valid YAML") from error
    for part in parts[:-1]:
        inner = data.setdefault(part, {})
        if not isinstance(inner, dict):
            raise PyriteError(f"override {override!r}: {part!r} is a value, not a section")
        data = inner
    data[parts[-1]] = value


def _sentence(kind: type[Section], error: ValidationError) -> str:
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "extra_forbidden":
        valid = _valid_keys(kind)
        # a key in the wrong section is more likely than one that looks alike
        moved = [v for v in valid if v.rpartition(".")[2] == key.rpartition(".")[2]]
        close = moved or difflib.get_close_matches(key, valid, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"valid keys: {', '.join(valid)}"
        return f"unknown key {key!r}; {hint}"
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "value_error":
        message = message.removeprefix("value error, ")
        return f"{key}: {message}" if first["loc"] else message
    return f"{key}={first['input']!r}: {message}"


def _valid_keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, info in kind.model_fields.items():
        inner = info.annotation
        keys.append(prefix + name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys.extend(_valid_keys(inner, f"{prefix}{name}."))
    return keys
