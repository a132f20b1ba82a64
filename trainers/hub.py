"""Pushing a finished model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..core import hub_push


def check_token(repository: str) -> None:
    """Raise PyriteError unless the environment has a token to push with."""
    hub_push.check_token(f"train.push_to_hub={repository}", "set train.push_to_hub=null")


def push(folder: Path, repository: str) -> None:
    """Upload the files of `folder`; a repository that does not exist is made, private.

    Raises PyriteError if the hub cannot be reached or refuses; the folder stays as it is.
    """
    knob = f"train.push_to_hub={repository}"
    hub_push.push(folder, repository, "model", knob, "run the same command again to push it")
