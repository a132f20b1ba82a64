"""Calls to a language model on an OpenAI-compatible server, within a budget."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

from ....core.server.connection import Connection, GivenUp
from ....core.server.failures import Knobs
from ..budget import Budget
from .answerer import BudgetSpent
from .chat_reply import ChatReply, chat_reply
from .config import ChatModelConfig

logger = logging.getLogger(__name__)

# refused for what stands in this one request; others may pass
_THIS_REQUEST = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Request:
    """Both messages, the most tokens of the reply, and the tokens that either may have."""

    instructions: str
    message: str
    limit: int
    prompt_tokens: int
    reply_tokens: int


class ChatCalls:
    """Sends requests, from several threads at once; failed ones are sent again, see `Connection`.

    Replies are asked for in the JSON schema `schema` until the server refuses it.
    """

    def __init__(
        self,
        config: ChatModelConfig,
        budget: Budget,
        knob: str,
        feature: str,
        knobs: Knobs,
        schema: tuple[str, dict[str, Any]],
    ) -> None:
        """Connects to nothing yet; errors name the configuration section `knob`.

        `feature` is what needs the server, `schema` a name and a JSON schema. Raises PyriteError
        as `Connection` does.
        """
        self._config = config
        self._knob = knob
        self._budget = budget
        self._connection = Connection(config, feature, knobs)
        name, shape = schema
        strict = {"name": name, "strict": True, "schema": shape}
        self._formats: dict[str, Any] = {
            "json_schema": {"type": "json_schema", "json_schema": strict},
            "json_object": {"type": "json_object"},
            "none": None,
        }
        self._structured = "json_schema" if config.structured == "auto" else config.structured
        self._settled = config.structured != "auto"
        self._failures = 0
        self._lock = threading.Lock()

    def paid(self, request: Request, stop: threading.Event) -> tuple[ChatReply, int, int]:
        """One reply, within the budget, and its tokens in and out.

        Raises BudgetSpent if there is no money for it, GivenUp if the server does not answer, and
        CancelledError instead of waiting once `stop` is set.
        """
        price = self._config.price
        most = price.cost(request.prompt_tokens, request.limit)
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
            cost = price.cost(inward, outward)
        finally:
            self._budget.settle(held, most, cost)
        with self._lock:
            self._failures = 0
        return reply, inward, outward

    def _send(self, request: Request, stop: threading.Event) -> ChatReply:
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

    def _sent(self, request: Request, stop: threading.Event, structured: str) -> ChatReply:
        config = self._config
        fields: dict[str, Any] = {config.limit_field: request.limit}
        if config.temperature is not None:
            fields["temperature"] = config.temperature
        if self._formats[structured] is not None:
            fields["response_format"] = self._formats[structured]

        def ask() -> ChatReply:
            import openai

            try:
                reply = self._connection.client.chat.completions.with_raw_response.create(
                    model=config.model,
                    messages=[
                        {"role": "system", "content": request.instructions},
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

    def bear(self, error: GivenUp, what: str, lost: str) -> None:
        """Let the call about `what` fail, of which `lost` is said in the log.

        Raises the error if no other call can do better either.
        """
        failure = error.failure
        with self._lock:
            self._failures += 1
            many = self._failures >= self._config.most_failures
        if many or not (failure.again or failure.status in _THIS_REQUEST):
            raise error
        logger.warning("%s: %s; %s", what, error, lost)
