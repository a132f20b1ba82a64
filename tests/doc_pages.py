"""The pages of docs/ as text: headings, links, blocks, and the configuration keys they may name."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

import pyrite
from pyrite.core.config import Section, load_config
from pyrite.core.errors import PyriteError

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINKED = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`[^`\n]+`")
KEY = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?=[`:= ])")
FILES = (
    "json",
    "jsonl",
    "log",
    "md",
    "npy",
    "parquet",
    "png",
    "py",
    "sqlite",
    "trec",
    "tsv",
    "yaml",
)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """The page without its blocks of code."""
    lines = text.splitlines()
    fenced = [line.startswith("```") for line in lines]
    inside = [sum(fenced[: at + 1]) % 2 == 1 for at in range(len(lines))]
    kept = (not i and not line.startswith("    ") for i, line in zip(inside, lines, strict=True))
    return "\n".join(line if keep else "" for line, keep in zip(lines, kept, strict=True))


def headings(text: str) -> list[tuple[int, str]]:
    """(level, anchor) of each heading, anchors as code hosts make them."""
    found = re.findall(r"^(#+) (.+)$", prose(text), flags=re.MULTILINE)
    words = ((len(marks), re.sub(r"[^\w\- ]", "", title.lower())) for marks, title in found)
    return [(level, title.strip().replace(" ", "-")) for level, title in words]


def blocks(text: str) -> Iterator[str]:
    """The fenced YAML, and the indented blocks without their indentation."""
    yield from re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    for found in re.findall(r"(?:(?<=\n\n)|\A)(?: {4}.*\n|\n(?= {4}))+", text):
        yield "\n".join(line[4:] for line in found.splitlines())


def dead_links(page: Path, text: str) -> list[str]:
    """Links of a page to files and headings that are not there."""
    dead = []
    for target in LINK.findall(CODE.sub("", prose(text))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        home = page.parent / path if path else page
        if not home.is_file():
            dead.append(target)
        elif anchor and anchor not in [a for _, a in headings(home.read_text("utf-8"))]:
            dead.append(target)
    return dead


def kinds() -> list[type[Section]]:
    """The exported configurations; the one that most pages are about is the first."""
    found = [getattr(pyrite, name) for name in pyrite.__all__ if name.endswith("Config")]
    return sorted(found, key=lambda kind: kind is not pyrite.TrainConfig)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def keys_of(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """(dotted key, description) of every key and section."""
    for name, info in kind.model_fields.items():
        inside = list(models_in(info.annotation))
        yield prefix + name, info.description or ("a section" if inside else None)
        for model in inside:
            yield from keys_of(model, f"{prefix}{name}.")


@cache
def known_keys() -> frozenset[str]:
    return frozenset(key for kind in kinds() for key, _ in keys_of(kind))


def mapping(text: str) -> dict[str, Any] | None:
    """The block as a mapping, or None where it is no YAML or no configuration."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    sections = isinstance(data, dict) and any(isinstance(v, dict | list) for v in data.values())
    return data if sections and not text.startswith("{") else None


def mistakes(text: str, tmp_path: Path) -> list[str]:
    """Why no configuration takes the block; empty if one does. What is missing may be missing."""
    path = tmp_path / "block.yaml"
    path.write_text(text, encoding="utf-8")
    found = []
    for kind in kinds():
        try:
            load_config(kind, path)
        except PyriteError as error:
            cause = error.__cause__
            if not isinstance(cause, ValidationError):
                found.append(str(error))
            elif left := [e for e in cause.errors() if e["type"] != "missing"]:
                found.append(f"{kind.__name__}: {left[0]['loc']} {left[0]['msg']}")
            else:
                return []
        else:
            return []
    return found


def one_by_one(text: str) -> list[str]:
    """A block of alternatives, each a line of its own, as several blocks."""
    lines = text.splitlines()
    tops = [line.partition(":")[0] for line in lines]
    return lines if len(set(tops)) < len(tops) and not text.count("\n  ") else [text]
