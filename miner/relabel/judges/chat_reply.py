"""What a chat completion says, as far as a judge needs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ....core.server.failures import Failure
from ..case import UNKNOWN, State, Verdict
from ..parse import parse_reply


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A completion; `prompt_tokens` and `completion_tokens` are None where it does not count.

    `text` is None where the model wrote none; `finish` is the server's reason for the end.
    """

    text: str | None
    finish: str | None
    refused: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def words(self) -> tuple[State, str]:
        """The state `ok` and what the model wrote, or why there is nothing to read."""
        if self.refused or self.finish == "content_filter":
            return "refused", ""
        if self.finish == "length":
            return "truncated", ""
        if self.text is None:
            return "parse_error", ""
        return "ok", self.text

    def read(self, documents: int) -> tuple[State, tuple[Verdict, ...]]:
        """The state, and the verdicts in the order in which the documents were shown."""
        state, text = self.words()
        if state != "ok":
            return state, (UNKNOWN,) * documents
        return parse_reply(text, documents)


def chat_reply(body: bytes, section: str) -> ChatReply:
    """Read the body of an answer 200; raises Failure if it is no chat completion."""
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
        usage = reply.get("usage") or {}
        tokens = [_count(usage.get(key)) for key in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise Failure(
            "sent a reply that is not a chat completion",
            f"check that {section}.model is a chat model of this server",
        ) from None
    return ChatReply(
        text if isinstance(text, str) else None,
        finish if isinstance(finish, str) else None,
        bool(refusal),
        *tokens,
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
