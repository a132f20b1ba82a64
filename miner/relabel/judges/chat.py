"""A language model on an OpenAI-compatible server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ....core.digest import digest_json
from ....core.server.connection import Connection, GivenUp
from ....core.server.failures import Knobs
from ..budget import Budget
from ..case import Case, Judgement, unknown
from ..parse import SCHEMA
from ..price import Price
from ..prompt import in_place, load_prompt
from .answerer import BudgetSpent
from .chat_reply import ChatReply, chat_reply
from .config import ChatConfig
from .prompted import Prompted

logger = logging.getLogger(__name__)

_FORMATS: dict[str, Any] = {
    "json_schema": {
        "type": "json_schema",
        "json_schema": {"name": "verdicts", "strict": True, "schema": SCHEMA},
    },
    "json_object": {"type": "json_object"},
    "none": None,
}
# refused for what stands in this one request; other cases may pass
_THIS_REQUEST = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class _Request:
    """The user's message, the most tokens of the reply, and the tokens that either may have."""

    message: str
    limit: int
    prompt_tokens: int
    reply_tokens: int


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
        self._knob = knob
        self._budget = budget
        super().__init__(load_prompt(config, seed, knob), config.reply_tokens)
        knobs = Knobs(
            knob,
            smaller=f"lower {knob}.most_documents",
            rejected=f"check {knob}.model, .structured, .limit_field, .temperature, .reply_tokens"
            " and .most_tokens",
        )
        self._connection = Connection(config, f"the chat judge {knob}", knobs)
        self._structured = "json_schema" if config.structured == "auto" else config.structured
        self._settled = config.structured != "auto"
        self._failures = 0
        self._lock = threading.Lock()

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
            request = _Request(
                self._prompt.message(part, order),
                limit,
                self._prompt.tokens(part),
                min(limit, self._prompt.reply_tokens(part)),
            )
            try:
                reply, inward, outward = self._paid(request, stop)
            except GivenUp as error:
                self._bear(error, part.row)
                yield Judgement("failed", unknown(part))
                return
            state, shown = reply.read(len(order))
            yield Judgement(state, in_place(order, shown), inward, outward, 1)
            if state == "ok":
                return

    def _paid(self, request: _Request, stop: threading.Event) -> tuple[ChatReply, int, int]:
        """One reply, within the budget, and its tokens in and out."""
        most = self.price.cost(request.prompt_tokens, request.limit)
        held = self._budget.reserve(most)
        if held is None:
            raise BudgetSpent
        cost = None
        try:
            reply = self._send(request, stop)
            # a server that does not count is taken at its most
            inward, outward = reply.prompt_tokens, reply.completion_tokens
            inward = request.prompt_tokens if inward is None else inward
            outward = request.limit if outward is None else outward
            cost = self.price.cost(inward, outward)
        finally:
            self._budget.settle(held, most, cost)
        with self._lock:
            self._failures = 0
        return reply, inward, outward

    def _send(self, request: _Request, stop: threading.Event) -> ChatReply:
        structured = self._structured
        try:
            reply = self._sent(request, stop, structured)
        except GivenUp as error:
            if self._settled or structured == "none" or error.failure.status != 400:
                raise
            # if it is the request that the server does not like, this one fails as well
            reply = self._sent(request, stop, "none")
            with self._lock:
                if not self._settled:
                    self._settled, self._structured = True, "none"
                    logger.warning(
                        "%s takes no JSON schema (%s); going on without, set %s.structured=none",
                        self._config.base_url,
                        self._connection.redacted(error.failure.reason),
                        self._knob,
                    )
            return reply
        self._settled = True
        return reply

    def _sent(self, request: _Request, stop: threading.Event, structured: str) -> ChatReply:
        config = self._config
        fields: dict[str, Any] = {config.limit_field: request.limit}
        if config.temperature is not None:
            fields["temperature"] = config.temperature
        if _FORMATS[structured] is not None:
            fields["response_format"] = _FORMATS[structured]

        def ask() -> ChatReply:
            import openai

            try:
                reply = self._connection.client.chat.completions.with_raw_response.create(
                    model=config.model,
                    messages=[
                        {"role": "system", "content": self._prompt.instructions},
                        {"role": "user", "content": request.message},
                    ],
                    **fields,
                )
            except openai.BadRequestError as error:
                if error.code == "content_filter":  # how some servers refuse a prompt
                    return ChatReply(None, None, True, 0, 0)
                raise
            read = chat_reply(reply.content, self._knob)
            text = read.text and self._connection.redacted(read.text)
            return replace(read, text=text)

        return self._connection.send(ask, request.prompt_tokens + request.reply_tokens, stop)

    def _bear(self, error: GivenUp, row: str) -> None:
        """Let one call fail; raises the error if no other call can do better either."""
        failure = error.failure
        with self._lock:
            self._failures += 1
            many = self._failures >= self._config.most_failures
        if many or not (failure.again or failure.status in _THIS_REQUEST):
            raise error
        logger.warning("%s: %s; its documents stay unknown", row, error)
