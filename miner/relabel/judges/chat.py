"""A language model on an OpenAI-compatible server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from ....core.server.connection import GivenUp
from ....core.server.failures import Knobs
from ..budget import Budget
from ..case import Case, Judgement, unknown
from ..parse import SCHEMA
from ..prompt import in_place, load_prompt
from .caller import OfServer
from .chat_calls import ChatCalls, Request
from .config import ChatConfig
from .prompted import Prompted


class ChatAnswerer(OfServer, Prompted):
    """An `Answerer` that sends one request for each part, in `concurrency` threads.

    Failed requests are sent again, see `Connection`. A reply that cannot be used is asked for
    again with the documents in another order and twice the tokens, `reply_retries` times.
    """

    def __init__(self, config: ChatConfig, budget: Budget, seed: int, knob: str) -> None:
        """Connects to nothing yet; errors name the configuration section `knob`.

        Raises PyriteError as `Connection` and `load_prompt` do.
        """
        self._config = config
        OfServer.__init__(self, config)
        Prompted.__init__(self, load_prompt(config, seed, knob), config.reply_tokens)
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
    def key(self) -> str:
        return self._digest("chat", prompt=self._prompt.version)

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
