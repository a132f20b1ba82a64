"""Configuration: frozen sections, YAML files, dotted overrides, and errors that name the knob."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator

from .errors import PyriteError
from .used import Idle, Rules, idle_here, idle_keys

logger = logging.getLogger(__name__)
LATER = "idle keys are looked for later"  # a context of validation


class Section(BaseModel):
    """Base of every configuration section: frozen, unknown keys are errors.

    `USED` says which keys are read only while others have certain values. A key that is not at its
    default and that nothing reads is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    USED: ClassVar[Rules] = ()

    @model_validator(mode="after")
    def _nothing_is_idle(self, info: ValidationInfo) -> Self:
        for idle in idle_here(self) if info.context != LATER else ():
            if not idle.excused:
                raise ValueError(idle.sentence)
        return self


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

    Precedence: default < file < override. Keys of the file that an override leaves without effect
    are taken out, and logged. Raises PyriteError naming the file or override, the key, what is
    allowed, and for an unknown key the closest valid one.
    """
    data = _read_yaml(path) if path is not None else {}
    overridden = {_apply(data, override) for override in overrides}
    return _parse(kind, data, str(path) if path is not None else "configuration", overridden)


def parse_config(kind: type[C], data: dict[str, Any], where: str = "configuration") -> C:
    """Validate a mapping as `kind`; all mistakes become one PyriteError about the first."""
    return _parse(kind, data, where, set())


def _parse(kind: type[C], data: dict[str, Any], where: str, overridden: set[str]) -> C:
    """`parse_config` of data in which the keys `overridden` were set last."""
    taken: list[Idle] = []
    while True:
        try:
            config = kind.model_validate(data, context=LATER)
        except ValidationError as error:
            raise PyriteError(f"{where}: {_sentence(kind, error)}") from error
        idle = list(idle_keys(config))
        turned = [one for one in idle if one.turned_by(overridden, {t.path for t in taken})]
        for one in idle:
            if not one.excused and one not in turned:
                raise PyriteError(f"{where}: {one.sentence}")
        gone = [one for one in turned if _take_out(data, one.path.split("."))]
        if not gone:
            _tell(where, [*taken, *(one for one in idle if one.excused)])
            return config
        # what is gone may have been what another key was for
        taken += gone


def _tell(where: str, idle: list[Idle]) -> None:
    for why, group in groupby(idle, lambda one: one.why):
        keys = [one.path for one in group]
        count = f"{len(keys)} key{'s' * (len(keys) != 1)}"
        logger.warning("%s: not used: %s (%s, %s)", where, ", ".join(keys), count, why)


def _take_out(data: Any, path: Sequence[str]) -> bool:
    """Remove a key; False where it is not there, because a section fills it in itself."""
    *outer, last = path
    for name in outer:
        data = data[int(name)] if isinstance(data, list) else data.get(name, {})
    return data.pop(last, data) is not data


def dump_config(config: Section) -> str:
    """The resolved configuration as YAML, keys in declaration order."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return str(text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = _unshared(yaml.load(path.read_text(encoding="utf-8"), _Loader))
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


def _unshared(data: Any) -> Any:
    """A copy in which a change at one place is none at another that YAML calls by the same name."""
    if isinstance(data, dict):
        return {key: _unshared(value) for key, value in data.items()}
    return [_unshared(value) for value in data] if isinstance(data, list) else data


def _apply(data: dict[str, Any], override: str) -> str:
    """Set what an override says, and return its key."""
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
    return ".".join(parts)


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
