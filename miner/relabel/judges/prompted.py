"""What all judges have in common that show a language model a prompt."""

from __future__ import annotations

from ..case import Case, Estimate
from ..prompt import Prompt


class Prompted:
    """The part of an `Answerer` that its prompt decides; a reply has at most `reply_tokens`."""

    def __init__(self, prompt: Prompt, reply_tokens: int) -> None:
        self._prompt = prompt
        self._reply_tokens = reply_tokens

    def parts(self, case: Case) -> list[Case]:
        return self._prompt.parts(case)

    def cut_texts(self, case: Case) -> int:
        return self._prompt.cut_texts(case)

    def estimate(self, part: Case) -> Estimate:
        tokens = min(self._prompt.reply_tokens(part), self._reply_tokens)
        return Estimate(1, self._prompt.tokens(part), tokens)
