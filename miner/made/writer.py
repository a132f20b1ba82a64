"""Who writes: a chat server, a language model of this machine, or a function."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Protocol

from ...core.digest import digest_texts
from ...core.functions import imported_function
from ...core.server.connection import GivenUp
from ...core.server.failures import Knobs
from ..relabel.budget import Budget
from ..relabel.case import Estimate, State
from ..relabel.judges.caller import Caller, OfMachine, OfServer
from ..relabel.judges.chat_calls import ChatCalls, Request
from ..relabel.judges.local_model import LocalModel
from ..relabel.price import FREE, Price
from ..relabel.prompt import load_instructions
from .asked import Asked
from .config import ChatWriterConfig, LocalWriterConfig, MakeConfig
from .writer_prompt import SCHEMA, WriterPrompt, read_texts

_KNOB = "writer"


@dataclass(frozen=True, slots=True)
class Written:
    """A reply: its texts if the state is `ok`, and what it took."""

    state: State
    texts: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0


class Writer(Caller, Protocol):
    """Writes for one anchor at a time in each of `concurrency` threads."""

    def question(self, asked: Asked) -> str:
        """All that it is told about an anchor: equal questions of equal keys have one reply."""

    def replies(self, asked: Asked, stop: threading.Event) -> Iterator[Written]:
        """Each reply as it arrives, the last one counts; one that cannot be used is asked again.

        Raises BudgetSpent if there is no money for a call, CancelledError once `stop` is set, and
        PyriteError if nothing can be written at all.
        """

    def estimate(self, asked: Asked) -> Estimate:
        """What one reply takes."""


class ChatWriter(OfServer):
    """A `Writer` on a server; failed requests are sent again, see `Connection`."""

    def __init__(self, config: ChatWriterConfig, prompt: WriterPrompt, budget: Budget) -> None:
        """Connects to nothing yet; raises PyriteError as `Connection` does."""
        knob = f"{_KNOB}.chat"
        knobs = Knobs(
            knob,
            smaller="lower n",
            rejected=f"check {knob}.model, .structured, .limit_field, .temperature, .reply_tokens"
            " and .max_chars",
        )
        super().__init__(config)
        self._config, self._prompt = config, prompt
        schema = ("texts", SCHEMA)
        self._calls = ChatCalls(config, budget, knob, f"the writer {knob}", knobs, schema)

    @property
    def key(self) -> str:
        return self._digest("chat writer", instructions=self._prompt.instructions)

    def question(self, asked: Asked) -> str:
        return self._prompt.message(asked)

    def replies(self, asked: Asked, stop: threading.Event) -> Iterator[Written]:
        for attempt in range(self._config.reply_retries + 1):
            limit = self._config.reply_tokens << attempt
            tokens = self._prompt.estimate(asked, limit)
            message = self._prompt.message(asked, attempt)
            size = tokens.prompt_tokens, tokens.completion_tokens
            request = Request(self._prompt.instructions, message, limit, *size)
            try:
                reply, inward, outward = self._calls.paid(request, stop)
            except GivenUp as error:
                self._calls.bear(error, asked.id, "nothing is written for it")
                yield Written("failed")
                return
            state, text = reply.words()
            texts: tuple[str, ...] = ()
            if state == "ok":
                state, texts = read_texts(text, self._prompt.n)
            yield Written(state, texts, inward, outward, 1)
            if state == "ok":
                return

    def estimate(self, asked: Asked) -> Estimate:
        return self._prompt.estimate(asked, self._config.reply_tokens)


class LocalWriter(OfMachine):
    """A `Writer` of this machine: greedy, one call at a time; its tokens cost nothing."""

    def __init__(self, config: LocalWriterConfig, prompt: WriterPrompt) -> None:
        """Loads no weights yet; raises PyriteError without a model."""
        knob = f"{_KNOB}.local"
        super().__init__(LocalModel(config, knob, f"the writer {knob}"), config.dtype)
        self._config, self._prompt = config, prompt

    @property
    def key(self) -> str:
        return self._digest("local writer", instructions=self._prompt.instructions)

    def question(self, asked: Asked) -> str:
        return self._prompt.message(asked)

    def replies(self, asked: Asked, stop: threading.Event) -> Iterator[Written]:
        for attempt in range(self._config.reply_retries + 1):
            if stop.is_set():
                raise CancelledError
            limit = self._config.reply_tokens << attempt
            message = self._prompt.message(asked, attempt)
            reply = self._model.reply(self._prompt.instructions, message, limit)
            if reply.state == "failed":
                yield Written("failed")
                return
            state: State = reply.state
            texts: tuple[str, ...] = ()
            if state == "ok":
                state, texts = read_texts(reply.text, self._prompt.n)
            yield Written(state, texts, reply.prompt_tokens, reply.completion_tokens, 1)
            if state == "ok":
                return

    def estimate(self, asked: Asked) -> Estimate:
        return self._prompt.estimate(asked, self._config.reply_tokens)


class ScriptedWriter:
    """A function from what is asked to texts or a whole reply, for tests and for own writers."""

    def __init__(
        self, function: Callable[[Asked], Sequence[str] | Written], label: str = "scripted"
    ) -> None:
        """`label` names what the function computes: change it when the function changes."""
        self._function = function
        self._label = label

    @property
    def label(self) -> str:
        return self._label

    @property
    def key(self) -> str:
        return digest_texts(["scripted writer", self._label])

    @property
    def price(self) -> Price:
        return FREE

    @property
    def concurrency(self) -> int:
        return 1

    def question(self, asked: Asked) -> str:
        return digest_texts([asked.id, asked.text])

    def replies(self, asked: Asked, stop: threading.Event) -> Iterator[Written]:
        found = self._function(asked)
        yield found if isinstance(found, Written) else Written("ok", tuple(found), attempts=1)

    def estimate(self, asked: Asked) -> Estimate:
        return Estimate(0, 0, 0)


def build_writer(config: MakeConfig, budget: Budget) -> Writer:
    """The writer of a configuration.

    Raises PyriteError if the section `writer` lacks something, and MissingExtraError for a chat
    server without the package `openai`.
    """
    section = config.writer
    if section.writer == "scripted":
        name = section.scripted.function
        return ScriptedWriter(imported_function(name, f"{_KNOB}.scripted.function"), name)
    shown = section.chat if section.writer == "chat" else section.local
    knob = f"{_KNOB}.{section.writer}"
    instructions = load_instructions(config.prompt, str(__package__), knob)
    prompt = WriterPrompt(instructions, config.kind, config.n, shown.max_chars)
    if isinstance(shown, ChatWriterConfig):
        return ChatWriter(shown, prompt, budget)
    return LocalWriter(shown, prompt)
