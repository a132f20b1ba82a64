"""A language model on an OpenAI-compatible server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from ....core.digest import digest_json
from ....core.server.connection import GivenUp
from ....core.server.failures import Knobs
from ..budget import Budget
from ..case import Case, Judgement, unknown
from ..parse import SCHEMA
from ..price import Price
from ..prompt import in_place, load_prompt
from .chat_calls import ChatCalls, Request
from .config import ChatConfig
from .prompted import Prompted


class ChatAnswerer(Prompted):
    """An `Answerer` that sends one request for each part, in `concurrency` threads.

    Failed requests are sent again, see `Connection`. A reply that cannot be used is asked for
    again with the documents in another order and twice the tokens, `reply_retries` times.
    """

    def __init__(self, config: ChatConfig, budget: Budget, seed: int, knob: str) -> None:
        """Connects to nothing yet; errors name the configuration section `knob`.

        Raises PyriteError as `Connection` and `load_prompt` do.
        """
        self._config = config
        super().__init__(load_prompt(config, seed, knob), config.reply_tokens)
        knobs = Knobs(
            knob,
            smaller=f"lower {knob}.most_documents",
            rejected=f"check {knob}.model, .structured, .limit_field, .temperature, .reply_tokens"
            " and .most_tokens",
        )
        feature = f"the chat judge {knob}"
        schema = ("verdicts", SCHEMA)
        self._calls = ChatCalls(config, budget, knob, feature, knobs, schema)

    @property
    def label(self) -> str:
        return f"chat {self._config.model}"

    @property
    def key(self) -> str:
        config = self._config
        return digest_json(
            {
                "kind": "chat",
                "model": config.model,
                "revision": config.revision,
                "prompt": self._prompt.version,
                "temperature": config.temperature,
                "structured": config.structured,
            }
        )

    @property
    def price(self) -> Price:
        return self._config.price

    @property
    def concurrency(self) -> int:
        return self._config.concurrency

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        for attempt in range(self._config.reply_retries + 1):
            order = self._prompt.order(part, attempt)
            limit = self._config.reply_tokens << attempt
            request = Request(
                self._prompt.instructions,
                self._prompt.message(part, order),
                limit,
                self._prompt.tokens(part),
                min(limit, self._prompt.reply_tokens(part)),
            )
            try:
                reply, inward, outward = self._calls.paid(request, stop)
            except GivenUp as error:
                self._calls.bear(error, part.row, "its documents stay unknown")
                yield Judgement("failed", unknown(part))
                return
            state, shown = reply.read(len(order))
            yield Judgement(state, in_place(order, shown), inward, outward, 1)
            if state == "ok":
                return
