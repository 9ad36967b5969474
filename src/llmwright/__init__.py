"""LLMwright: the integrated development environment for language models.

Every verb of the command line is a function here, with the same settings::

    import llmwright

    data = llmwright.prepare(source="reviews.csv")
    model = llmwright.train(epochs=3)
    llmwright.predict(["What a film!"])

Names are imported when they are first used, so that ``import llmwright`` costs nothing.
"""

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Threads that wait spin shortly, then sleep: beside other busy programs training is then much
# quicker (benchmarks/threads.py). Read when torch loads its OpenMP; what the user set stays.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from llmwright.api import (
        chat,
        compress,
        documents,
        embed,
        evaluate,
        export,
        plan,
        predict,
        predict_file,
        prepare,
        reproduce,
        run,
        serve,
        tokenize,
        train,
        tune,
        verify,
    )
    from llmwright.core.artifacts import Artifact
    from llmwright.core.errors import LLMwrightError
    from llmwright.core.project import Project
    from llmwright.core.registry import register

_HOME = {
    "Artifact": "llmwright.core.artifacts",
    "LLMwrightError": "llmwright.core.errors",
    "Project": "llmwright.core.project",
    "register": "llmwright.core.registry",
}

__all__ = [
    "Artifact",
    "LLMwrightError",
    "Project",
    "chat",
    "compress",
    "documents",
    "embed",
    "evaluate",
    "export",
    "plan",
    "predict",
    "predict_file",
    "prepare",
    "register",
    "reproduce",
    "run",
    "serve",
    "tokenize",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'llmwright' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME.get(name, "llmwright.api")), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """This package; a folder of the same name as a verb (export) does not take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, but not where an import puts a folder in the place of a verb."""
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
