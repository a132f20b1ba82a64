"""What a judge's tokens cost."""

from __future__ import annotations

from pydantic import Field

from ...core.config import Section

_MILLION = 1e6


class Price(Section):
    """Money for a million tokens, in any currency; a judge of one's own costs nothing."""

    input: float = Field(0.0, ge=0, description="of a million prompt tokens")
    output: float = Field(0.0, ge=0, description="of a million completion tokens")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of so many tokens."""
        return (self.input * prompt_tokens + self.output * completion_tokens) / _MILLION


FREE = Price()
