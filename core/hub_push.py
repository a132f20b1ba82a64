"""Pushing a folder to the Hugging Face hub: the token comes from the environment only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from .errors import PyriteError

TOKEN = "HF_TOKEN"


def check_token(knob: str, off: str) -> None:
    """Raise PyriteError unless the environment has a token to push with.

    `knob` is the option with the repository, `off` how to do without it.
    """
    if not os.environ.get(TOKEN):
        raise PyriteError(
            f"{knob} needs a token with write access in the environment variable {TOKEN}; set it,"
            f" or {off}"
        )


def push(
    folder: Path, repository: str, kind: Literal["model", "dataset"], knob: str, again: str
) -> None:
    """Upload the files of `folder`; a repository that does not exist is made, private.

    Raises PyriteError if the hub cannot be reached or refuses; the folder stays as it is, and
    `again` says how to repeat the push.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=os.environ[TOKEN])
    try:
        api.create_repo(repository, private=True, exist_ok=True, repo_type=kind)
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            ignore_patterns=["*.tmp"],
            repo_type=kind,
        )
    # whatever the client and the libraries below it raise: the folder is safe, the push is not
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise PyriteError(
            f"{knob}: the hub did not take the {kind} ({reason}); it is kept in {folder}, {again}"
        ) from error
