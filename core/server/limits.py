"""How fast requests may leave: paced by requests and tokens a minute, held back on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimiter:
    """Gives each request the moment at which it may leave; shared by threads.

    Requests are spaced evenly, so no minute has more than the limits, nor does any second.
    """

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._free_at = clock()
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> float:
        """Take the next free moment for a request of `tokens`; seconds to wait until then."""
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + max(self._request_s, tokens * self._token_s)
            return start - now

    def pause(self, seconds: float) -> None:
        """Let no further request leave before `seconds` from now."""
        with self._lock:
            self._free_at = max(self._free_at, self._clock() + seconds)
