"""Sphinx: the pages as they are, and two that are made of the package when the site is built."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from api_pages import exports
from key_tables import reference

import pyrite

project = "Pyrite"
author = "the Pyrite authors"
copyright = "the Pyrite authors, Apache-2.0"
version = release = pyrite.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
root_doc = "index"

myst_heading_anchors = 3
# indented blocks are shell, YAML, Python and output by turns
highlight_language = "text"
# docstrings put names into single backticks
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
# types in signatures: most have no page, and other projects' pages are not asked for
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = f"Pyrite {release}"
html_show_sourcelink = False

# the theme sets the level of the root logger, and FAISS tells how it was loaded
logging.getLogger("faiss").setLevel(logging.WARNING)

_MADE = {"configuration": reference, "api": exports}


def _fill(app: Any, name: str, source: list[str]) -> None:
    """Put what is made of the package where a page has its marker."""
    if name in _MADE:
        before, marker, after = source[0].partition("<!-- made here when the site is built -->")
        if not marker:
            raise ValueError(f"docs/{name}.md has lost its marker")
        source[0] = f"{before}{_MADE[name]()}{after}"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
