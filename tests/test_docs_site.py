"""The site that `make docs` makes: no warning, and the references hold what the code has."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_setup import in_subprocess
from doc_pages import DOCS, kinds, models_in
from pydantic import BaseModel

import pyrite

pytestmark = pytest.mark.slow
STRICT = ("-q", "-E", "-W", "-n", "--keep-going", "-b", "html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = in_subprocess([sys.executable, "-m", "sphinx", *STRICT, DOCS, out])
    assert done.code == 0, done.err[-3000:]
    assert done.err == ""
    return out


def test_the_makefile_is_as_strict() -> None:
    makefile = (DOCS.parent / "Makefile").read_text("utf-8")
    assert f"sphinx-build {' '.join(STRICT)} docs build/docs" in makefile


def places_of(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Each section, and a key before its keys; a section may stand at several."""
    yield kind, prefix
    for name, info in kind.model_fields.items():
        for model in models_in(info.annotation):
            yield from places_of(model, f"{prefix}{name}.")


def test_the_reference_has_every_key(site: Path) -> None:
    text = (site / "configuration.html").read_text("utf-8")
    found = re.findall(r'<span class="pre">([\w.\[\]]+)</span>', text)
    shown = {key.replace("[]", "") for key in found}
    places: dict[type[BaseModel], list[str]] = {}
    for kind in kinds():
        if not any(kind is not other and issubclass(other, kind) for other in kinds()):
            for model, prefix in places_of(kind):
                places.setdefault(model, []).append(prefix)
    assert len(places) > 35
    for model, prefixes in places.items():
        wanted = [{prefix + name for name in model.model_fields} for prefix in prefixes]
        assert any(keys <= shown for keys in wanted), model.__name__


def test_the_reference_has_every_exported_name(site: Path) -> None:
    text = (site / "api.html").read_text("utf-8")
    for name in pyrite.__all__:
        assert name.startswith("__") or re.search(rf"\b{name}\b", text), name


def test_nothing_is_fetched_while_a_page_is_read(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not re.search(r"<(script|img|iframe)[^>]+src=\"(https?:)?//", text), page
        assert not re.search(r"<link[^>]+href=\"(https?:)?//", text), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text("utf-8")), sheet


def test_a_warning_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser"]\n', encoding="utf-8")
    (tmp_path / "index.md").write_text("# A page\n\n[nowhere](none.md)\n", encoding="utf-8")
    done = in_subprocess([sys.executable, "-m", "sphinx", *STRICT, tmp_path, tmp_path / "out"])
    assert done.code != 0
    assert "none.md" in done.err
