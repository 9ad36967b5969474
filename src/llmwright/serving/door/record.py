"""What is noted about one request while it is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llmwright.serving.door.keys import Key


@dataclass
class Record:
    """What is noted about one request, for its log line; routes fill in what they know."""

    id: str
    key: Key | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    first_token_seconds: float | None = None
    disconnected: bool = False
    arrived: float = field(default_factory=time.monotonic)
    # "hit" or "miss" where answers like this one are kept.
    cache: str | None = None
    # Names of the guards that found something.
    flags: list[str] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens the model read and wrote so far."""
        if self.cache == "hit":
            return 0
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def headers(self) -> dict[str, str]:
        """Return what the answer's headers say."""
        found = {"x-request-id": self.id}
        if self.flags:
            found["x-llmwright-flagged"] = ",".join(self.flags)
        if self.cache:
            found["x-llmwright-cache"] = self.cache
        return found

    def usage(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Note token counts; several texts of one request add up."""
        self.prompt_tokens = (self.prompt_tokens or 0) + prompt_tokens
        self.completion_tokens = (self.completion_tokens or 0) + completion_tokens
