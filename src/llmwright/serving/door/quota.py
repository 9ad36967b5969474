"""How much each key may ask: requests and tokens per minute, and requests at the same time.

A bucket holds what one minute allows and fills steadily, so that nobody gets two minutes' worth at
the turn of a minute. What a request will cost in tokens is known only when it is answered: it is
let in while the bucket is not empty, and what it took beyond that is paid back before the next.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from llmwright.serving.door.errors import ApiError
from llmwright.serving.door.keys import Key

MINUTE = 60.0


class Bucket:
    """What a minute allows, filling steadily.

    Args:
        limit: Per minute; also what it holds at most.
        now: Seconds of a monotonic clock.
    """

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._filled = now

    def level(self, now: float) -> float:
        """Return what may be taken; below 0 what has to be paid back."""
        grown = self._level + (now - self._filled) * self.limit / MINUTE
        self._level, self._filled = min(float(self.limit), grown), now
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take an amount, more than there is if need be."""
        self._level = self.level(now) - amount

    def wait(self, amount: float, now: float) -> float:
        """Return in how many seconds this much can be taken."""
        return max(0.0, (amount - self.level(now)) * MINUTE / self.limit)

    def headers(self, what: str, now: float) -> dict[str, str]:
        """Return limit, what is left and when it is whole again, by the names OpenAI uses."""
        left = self.level(now)
        return {
            f"x-ratelimit-limit-{what}": str(self.limit),
            f"x-ratelimit-remaining-{what}": str(max(0, math.floor(left))),
            f"x-ratelimit-reset-{what}": f"{self.wait(self.limit, now):.3f}s",
        }


@dataclass
class _Use:
    """What one key has taken."""

    running: int = 0
    buckets: dict[str, Bucket] = field(default_factory=dict)


class Quotas:
    """The use of all keys; they are asked by one event loop and need no lock."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}

    def enter(self, key: Key) -> None:
        """Let a request of a key in; `leave` has to follow.

        Raises:
            ApiError: Too many at once, or a minute's requests or tokens are used up (429).
        """
        now = time.monotonic()
        use = self._uses.setdefault(key.id, _Use())
        self._follow(use, key, now)
        if key.max_concurrency is not None and use.running >= key.max_concurrency:
            headers = {"retry-after": "1", **self._headers(use, now)}
            raise ApiError(429, "too_many_at_once", headers=headers, limit=key.max_concurrency)
        for what, bucket in use.buckets.items():
            wait = bucket.wait(1, now)
            if wait > 0:
                headers = {"retry-after": str(math.ceil(wait)), **self._headers(use, now)}
                code = f"rate_limited_{what}"
                raise ApiError(429, code, headers=headers, limit=bucket.limit)
        if "requests" in use.buckets:
            use.buckets["requests"].take(1, now)
        use.running += 1

    def leave(self, key: Key, num_tokens: int) -> None:
        """Note that a request of a key is over, and what it took."""
        use = self._uses[key.id]
        use.running -= 1
        if "tokens" in use.buckets:
            use.buckets["tokens"].take(num_tokens, time.monotonic())

    def headers(self, key: Key) -> dict[str, str]:
        """Return what a key has left, for an answer's headers."""
        use = self._uses.get(key.id)
        return self._headers(use, time.monotonic()) if use else {}

    def _headers(self, use: _Use, now: float) -> dict[str, str]:
        found: dict[str, str] = {}
        for what, bucket in use.buckets.items():
            found |= bucket.headers(what, now)
        return found

    def _follow(self, use: _Use, key: Key, now: float) -> None:
        """Make the buckets a key has now; the file may have changed its limits."""
        limits = {"requests": key.requests_per_minute, "tokens": key.tokens_per_minute}
        for what, limit in limits.items():
            held = use.buckets.get(what)
            if limit is None:
                use.buckets.pop(what, None)
            elif held is None or held.limit != limit:
                use.buckets[what] = Bucket(limit, now)
