"""What the shell may complete in the place of an override: the keys of the verb's configuration."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from .core.config import Section

_RELABELLING = ("relabel", "review", "calibrate")


def keys(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`key=` and its description, of every key that an override can set."""
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}=", info.description or ""


def kind_of(verb: str | None) -> type[Section]:
    """The configuration that a verb takes."""
    if verb in _RELABELLING:
        from .miner.relabel.config import RelabelConfig

        return RelabelConfig
    if verb == "make":
        from .miner.made.config import MakeConfig

        return MakeConfig
    if verb == "nevir":
        from .eval.nevir import NevirConfig

        return NevirConfig
    from .trainers.run_config import TrainConfig

    return TrainConfig


def complete(verb: str | None, begun: str) -> list[tuple[str, str]]:
    """Keys of the verb `verb` that begin with `begun`."""
    return [found for found in keys(kind_of(verb)) if found[0].startswith(begun)]
