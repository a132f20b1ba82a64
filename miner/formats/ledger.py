"""What a conversion could not keep and what it had to make, by field: counted, never silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ...core.errors import PyriteError

_WHITE = str.maketrans("\t\n\r", "   ")


@dataclass(slots=True)
class Ledger:
    """Counts of one conversion.

    `lost` are values that the target has no place for. `made` is what the target needs and the
    source did not say, or says in another way: nothing of the source is missing there.
    """

    source: str
    target: str
    strict: bool = False
    lost: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)

    def lose(self, what: str, line: int, count: int = 1) -> None:
        """Count values that are not written; raises PyriteError if the conversion is strict."""
        if count and self.strict:
            raise PyriteError(
                f"{self.source}:{line}: {what}, which {self.target} cannot hold; name another --to,"
                " or leave --strict out to have it counted"
            )
        if count:
            self.lost[what] += count

    def make(self, what: str, count: int = 1) -> None:
        """Count what was made."""
        if count:
            self.made[what] += count

    def flat(self, text: str, what: str, line: int) -> str:
        """`text` in one line without tabs; white space that has to give way is counted."""
        flat = text.translate(_WHITE)
        self.lose(f"tab or line break in a {what}", line, flat != text)
        return flat

    def word(self, name: str, what: str, line: int, without: str = "") -> str:
        """An id for a line of fields; raises PyriteError for one with what parts the fields.

        That is any white space, or the letters of `without`.
        """
        parted = any(c in without for c in name) if without else name.split() != [name]
        if parted or not name:
            held = ", ".join(map(repr, without)) if without else "white space"
            raise self.fault(
                line,
                f"{what} id {name!r} holds {held}, which {self.target} cannot; name another --to",
            )
        return name

    def extras(self, names: Collection[str], line: int, of: str = "") -> None:
        """Count fields that have no place, each by its name."""
        for name in names:
            self.lose(f"field {name!r}{of}", line)

    def fault(self, line: int, says: str) -> PyriteError:
        """An error about a row of the source."""
        return PyriteError(f"{self.source}:{line}: {says}")
