"""Which texts llama.cpp remembers: one key-value cache for all, and what of it is used again.

A text that is finished stays in the cache until its place is needed: the next one that begins like
it (the same instructions, the same conversation) does not read that beginning again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmwright.core.errors import ResourceError
from llmwright.inference.engines.llamacpp.library import Library


@dataclass
class Slot:
    """The place of one text.

    Attributes:
        sequence: Its number in llama.cpp.
        tokens: What of it is in the cache.
        busy: Whether it is being written.
        used: When it was taken last, as a running number.
    """

    sequence: int
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0


class Cache:
    """The slots of one context of llama.cpp.

    Args:
        library: llama.cpp.
        memory: Handle of the context's key-value cache.
        num_slots: Texts at once.
        num_cells: Tokens of all texts together.

    Attributes:
        num_asked: Prompt tokens of all texts so far …
        num_found: … and those of them that were in the cache.
    """

    def __init__(self, library: Library, memory: int, num_slots: int, num_cells: int) -> None:
        self._library, self._memory = library, memory
        self.slots = [Slot(number) for number in range(num_slots)]
        self.num_cells = num_cells
        self.num_asked = 0
        self.num_found = 0
        self._clock = 0

    def take(self, prompt: Sequence[int]) -> tuple[Slot, int]:
        """Return a free slot, and how many of a prompt's tokens it has already.

        At least one token is left to be read, for the logits behind it.

        Raises:
            ResourceError: All are busy (``INFER-042``).
        """
        free = [slot for slot in self.slots if not slot.busy]
        if not free:
            raise ResourceError("INFER-042", slots=len(self.slots))
        # The longest beginning in common; else the one that was not used for longest.
        best = max(free, key=lambda slot: (common(slot.tokens, prompt), -slot.used))
        kept = max(0, min(common(best.tokens, prompt), len(prompt) - 1))
        taken = best
        if kept < len(best.tokens) / 2:
            # Most of what it holds is of another text, which may go on: its beginning is shared.
            taken = min(free, key=lambda slot: slot.used if slot.tokens else -1)
        if taken is best:
            self._cut(best, kept)
        else:
            self._share(best, taken, kept)
        self.num_asked += len(prompt)
        self.num_found += kept
        self._clock += 1
        taken.busy, taken.used = True, self._clock
        return taken, kept

    def check_free(self, count: int) -> None:
        """Refuse what needs more slots than are free.

        Raises:
            ResourceError: It does (``INFER-042``).
        """
        if sum(not slot.busy for slot in self.slots) < count:
            raise ResourceError("INFER-042", slots=len(self.slots))

    def copy(self, slot: Slot) -> Slot:
        """Return another slot with what one holds; llama.cpp keeps it only once.

        Raises:
            ResourceError: All are busy (``INFER-042``).
        """
        self.check_free(1)
        other = min((one for one in self.slots if not one.busy), key=lambda one: one.used)
        self._share(slot, other, len(slot.tokens))
        self._clock += 1
        other.busy, other.used = True, self._clock
        return other

    def _share(self, slot: Slot, other: Slot, length: int) -> None:
        """Let another slot begin as one does; llama.cpp keeps what they share only once."""
        self._cut(other, 0)
        if length:
            self._library.memory_seq_cp(self._memory, slot.sequence, other.sequence, 0, length)
        other.tokens = slot.tokens[:length]

    def make_room(self, num_tokens: int) -> None:
        """Forget finished texts, the oldest first, until so many more tokens fit.

        Raises:
            ResourceError: They do not fit beside the texts being written (``INFER-043``).
        """
        idle = sorted((s for s in self.slots if not s.busy and s.tokens), key=lambda s: s.used)
        while self.num_used + num_tokens > self.num_cells:
            if not idle:
                raise ResourceError("INFER-043", tokens=self.num_used + num_tokens)
            self._cut(idle.pop(0), 0)

    @property
    def num_used(self) -> int:
        """Tokens in the cache."""
        return sum(len(slot.tokens) for slot in self.slots)

    def release(self, slot: Slot) -> None:
        """Let others have a slot; what it holds stays until then."""
        slot.busy = False

    def forget(self, slot: Slot) -> None:
        """Let others have a slot whose content is not known to be sound."""
        self._cut(slot, 0)
        slot.busy = False

    def _cut(self, slot: Slot, length: int) -> None:
        if length < len(slot.tokens):
            self._library.memory_seq_rm(self._memory, slot.sequence, length, -1)
            del slot.tokens[length:]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike."""
    length = min(len(one), len(other))
    for place in range(length):
        if one[place] != other[place]:
            return place
    return length
