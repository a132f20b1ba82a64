"""The Hugging Face hub, where it cannot be reached."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

_SECONDS = 5


def offline_if_unreachable() -> None:
    """Work from the hub's cache in this process from now on, if the hub cannot be reached.

    Its client would try again for minutes, file by file, before it says so.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    # which errors there are depends on the library below the client
    except Exception as error:
        logger.warning("%s cannot be reached (%s): offline", constants.ENDPOINT, error)
        constants.HF_HUB_OFFLINE = True
