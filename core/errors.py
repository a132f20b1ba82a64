"""The one exception a user's mistake raises: a sentence with what, where, the limit, the knob."""

from __future__ import annotations


class PyriteError(ValueError):
    """Bad input, configuration or environment. The command line prints it and exits with 2."""


class MissingExtraError(PyriteError):
    """A feature was asked for whose optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed:"
            f" pip install 'pyrite[{extra}]'"
        )
