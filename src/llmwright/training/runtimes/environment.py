"""What a process that trains beside others finds in its environment.

The names are those that torchrun uses, so whatever reads them (torch, NCCL, a debugger) works.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from llmwright.core.errors import ConfigError

# Set by our own launcher only: the folder through which process and launcher speak, the launcher's
# number and start, and the address at which processes find each other.
FOLDER = "LLMWRIGHT_RANKS"
LAUNCHER = "LLMWRIGHT_LAUNCHER"
MEETING = "LLMWRIGHT_MEETING"


@dataclass(frozen=True)
class Place:
    """The place of a process among all that train together.

    Attributes:
        rank: Its number, from 0.
        local_rank: Its number on this machine, from 0.
        world: How many there are.
    """

    rank: int
    local_rank: int
    world: int

    def variables(self) -> dict[str, str]:
        """Return the environment variables that say so."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world),
        }

    @classmethod
    def here(cls) -> Place:
        """Return the place of this process."""
        return cls(*(int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")))


def refuse_foreign_launch() -> None:
    """Refuse to be one of several processes that somebody else started.

    Raises:
        ConfigError: torchrun, or what does its work, started this process (``TRAIN-121``).
    """
    foreign = "LOCAL_RANK" in os.environ and FOLDER not in os.environ
    if foreign and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("TRAIN-121", world=os.environ["WORLD_SIZE"])
