"""One execution of an operation: its folder, its events, and what it may save."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, Self

from llmwright.core import files, hardware
from llmwright.core.artifacts import Draft, Store
from llmwright.core.errors import LLMwrightError, ResourceError, StoppedError
from llmwright.core.events import ArtifactSaved, Emit, Event, Notice, Progress

# In a run's folder: how often it was killed because memory ran out, and, while a process is at
# work, the counters of such kills at its beginning.
KILLS = "kills.json"
# In a run's folder: where it goes on from, of no use once the run is written down as finished.
CHECKPOINTS = "checkpoints"

_Handler = Callable[[int, FrameType | None], Any] | int | None


class Run:
    """What an operation is given to work with.

    Args:
        identity: The run's id.
        folder: Its own folder, kept between a kill and the resumed run: checkpoints, events.
        root: The project's root; relative paths in configs start here.
        store: Where artifacts go.
        consumers: Who receives the events.
        origin: What the manifest of a saved artifact says about where it comes from.
        resumed: Whether an earlier process began this run.
        shorter: Folder of an earlier run of the same work with another budget; None where there is
            none, or all is to be done anew.

    Attributes:
        catches_signals: Whether Ctrl-C and SIGTERM are for this process to answer.
    """

    catches_signals: ClassVar[bool] = True

    def __init__(
        self,
        identity: str,
        folder: Path,
        root: Path,
        store: Store,
        consumers: Sequence[Emit] = (),
        origin: dict[str, Any] | None = None,
        resumed: bool = False,
        shorter: Path | None = None,
    ) -> None:
        self.id = identity
        self.folder = folder
        self.root = root
        self.store = store
        self.resumed = resumed
        self.shorter = shorter
        self._consumers = list(consumers)
        self.origin = origin or {}
        self._stop = threading.Event()

    def description(self) -> dict[str, Any]:
        """Return what `described` makes this run of in another process: plain values."""
        return {
            "identity": self.id,
            "folder": str(self.folder),
            "root": str(self.root),
            "home": str(self.store.home),
            "origin": self.origin,
            "resumed": self.resumed,
        }

    @classmethod
    def described(cls, values: dict[str, Any]) -> Self:
        """Return a run of this kind in another process; nobody receives its events yet."""
        return cls(
            values["identity"],
            Path(values["folder"]),
            Path(values["root"]),
            Store(Path(values["home"])),
            origin=values["origin"],
            resumed=values["resumed"],
        )

    def follow(self, consumer: Emit) -> None:
        """Hand every event from now on to one more consumer."""
        self._consumers.append(consumer)

    def emit(self, event: Event) -> None:
        """Hand an event to every consumer."""
        for consumer in self._consumers:
            consumer(event)

    def notice(self, sentence: str, level: Literal["info", "warning"] = "info") -> None:
        """Tell the user something that was found, decided or switched on."""
        self.emit(Notice(sentence, level))

    def progress(
        self, stage: str, done: float, total: float | None, unit: str = "", **values: float
    ) -> None:
        """Report progress; cheap enough to call for each batch."""
        self.emit(Progress(stage, done, total, unit, values))

    @contextlib.contextmanager
    def draft(self, kind: str) -> Iterator[Draft]:
        """Yield a folder to fill that becomes an artifact on a clean exit."""
        with self.store.draft(kind) as draft:
            draft.origin.update(self.origin)
            yield draft
        assert draft.artifact is not None
        made = draft.artifact
        passed = bool(made.metadata.get("passed", True))
        self.emit(ArtifactSaved(made.id, kind, str(made.path), passed))

    @contextlib.contextmanager
    def recoverable(self) -> Iterator[None]:
        """Within this block the run can go on with less memory, once it was killed for want of it.

        A job whose command is killed here for that reason is started again. Only what then takes
        less belongs here: what is killed before or after it would be killed again.
        """
        path = self.folder / KILLS
        kills = self.num_kills() + killed_for_memory(self.folder)
        files.write_json(path, {"kills": kills, "counters": hardware.memory_kills()})
        lost = False
        try:
            yield
        except Exception as error:
            # Who works beside a process that was killed ends by a lost connection.
            lost = not isinstance(error, LLMwrightError) and killed_for_memory(self.folder)
            raise
        finally:
            # What ends in good order was not killed. On a full disk, what ended it matters more.
            with contextlib.suppress(ResourceError, OSError):
                files.write_json(path, {"kills": self.num_kills() + lost})

    def num_kills(self) -> int:
        """Return how often this run was killed because memory ran out."""
        path = self.folder / KILLS
        return int(files.read_json(path)["kills"]) if path.is_file() else 0

    def forget_kills(self) -> None:
        """Begin to count anew: the next start may find more memory."""
        (self.folder / KILLS).unlink(missing_ok=True)

    def should_stop(self) -> bool:
        """Say whether the user asked to stop; only asked inside `stoppable`."""
        return self._stop.is_set()

    def stop(self) -> StoppedError:
        """Return the error to raise once everything worth keeping is saved."""
        return StoppedError("CORE-060", run=self.id)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Within this block the first Ctrl-C or SIGTERM sets `should_stop`; the second interrupts.

        Outside it both interrupt at once. Long work that can save its state uses this.
        """
        main = threading.current_thread() is threading.main_thread()
        if not (self.catches_signals and main):
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            self._stop.set()

        previous: dict[signal.Signals, _Handler] = {
            number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def killed_for_memory(folder: Path) -> bool:
    """Say whether the last process of a run was killed because memory ran out.

    It had begun something recoverable and not ended it, and since then its control group counted a
    kill; the machine did, where that group is gone or never counted.

    Args:
        folder: The run's own.
    """
    path = folder / KILLS
    before = files.read_json(path).get("counters", {}) if path.is_file() else {}
    # The machine comes last.
    for name in sorted(before, key=lambda name: name == str(hardware.MACHINE_COUNTS)):
        now = hardware.kills_at(Path(name))
        if now is not None:
            return now > int(before[name])
    return False


def discard_checkpoints(folder: Path) -> None:
    """Remove what a finished run could have gone on from.

    Args:
        folder: The run's own.
    """
    # What cannot be removed is only in the way: the result is there.
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


@contextlib.contextmanager
def interrupt_on_terminate() -> Iterator[None]:
    """Make SIGTERM act like Ctrl-C, so that drafts are removed and the run is marked stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
