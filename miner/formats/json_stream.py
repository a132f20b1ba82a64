"""JSON files of one long list, read item by item: what no line break separates."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.errors import PyriteError
from .packed import chunks

MAX_ITEM = 64 << 20
_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"
_UNFINISHED = re.compile(r"[-+.eE0-9]*\Z")


class JsonStream:
    """Reads values one after the other; in memory are the one at hand and what follows closely."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces = chunks(path)
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    @property
    def line(self) -> int:
        """The line of the character that is read next, from 1."""
        return self._line

    def peek(self) -> str:
        """The next character that is no white space, without taking it; "" at the end."""
        while True:
            while self._at < len(self._text):
                letter = self._text[self._at]
                if letter not in _SPACE:
                    return letter
                self._advance(self._at + 1)
            if not self._more(1):
                return ""

    def take(self, letters: str) -> str:
        """The next character, which must be one of `letters`."""
        found = self.peek()
        if not found or found not in letters:
            expected = " or ".join(repr(letter) for letter in letters)
            raise self._fault(f"{found or 'the end'!r} where {expected} must stand")
        self._advance(self._at + 1)
        return found

    def value(self) -> Any:
        """The next JSON value."""
        self.peek()
        wanted = 1
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or not self._more(wanted):
                    raise self._fault(str(error)) from error
            else:
                # a number that ends with the buffer may go on, as 1 does in "1." and "1e+"
                if not _UNFINISHED.match(self._text, end) or not self._more(wanted):
                    self._advance(end)
                    return value
            if len(self._text) - self._at > MAX_ITEM:
                raise self._fault(f"an item of more than {MAX_ITEM >> 20} MiB, or one without end")
            wanted *= 2

    def items(self) -> Iterator[tuple[int, Any]]:
        """The items of the list that begins here, each with its line."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            self.peek()
            line = self._line
            yield line, self.value()
            if self.take(",]") == "]":
                return

    def end(self) -> None:
        """Nothing may follow."""
        if self.peek():
            raise self._fault("something follows the last bracket")

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self, pieces: int) -> bool:
        if self._ended:
            return False
        parts = [self._text[self._at :]]
        try:
            for _ in range(pieces):
                piece = next(self._pieces, None)
                parts.append(self._utf8.decode(piece or b"", final=piece is None))
                self._ended = piece is None
                if self._ended:
                    break
        except UnicodeDecodeError as error:
            raise self._fault(f"not UTF-8: {error}") from error
        self._text, self._at = "".join(parts), 0
        return True

    def _fault(self, what: str) -> PyriteError:
        return PyriteError(f"{self._path}:{self._line}: not readable as JSON ({what}); mend it")
