"""What one row of the table of operations says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmwright.core.artifacts import Artifact
from llmwright.core.config import Config
from llmwright.core.registry import load_object

if TYPE_CHECKING:
    from llmwright.core.runs import Run

Function = Callable[[Config, dict[str, Artifact], "Run"], Artifact | None]


@dataclass(frozen=True)
class Operation:
    """One verb: a config class, a function and the kind of artifact it makes.

    Attributes:
        verb: Name on the command line, in Python and in the project file.
        makes: Kind of artifact; empty for a service that runs until it is stopped.
        config: ``"module:Class"``, importable without heavy libraries.
        function: ``"module:function"`` taking ``(config, inputs, run)``.
        summary: One line of help.
        argument: Config field that the command line also takes without its name.
        version: Counted up when the same config and inputs would give another result.
        reuse: Whether an unchanged earlier run may stand for this one (False: what is looked at may
            change behind the same reference).
        step: Whether ``llmwright run`` executes its section (False: the section is settings).
    """

    verb: str
    makes: str
    config: str
    function: str
    summary: str
    argument: str = ""
    version: int = 1
    step: bool = True
    reuse: bool = True

    def config_class(self) -> type[Config]:
        """Import and return the config class."""
        found: type[Config] = load_object(self.config)
        return found

    def load(self) -> Function:
        """Import and return the function."""
        found: Function = load_object(self.function)
        return found


Table = dict[str, Operation]


def field_at(table: Table, parts: Sequence[str]) -> tuple[type[Config], Sequence[str]] | None:
    """Return config class and field that a dotted key of the project file stands for.

    The number or name of an entry, where a section is a list, is left out.
    """
    if parts[0] not in table or len(parts) < 2:
        return None
    cls = table[parts[0]].config_class()
    first = 1 if parts[1] in cls.model_fields else 2
    return (cls, parts[first:]) if len(parts) > first else None
