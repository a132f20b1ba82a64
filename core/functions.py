"""Functions of the user's that a configuration names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .errors import PyriteError


def imported_function(name: str, key: str) -> Callable[..., Any]:
    """The function `package.module:function`; errors name the configuration key `key`.

    Raises PyriteError if the name is malformed, leads nowhere or to what cannot be called.
    """
    where = f"{key}={name}"
    module_name, separator, attribute = name.partition(":")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not separator or not all(part.isidentifier() for part in parts):
        raise PyriteError(f"{where}: expected the form package.module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise PyriteError(
            f"{where}: no module {error.name}; install it or put its folder on PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PyriteError(f"{where}: {module_name} has no {attribute}; check the name")
        found = getattr(found, part)
    if not callable(found):
        raise PyriteError(f"{where}: a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]
