"""Each page on a loss shows a configuration line that the trainer accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pyrite.trainers.loss_config import PARAMETERS
from pyrite.trainers.train_config import TrainSection

PAGES = sorted((Path(__file__).parents[1] / "docs" / "losses").glob("*.md"))


def lines(page: Path) -> list[str]:
    return [at for at in page.read_text("utf-8").splitlines() if at.startswith("    train:")]


def losses(page: Path) -> list[dict[str, object]]:
    sections = [yaml.safe_load(line)["train"] for line in lines(page)]
    return [section["loss"] for section in sections if "loss" in section]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_configuration_lines_of_a_page_are_valid(page: Path) -> None:
    assert lines(page)
    for line in lines(page):
        TrainSection.model_validate(yaml.safe_load(line)["train"])


def test_every_loss_has_a_line_on_some_page() -> None:
    shown = {loss["name"] for page in PAGES for loss in losses(page)}
    assert shown == PARAMETERS.keys() - {"info_nce"}
