"""Pushing a finished model to the Hugging Face hub: the token comes from the environment only."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import PyriteError

TOKEN = "HF_TOKEN"


def check_token(repository: str) -> None:
    """Raise PyriteError unless the environment has a token to push with."""
    if not os.environ.get(TOKEN):
        raise PyriteError(
            f"train.push_to_hub={repository} needs a token with write access in the environment"
            f" variable {TOKEN}; set it, or set train.push_to_hub=null"
        )


def push(folder: Path, repository: str) -> None:
    """Upload the files of `folder`; a repository that does not exist is made, private.

    Raises PyriteError if the hub cannot be reached or refuses; the folder stays as it is.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=os.environ[TOKEN])
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(folder), ignore_patterns=["*.tmp"])
    # whatever the client and the libraries below it raise: the model is safe, the push is not
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise PyriteError(
            f"train.push_to_hub={repository}: the hub did not take the model ({reason}); it is"
            f" kept in {folder}, run the same command again to push it"
        ) from error
