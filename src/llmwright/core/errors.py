"""Every error a user can cause, in one tree: who must act decides the class.

LLMwrightError
├── ConfigError     an option, a project file or a reference is wrong           exit code 2
├── InputError      a file, row, model, plugin or address cannot be used        exit code 1
├── CheckError      a gate, a parity check or a hash did not hold               exit code 1
├── ResourceError   this machine lacks disk, memory, a port, network, a package exit code 1
└── StoppedError    the user stopped the run                                    exit code 1

A code such as ``DATA-003`` names the package and its entry in ``locale/<language>/data.yaml``:
what is wrong with the value, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

from llmwright.core import locale


class LLMwrightError(Exception):
    """An error with a code, a message about the value, and what to do.

    Args:
        code: Entry of the catalogue, as in ``DATA-003``.
        where: Config key, or file and line, that the error is about.
        **values: What the placeholders of the message stand for.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, *, where: str | None = None, **values: object) -> None:
        self.code = code
        self.where = where
        self.values = values
        self.message, self.fix = locale.error_text(code, values)
        super().__init__(f"[{code}] {self.message}" + (f" ({where})" if where else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders; the default would call the class with the message alone.
        return _restore, (type(self), self.code, self.where, self.values)

    def in_language(self, lang: locale.Language) -> tuple[str, str]:
        """Return message and fix in a given language."""
        return locale.error_text(self.code, self.values, lang)


def _restore(
    cls: type[LLMwrightError], code: str, where: str | None, values: dict[str, object]
) -> LLMwrightError:
    return cls(code, where=where, **values)


class ConfigError(LLMwrightError):
    """An option, the project file or a reference is wrong: the user changes what was asked."""

    exit_code = 2


class InputError(LLMwrightError):
    """A file, row, model, tokenizer, plugin or address that was given cannot be used."""


class CheckError(LLMwrightError):
    """A gate, parity check or hash did not hold: the result must not be trusted."""


class ResourceError(LLMwrightError):
    """This machine lacks something: disk, memory, a port, network, a package."""


class StoppedError(LLMwrightError):
    """The user stopped the run."""


def closest(name: str, choices: Iterable[str]) -> str:
    """Return a hint for an unknown name, in the user's language: the nearest choice, then all.

    As in ``Did you mean "bpe"? Choices: bpe, char.``
    """
    ordered = sorted(choices)
    near = difflib.get_close_matches(name, ordered, n=1, cutoff=0.5)
    listed = locale.text("core.choices", names=", ".join(ordered) or "-")
    return locale.text("core.did_you_mean", name=near[0]) + listed if near else listed
