"""A causal language model of transformers on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

from ..case import Case, Judgement, State, unknown
from ..parse import parse_reply
from ..prompt import in_place, load_prompt
from .caller import OfMachine
from .config import LocalConfig
from .local_model import LocalModel
from .prompted import Prompted


class LocalAnswerer(OfMachine, Prompted):
    """An `Answerer` that writes greedily, one part at a time; its tokens cost nothing.

    The model is loaded at the first part. A reply that cannot be used is asked for again with the
    documents in another order and twice the tokens, `reply_retries` times. A part that is longer
    than the model's context gets the state `failed`.
    """

    def __init__(self, config: LocalConfig, seed: int, knob: str) -> None:
        """Loads no weights yet; errors name the configuration section `knob`.

        Raises PyriteError without a model or its device, and as `load_prompt`.
        """
        model = LocalModel(config, knob, f"the local judge {knob}")
        OfMachine.__init__(self, model, config.dtype)
        Prompted.__init__(self, load_prompt(config, seed, knob), config.reply_tokens)
        self._config = config

    @property
    def key(self) -> str:
        return self._digest("local", prompt=self._prompt.version)

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        for attempt in range(self._config.reply_retries + 1):
            if stop.is_set():
                raise CancelledError
            order = self._prompt.order(part, attempt)
            message = self._prompt.message(part, order)
            limit = self._config.reply_tokens << attempt
            reply = self._model.reply(self._prompt.instructions, message, limit)
            if reply.state == "failed":
                yield Judgement("failed", unknown(part))
                return
            state: State = reply.state
            verdicts = unknown(part)
            if state == "ok":
                state, shown = parse_reply(reply.text, len(order))
                verdicts = in_place(order, shown)
            yield Judgement(state, verdicts, reply.prompt_tokens, reply.completion_tokens, 1)
            if state == "ok":
                return
