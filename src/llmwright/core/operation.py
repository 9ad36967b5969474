"""What one row of the table of operations says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.artifacts import Artifact
from llmwright.core.config import Config
from llmwright.core.registry import load_object

if TYPE_CHECKING:
    from llmwright.core.runs import Run

Function = Callable[[Config, dict[str, Artifact], "Run"], Artifact | None]
# Takes the folders of what was recorded and of what was made now.
Compare = Callable[[Path, Path], "list[Finding]"]


@dataclass(frozen=True)
class Finding:
    """One thing that two artifacts were compared in.

    Attributes:
        name: What was compared, as in ``weights``.
        recorded: What it was, in short.
        made: What it is now.
        difference: The largest difference; None where there is only equal and not equal.
        equal: Whether both are the same, bit by bit.
    """

    name: str
    recorded: str
    made: str
    difference: float | None
    equal: bool


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
        compare: ``"module:function"`` that says how far two artifacts of it are apart; empty where
            only equal files are equal.
        step: Whether ``llmwright run`` executes its section (False: the section is settings).
        base: Verb whose section of the project file is this one's field of that name; that section
            is then no step of its own.
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
    compare: str = ""
    base: str = ""

    @property
    def beside(self) -> tuple[str, ...]:
        """What may stand in its section of the project file beside its settings."""
        return ("name", "base") if self.base else ("name",)

    def config_class(self) -> type[Config]:
        """Import and return the config class."""
        found: type[Config] = load_object(self.config)
        return found

    def load(self) -> Function:
        """Import and return the function."""
        found: Function = load_object(self.function)
        return found

    def load_compare(self) -> Compare | None:
        """Import and return the function that compares two artifacts, where there is one."""
        found: Compare | None = load_object(self.compare) if self.compare else None
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
