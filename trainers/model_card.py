"""The README of a trained model: sentence-transformers' card, and how this model came to be.

No text of the dataset is in it; names and settings are quoted so that none can act as Markdown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.config import Section, dump_config
from ..core.markdown import bullets, fenced
from ..core.store import write_bytes
from ..eval.report import label
from ..eval.results import Evaluation

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CARD = "README.md"


def write_card(
    model: SentenceTransformer,
    folder: Path,
    config: Section,
    facts: dict[str, str],
    evaluations: dict[str, Evaluation],
    how: str = "By Pyrite, with mined hard negatives.",
) -> None:
    """Write `folder/README.md`.

    `how` says in a sentence how it was trained. `facts` are shown as a list, `config` as YAML, and
    the means of `evaluations` as a table.
    """
    from sentence_transformers.base.model_card import generate_model_card

    sections = [
        _general(generate_model_card(model)),
        f"## How it was trained\n\n{how}\n\n" + bullets(facts),
        "## Results on the held-out queries\n\n" + _table(evaluations),
        "## Configuration\n\n" + fenced(dump_config(config), "yaml"),
    ]
    write_bytes(folder / CARD, ("\n\n".join(part.strip() for part in sections) + "\n").encode())


def _general(card: str) -> str:
    """The generated card without its empty sections, which are comments."""
    return re.sub(r"<!--.*?-->\n*", "", card, flags=re.DOTALL)


def _table(evaluations: dict[str, Evaluation]) -> str:
    measures = list(next(iter(evaluations.values())).values)
    rows = [["system", *(label(measure) for measure in measures)], ["---"] * (1 + len(measures))]
    for system, evaluation in evaluations.items():
        means = evaluation.means()
        rows.append([system, *(f"{means[measure]:.4f}" for measure in measures)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
