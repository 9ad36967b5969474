"""Open the sinks that were asked for, hand them the run's events, and close them again."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from llmwright.core.errors import ResourceError
from llmwright.core.events import Event
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.training.sinks.config import SinkKind
from llmwright.training.sinks.sink import Sink, SinkRequest, said_before


def check_packages(kinds: Sequence[SinkKind]) -> None:
    """Make sure that everything the sinks need is installed, before hours of training.

    Raises:
        ResourceError: A package cannot be imported (``TRAIN-170``).
    """
    for kind in kinds:
        os.environ.update(kind.environment)
        for package in kind.packages:
            _check_package(kind, package)


def _check_package(kind: SinkKind, package: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            importlib.import_module(package)
    except ImportError as error:
        raise ResourceError(
            "TRAIN-170", kind=kind.kind, package=package, extra=kind.extra, reason=str(error)
        ) from error


class Guarded:
    """A sink whose failure is said once and does not end the training.

    Args:
        kind: Its name.
        sink: The sink.
        run: Tells the user.
    """

    def __init__(self, kind: str, sink: Sink, run: Run) -> None:
        self._kind, self._sink, self._run = kind, sink, run
        self._over = False

    def __call__(self, event: Event) -> None:
        """Hand an event on, until the sink fails or is closed."""
        if not self._over:
            with self._telling(), warnings.catch_warnings(action="ignore"):
                self._sink(event)

    def close(self, failed: bool) -> None:
        """Close it, failed or not."""
        if not self._over:
            with self._telling(), warnings.catch_warnings(action="ignore"):
                self._sink.close(failed)
        self._over = True

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # The loss of a picture must not be the loss of a model.
            self._over = True
            sentence = text("training.sink_failed", kind=self._kind, reason=str(error))
            self._run.notice(sentence, "warning")


@contextlib.contextmanager
def writing(
    kinds: Sequence[SinkKind], run: Run, settings: dict[str, Any], step: int
) -> Iterator[None]:
    """Within this block the run's events also go to the sinks.

    Args:
        kinds: The sinks.
        run: Says what happens.
        settings: The config as plain values.
        step: Steps that an earlier process did.

    Raises:
        ResourceError: A sink cannot write (``TRAIN-171``) or lacks a package (``TRAIN-170``).
    """
    request = SinkRequest(
        run=run.id,
        project=run.root.resolve().name or run.id,
        root=run.root,
        folder=run.folder,
        shared=run.store.root.parent,
        settings=settings,
        step=step,
        earlier=said_before(run.folder / "events.jsonl", step),
        notice=run.notice,
    )
    opened: list[Guarded] = []
    failed = True
    try:
        for kind in kinds:
            guarded = Guarded(kind.kind, _opened(kind, request), run)
            opened.append(guarded)
            run.follow(guarded)
        yield
        failed = False
    finally:
        for guarded in opened:
            guarded.close(failed)


def _opened(kind: SinkKind, request: SinkRequest) -> Sink:
    check_packages([kind])
    try:
        with warnings.catch_warnings(action="ignore"):
            sink: Sink = kind.build(request)
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise ResourceError("TRAIN-171", kind=kind.kind, reason=reason) from error
    return sink
