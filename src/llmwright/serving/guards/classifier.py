"""The guard ``classifier``: any model that tells labels of texts judges windows of the text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.inference.proof.sound import open_sound
from llmwright.serving.config import ClassifierGuard
from llmwright.serving.guards.guarding import Seen

BATCH_SIZE = 16
# What the model cannot read whole is judged in parts, down to this many characters; a part that is
# still cut then is not let pass.
SMALLEST = 16


class Classifier:
    """Judges windows of texts with a model.

    Args:
        settings: Which model and labels.
        root: Folder that a relative path starts from.
        find: Returns the folder of a model by its reference.

    Raises:
        ConfigError: The model does not tell these labels of single texts (``SERVE-016``).
        InputError: It cannot be found or loaded.
    """

    def __init__(self, settings: ClassifierGuard, root: Path, find: Callable[[str], Path]) -> None:
        self.settings = settings
        folder = root / Path(settings.model).expanduser()
        self._thread = ThreadPoolExecutor(1, "llmwright-guard")
        source = folder if folder.is_dir() else find(settings.model)
        self._predictor = self._thread.submit(partial(open_sound, source)).result()
        contract = self._predictor.contract
        unknown = [label for label in settings.labels if label not in contract.labels]
        if contract.row_type != "classification" or "text_pair" in contract.fields or unknown:
            labels = ", ".join(contract.labels) or "-"
            reason = text("serving.guard_labels", labels=", ".join(unknown) or "-", known=labels)
            raise ConfigError("SERVE-016", where="guards", kind="classifier", reason=reason)

    def watch(self) -> ClassifierWatch:
        """Return what looks at one text."""
        return ClassifierWatch(self)

    def close(self) -> None:
        """Free the model."""
        self._thread.submit(self._predictor.close)
        self._thread.shutdown(wait=False)

    async def judge(self, windows: Sequence[str]) -> list[bool]:
        """Say of each text whether it has one of the labels."""
        return await asyncio.wrap_future(self._thread.submit(partial(self._judge, windows)))

    def _judge(self, windows: Sequence[str]) -> list[bool]:
        name = self._predictor.text_name
        rows = [self._predictor.read({name: window}) for window in windows]
        found = self._predictor.predict_full(rows, BATCH_SIZE)
        return [
            self._is_bad(one.answer, window) for one, window in zip(found, windows, strict=True)
        ]

    def _is_bad(self, answer: dict[str, object], window: str) -> bool:
        scores = answer["scores"]
        assert isinstance(scores, dict)
        if any(scores[label] >= self.settings.threshold for label in self.settings.labels):
            return True
        if not answer.get("truncated"):
            return False
        if len(window) <= SMALLEST:
            return True
        half = len(window) // 2
        return any(self._judge([window[:half], window[half:]]))


class ClassifierWatch:
    """Judges one text, half a window at a time, each with the half before it.

    Args:
        guard: Judges windows.
    """

    def __init__(self, guard: Classifier) -> None:
        self._guard = guard
        self._step = guard.settings.window_characters // 2
        self._before = ""

    async def look(self, text: str, ended: bool) -> Seen:
        """Return the half windows with one of the labels, and how much has been judged."""
        safe = len(text) if ended else len(text) - len(text) % self._step
        starts = range(0, safe, self._step)
        windows = [self._window(text, start, min(start + self._step, safe)) for start in starts]
        # White space says nothing, and there are models that cannot read it.
        asked = [number for number, window in enumerate(windows) if window.strip()]
        bad = await self._guard.judge([windows[number] for number in asked]) if asked else []
        spans = [
            (starts[number], min(starts[number] + self._step, safe))
            for number, is_bad in zip(asked, bad, strict=True)
            if is_bad
        ]
        return Seen(spans, safe)

    def _window(self, text: str, start: int, end: int) -> str:
        shift = len(self._before)
        return (self._before + text)[max(0, shift + start - self._step) : shift + end]

    def passed(self, text: str) -> None:
        """Remember the half window before what comes next."""
        self._before = (self._before + text)[-self._step :]
