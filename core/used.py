"""Keys that are read only while others have certain values; each section declares its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

ALL = "*"
_NEVER = object()


@dataclass(frozen=True, slots=True)
class Used:
    """`keys` of a section are read only where `when` holds of it, which `switches` decide.

    Keys and switches may be dotted; each item of a list is meant. A section among the keys stands
    for all that are in it, `*` for all but the switches. The first switch's value `off`, where it
    is given by name, leaves the keys standing. `why` and `instead` say more than "with" the first
    switch and "set it"; `{at}` in them is the section's prefix, `{key}` the key.
    """

    keys: tuple[str, ...]
    switches: tuple[str, ...]
    when: Callable[[Any], bool]
    instead: str = ""
    why: str = ""
    off: object = _NEVER


Rules = tuple[Used, ...]


def only(keys: str, switch: str, *values: object, instead: str = "", off: object = _NEVER) -> Used:
    """Keys, divided by blanks, that are read while `switch` is one of `values`.

    Without values: while it is anything but `off`, or null.
    """
    unset = None if off is _NEVER else off
    if values and not instead:
        *others, last = map(str, values)
        instead = f"set {{at}}{switch}={', '.join(others)}{' or ' if others else ''}{last}"

    def when(section: Any) -> bool:
        found = value_at(section, switch)
        return found in values if values else found != unset

    return Used(tuple(keys.split()), (switch,), when, instead, off=off)


@dataclass(frozen=True, slots=True)
class Idle:
    """A key that has a value of its own and that nothing reads; `at` is its section's prefix.

    `excused` where a switch was set by name to what switches the key off.
    """

    at: str
    key: str
    why: str
    instead: str
    switches: tuple[str, ...]
    excused: bool

    @property
    def path(self) -> str:
        return self.at + self.key

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do about it."""
        ways = f"remove it or {self.instead}" if self.instead else "remove it"
        return f"{self.path} has no effect {self.why}; {ways}"

    def turned_by(self, overridden: set[str], gone: set[str]) -> bool:
        """Whether a switch was overridden or is gone, and the key was not overridden beside it."""
        switches = [self.at + switch for switch in self.switches]
        turned = any(_touches(path, s) for path in overridden | gone for s in switches)
        return turned and not any(_touches(path, self.path) for path in overridden)


def changed(section: BaseModel, prefix: str = "") -> list[str]:
    """Dotted keys below `section` that are not at their defaults, in declaration order.

    Values count, not what was given: a dumped configuration says every key.
    """
    found: list[str] = []
    for name in type(section).model_fields:
        found += _changed_key(section, name, prefix)
    return found


def idle_keys(section: BaseModel, prefix: str = "") -> Iterator[Idle]:
    """Keys of `section` and of all sections in it that are not at their defaults and not read."""
    yield from idle_here(section, prefix)
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from idle_keys(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            for at, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from idle_keys(item, f"{prefix}{name}.{at}.")


def idle_here(section: BaseModel, prefix: str = "") -> Iterator[Idle]:
    """Those that the section's own rules speak of, each once."""
    seen: set[str] = set()
    for rule in _rules(type(section)):
        if rule.when(section):
            continue
        first = rule.switches[0]
        why = rule.why.format(at=prefix) or f"with {prefix}{first}{_shown(section, first)}"
        excused = _by_name(section, first, rule.off)
        for key in _own(section, rule):
            if key not in seen:
                seen.add(key)
                instead = rule.instead.format(at=prefix, key=key)
                yield Idle(prefix, key, why, instead, rule.switches, excused)


def value_at(section: Any, path: str) -> Any:
    """The value of a dotted key."""
    for name in path.split("."):
        section = getattr(section, name)
    return section


@cache
def _rules(kind: type[BaseModel]) -> Rules:
    bases = reversed(kind.__mro__)
    return tuple(rule for base in bases for rule in base.__dict__.get("USED", ()))


def _own(section: BaseModel, rule: Used) -> Iterator[str]:
    """The rule's keys that are not at their defaults."""
    for key in rule.keys:
        names = [key]
        if key == ALL:
            names = [name for name in type(section).model_fields if name not in rule.switches]
        for name in names:
            yield from _below(section, name.split("."), "")


def _below(value: Any, names: list[str], prefix: str) -> Iterator[str]:
    name, *others = names
    if not others:
        yield from _changed_key(value, name, prefix)
        return
    inner = getattr(value, name)
    if isinstance(inner, list | tuple):
        for at, item in enumerate(inner):
            yield from _below(item, others, f"{prefix}{name}.{at}.")
    else:
        yield from _below(inner, others, f"{prefix}{name}.")


def _changed_key(section: BaseModel, name: str, prefix: str) -> list[str]:
    value = getattr(section, name)
    default = type(section).model_fields[name].get_default(call_default_factory=True)
    if value == default:
        return []
    # in the place of null the section counts as a whole
    inner = changed(value, f"{prefix}{name}.") if isinstance(default, BaseModel) else []
    return inner or [prefix + name]


def _by_name(section: BaseModel, path: str, off: object) -> bool:
    outer, _, name = path.rpartition(".")
    holder = value_at(section, outer) if outer else section
    return name in holder.model_fields_set and getattr(holder, name) == off


def _shown(section: BaseModel, path: str) -> str:
    value = value_at(section, path)
    if value is None:
        return "=null"
    return "" if isinstance(value, BaseModel | list | tuple) else f"={value}"


def _touches(path: str, key: str) -> bool:
    """Whether one of two dotted keys is the other, or holds it."""
    return path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.")
