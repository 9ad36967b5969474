"""What happens between steps: following, judging and keeping a run.

Each callback is asked after every optimizer step, in this order: `Follower` (loss, speed, NaN),
`Judge` (validation, best weights, patience, samples), `Keeper` (checkpoints, stopping).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

import psutil
import torch

from llmwright.core.errors import CheckError
from llmwright.core.events import Metric, Sample
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.data.records import Row
from llmwright.training.batching import describe_rows
from llmwright.training.checkpoint import Checkpoints
from llmwright.training.loop import StepResult, Trainee
from llmwright.training.state import State
from llmwright.training.validation import Validation

# Progress is for eyes; more often than this only costs time.
SECONDS_BETWEEN_REPORTS = 0.25
# Reading a loss makes a GPU wait, so there it is done for this many steps at once.
STEPS_BETWEEN_READINGS = 20


class Callback(Protocol):
    """Something to do after an optimizer step."""

    def after(self, result: StepResult) -> None:
        """Do it."""


class Follower:
    """Reads losses, stops at one that is no number, and reports progress.

    Args:
        trainee: Who is followed.
        state: Gets the history.
        run: Gets the events.
        rows: Training rows, to name those of a bad step.
        every_steps: Steps between entries of the history.
    """

    def __init__(
        self, trainee: Trainee, state: State, run: Run, rows: Sequence[Row], every_steps: int
    ) -> None:
        self._trainee, self._state, self._run, self._rows = trainee, state, run, rows
        self._every_steps = every_steps
        self._unread: list[StepResult] = []
        self._process = psutil.Process()
        self._reported = (time.monotonic(), state.tokens)

    def after(self, result: StepResult) -> None:
        """Take note of a step; read its loss when that is cheap."""
        self._unread.append(result)
        if not self._trainee.runtime.waits or len(self._unread) >= STEPS_BETWEEN_READINGS:
            self.read()

    def read(self) -> None:
        """Read the losses of all steps so far.

        Raises:
            CheckError: One of them is no finite number (``TRAIN-012``).
        """
        if not self._unread:
            return
        results, self._unread = self._unread, []
        losses = torch.stack([result.loss for result in results]).tolist()
        for result, loss in zip(results, losses, strict=True):
            if not math.isfinite(loss):
                raise self._bad(result, loss)
            self._state.unsaid_losses.append(loss)
            if result.step % self._every_steps == 0:
                self._note(result)
        self._report(results[-1], losses[-1])

    def _bad(self, result: StepResult, loss: float) -> CheckError:
        found = {
            row
            for indices_B in result.group
            for row in self._trainee.batches.rows(indices_B, result.epoch)
        }
        where = describe_rows(self._rows, sorted(found))
        return CheckError(
            "TRAIN-012", loss=loss, step=result.step, lr=f"{result.lr:.3g}", rows=where
        )

    def _note(self, result: StepResult) -> None:
        losses, self._state.unsaid_losses = self._state.unsaid_losses, []
        mean = sum(losses) / len(losses)
        self._state.history.append({"step": result.step, "loss": mean, "lr": result.lr})
        self._run.emit(Metric("loss", mean, result.step, "train"))

    def _report(self, result: StepResult, loss: float) -> None:
        now, (then, tokens) = time.monotonic(), self._reported
        total = self._trainee.budget.total_steps(self._state)
        last = result.step >= total
        if now - then < SECONDS_BETWEEN_REPORTS and not last:
            return
        self._reported = (now, self._state.tokens)
        self._run.progress(
            "train",
            result.step,
            None if math.isinf(total) else round(total),
            "steps",
            loss=loss,
            lr=result.lr,
            tokens_per_second=(self._state.tokens - tokens) / max(now - then, 1e-9),
            memory_bytes=self._process.memory_info().rss,
        )


class Judge:
    """Measures the model on the validation split, keeps the best weights, and loses patience.

    Args:
        trainee: Who is judged.
        state: Gets the results.
        run: Gets the events.
        follower: Reads losses first: weights behind a NaN are not worth measuring.
        validation: Measures; None when there is no validation split.
        checkpoints: Keeps the best weights.
        every_steps: Steps between evaluations.
        patience: Evaluations without a better one before it ends; None for ever.
    """

    def __init__(
        self,
        trainee: Trainee,
        state: State,
        run: Run,
        follower: Follower,
        validation: Validation | None,
        checkpoints: Checkpoints,
        every_steps: int,
        patience: int | None,
    ) -> None:
        self._trainee, self._state, self._run = trainee, state, run
        self._follower, self._validation, self._checkpoints = follower, validation, checkpoints
        self._every_steps, self._patience = every_steps, patience

    def after(self, result: StepResult) -> None:
        """Measure when it is time, and always after the last step."""
        due = result.step % self._every_steps == 0
        if self._validation is not None and (due or self._trainee.budget.reached(self._state)):
            self._follower.read()
            self.judge(self._validation)

    def judge(self, validation: Validation) -> None:
        """Measure now."""
        state = self._state
        measured = validation.measure(self._trainee)
        state.evaluations.append({"step": state.step, **measured})
        for name, value in measured.items():
            self._run.emit(Metric(name, value, state.step, "validation"))
        for prompt, answer in validation.samples(self._trainee):
            self._run.emit(Sample(prompt, answer, state.step))
        if state.best is None or validation.rank(measured) > validation.rank(state.best):
            state.best_step, state.num_worse = state.step, 0
            self._checkpoints.save_best(self._trainee, state.step)
            return
        state.num_worse += 1
        if self._patience is not None and state.num_worse >= self._patience:
            state.stopped_early = True
            sentence = text("training.stopped_early", step=state.step, best_step=state.best_step)
            self._run.notice(sentence)


class Keeper:
    """Writes checkpoints, and stops when the user asks for it.

    Args:
        trainee: Who is kept.
        state: Is kept with it.
        run: Says whether to stop.
        follower: Reads losses first: a NaN is never kept.
        checkpoints: Where to.
        every_steps: Steps between checkpoints.
    """

    def __init__(
        self,
        trainee: Trainee,
        state: State,
        run: Run,
        follower: Follower,
        checkpoints: Checkpoints,
        every_steps: int,
    ) -> None:
        self._trainee, self._state, self._run = trainee, state, run
        self._follower, self._checkpoints = follower, checkpoints
        self._every_steps = every_steps

    def after(self, result: StepResult) -> None:
        """Write a checkpoint when it is time.

        Raises:
            StoppedError: The user asked to stop; all is saved (``CORE-060``).
        """
        over = self._state.stopped_early or self._trainee.budget.reached(self._state)
        stop = self._run.should_stop()
        if over or stop or result.step % self._every_steps == 0:
            self._follower.read()
            self._checkpoints.save(self._trainee, self._state)
        if stop and not over:
            raise self._run.stop()
