"""Counts as people write them, and times and bytes as they read them."""

from __future__ import annotations

import re
from decimal import Decimal

from ...core.errors import PyriteError

_COUNT = re.compile(r"(\d[\d_,]*(?:\.\d+)?(?:e\+?\d{1,2})?) ?([kmb]?)", re.IGNORECASE)
_TIMES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_MOST = 10**13
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def parse_count(text: str, knob: str) -> int:
    """The whole number that `8.8M`, `500k`, `2e6` or `1_000` stand for.

    Raises PyriteError, naming the option `knob`, for anything else, 0, and more than 10^13.
    """
    found = _COUNT.fullmatch(text.strip())
    value = Decimal(0)
    if found is not None:
        digits = found[1].replace("_", "").replace(",", "")
        value = Decimal(digits) * _TIMES[found[2].lower()]
    if not 1 <= value <= _MOST or value != value.to_integral_value():
        raise PyriteError(
            f"{knob}={text}: expected a whole number from 1 to 1e13, such as 8.8M, 500k or 2e6"
        )
    return int(value)


def as_time(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 99.5:
        return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"


def as_bytes(size: float) -> str:
    """Bytes in units of a thousand."""
    for unit in _UNITS:
        if size < 999.5 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    raise ValueError("no unit is the last one")
