"""Marks that tokenizers read as control tokens: harmless once they hold a blank.

Many servers put the messages into a chat template as text and tokenize the whole, so that a
document with the mark for the end of a message ends the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# the families in use: ChatML, Llama, Gemma, Mistral, DeepSeek (whose bars are wide)
_MARKS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<\uff5c[^\uff5c<>\s]{1,40}\uff5c>|</?s>|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
)


def break_marks(text: str, marks: Iterable[str] = ()) -> str:
    """`text` with a blank after the first character of each mark, the given `marks` included."""
    text = _MARKS.sub(lambda found: _broken(found.group()), text)
    for mark in sorted(marks):
        if len(mark) > 1:
            text = text.replace(mark, _broken(mark))
    return text


def _broken(mark: str) -> str:
    return f"{mark[0]} {mark[1:]}"
