"""Who can be called: what a judge and a writer have in common."""

from __future__ import annotations

from typing import Any, Protocol

from ....core.digest import digest_json
from ..case import Named
from ..price import FREE, Price
from .config import ChatModelConfig
from .local_model import LocalModel


class Caller(Named, Protocol):
    """Is called in each of `concurrency` threads, one call at a time."""

    @property
    def concurrency(self) -> int:
        """Calls under way at once."""


class OfServer:
    """A language model on a server, as its configuration names it."""

    def __init__(self, config: ChatModelConfig) -> None:
        self._model_config = config

    @property
    def label(self) -> str:
        return f"chat {self._model_config.model}"

    @property
    def price(self) -> Price:
        return self._model_config.price

    @property
    def concurrency(self) -> int:
        return self._model_config.concurrency

    def _digest(self, kind: str, **told: Any) -> str:
        config = self._model_config
        return digest_json(
            {
                "kind": kind,
                "model": config.model,
                "revision": config.revision,
                **told,
                "temperature": config.temperature,
                "structured": config.structured,
            }
        )


class OfMachine:
    """A language model of this machine: greedy, one call at a time; its tokens cost nothing."""

    def __init__(self, model: LocalModel, dtype: str) -> None:
        self._model = model
        self._dtype = dtype

    @property
    def label(self) -> str:
        return f"local {self._model.name}"

    @property
    def price(self) -> Price:
        return FREE

    @property
    def concurrency(self) -> int:
        return 1

    def _digest(self, kind: str, **told: Any) -> str:
        weights = self._model.weights
        return digest_json({"kind": kind, "weights": weights, "dtype": self._dtype, **told})
