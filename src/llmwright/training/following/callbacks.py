"""What happens between steps: following, judging and keeping a run.

Each callback is asked after every optimizer step, in this order: `Follower` (loss, speed, NaN),
`Judge` (validation, best weights, patience, samples), `Keeper` (checkpoints, stopping).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Protocol

import psutil
import torch

from llmwright.core.errors import CheckError
from llmwright.core.events import Metric, Sample
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.data.records import Row
from llmwright.training.checkpoints.store import Checkpoints
from llmwright.training.following.suspects import describe_suspects
from llmwright.training.following.validation import Samples, Validation
from llmwright.training.loop import StepResult, Trainee
from llmwright.training.safety.guard import WINDOW, Verdict
from llmwright.training.state import State

# Progress is for eyes; more often than this only costs time.
SECONDS_BETWEEN_REPORTS = 0.25
# Reading a loss makes a GPU wait, so there it is done for this many steps at once.
STEPS_BETWEEN_READINGS = 20
# Skipped steps that are told one by one, with their rows; all of them are counted.
MAX_TOLD = 10
# So many in a row are no accident: nothing is learned any more.
MAX_SKIPPED_IN_ROW = 20


class Callback(Protocol):
    """Something to do after an optimizer step."""

    def after(self, result: StepResult) -> None:
        """Do it."""


class Follower:
    """Reads losses and gradients, stops at bad ones or says they were skipped, reports progress.

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
        self._micro_batch = state.micro_batch_tokens

    def after(self, result: StepResult) -> None:
        """Take note of a step; read its loss when that is cheap."""
        self._unread.append(result)
        if self._state.micro_batch_tokens != self._micro_batch:
            self._micro_batch = self._state.micro_batch_tokens
            sentence = text("training.micro_batch", tokens=self._micro_batch, step=result.step)
            self._run.notice(sentence, "warning")
        if not self._trainee.runtime.waits or len(self._unread) >= STEPS_BETWEEN_READINGS:
            self.read()

    def read(self) -> None:
        """Read losses, gradient norms and verdicts of all steps so far, all at once.

        Raises:
            CheckError: A loss or gradient is no finite number (``TRAIN-012``) or a spike
                (``TRAIN-132``) and that is to stop the run, or too many steps in a row were
                skipped (``TRAIN-133``).
        """
        if not self._unread:
            return
        results, self._unread = self._unread, []
        # Without clipping nobody computed a norm.
        norms = [r.loss.new_zeros(()) if r.grad_norm is None else r.grad_norm for r in results]
        columns = ([r.loss for r in results], norms, [r.verdict for r in results])
        values = torch.stack([torch.stack(c).double() for c in columns], dim=1).tolist()
        for result, (loss, norm, verdict) in zip(results, values, strict=True):
            self._judge(result, loss, norm, Verdict(int(verdict)))
            if result.step % self._every_steps == 0 and self._state.unsaid_losses:
                self._note(result.step, result.lr)
        self._report(results[-1], values[-1][0])

    def _judge(self, result: StepResult, loss: float, norm: float, verdict: Verdict) -> None:
        """Take note of a loss; stop, or say that the step was skipped, where it is bad."""
        state, guard = self._state, self._trainee.guard
        if guard.on_spike != "ignore" and verdict is not Verdict.NO_NUMBER:
            state.recent_losses = [*state.recent_losses[1 - WINDOW :], loss]
        if verdict is Verdict.GOOD or (verdict is Verdict.SPIKE and guard.on_spike == "ignore"):
            state.unsaid_losses.append(loss)
            state.grad_norm = None if result.grad_norm is None else norm
            state.skipped_in_row = 0
            return
        self._refuse(result, loss, norm, verdict)

    def _refuse(self, result: StepResult, loss: float, norm: float, verdict: Verdict) -> None:
        state, guard = self._state, self._trainee.guard
        what, value = text("training.loss"), loss
        if verdict is Verdict.NO_NUMBER and math.isfinite(loss):
            what, value = text("training.grad_norm"), norm
        facts: dict[str, Any] = {
            "what": what,
            "value": f"{value:.4g}",
            "step": result.step,
            "lr": f"{result.lr:.3g}",
        }
        asked = guard.on_nan if verdict is Verdict.NO_NUMBER else guard.on_spike
        state.num_skipped += asked == "skip"
        state.skipped_in_row += asked == "skip"
        if asked == "stop":
            code = "TRAIN-012" if verdict is Verdict.NO_NUMBER else "TRAIN-132"
            raise CheckError(code, **facts, rows=self._suspects(result))
        if state.skipped_in_row >= MAX_SKIPPED_IN_ROW:
            count = state.skipped_in_row
            raise CheckError("TRAIN-133", count=count, **facts, rows=self._suspects(result))
        if state.num_skipped <= MAX_TOLD:
            sentence = text("training.skipped", **facts, rows=self._suspects(result))
            self._run.notice(sentence, "warning")

    def _suspects(self, result: StepResult) -> str:
        most = self._state.micro_batch_tokens
        return describe_suspects(self._trainee, result, self._rows, most)

    def vouch(self) -> None:
        """Read all that is unread, and look at the weights: nothing else is worth keeping.

        Raises:
            CheckError: As `read`, or a weight is no finite number (``TRAIN-015``).
        """
        self.read()
        weights = [w for g in self._trainee.optimizer.param_groups for w in g["params"]]
        if not self._trainee.runtime.finite(weights):
            raise CheckError("TRAIN-015", step=self._state.step)

    def finish(self) -> None:
        """Write down the steps since the last entry of the history; say how many were skipped."""
        self.read()
        if self._state.num_skipped:
            sentence = text("training.num_skipped", count=self._state.num_skipped)
            self._run.notice(sentence, "warning")
        if self._state.unsaid_losses:
            first = self._trainee.optimizer.param_groups[0]
            self._note(self._state.step, first["lr"] / first["lr_factor"])

    def _note(self, step: int, lr: float) -> None:
        losses, self._state.unsaid_losses = self._state.unsaid_losses, []
        mean = sum(losses) / len(losses)
        figures = {"loss": mean, "lr": lr}
        if self._state.grad_norm is not None:
            figures["grad_norm"] = self._state.grad_norm
        self._state.history.append({"step": step, **figures})
        for name, value in figures.items():
            self._run.emit(Metric(name, value, step, "train"))

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
    """Measures the model on the validation split, says which weights are best, and loses patience.

    Lets the model answer the sample prompts, also without a validation split.

    Args:
        trainee: Who is judged.
        state: Gets the results.
        run: Gets the events.
        follower: Vouches first: weights behind a NaN are not worth measuring.
        validation: Measures; None when there is no validation split.
        samples: Answers the prompts; None without any.
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
        samples: Samples | None,
        every_steps: int,
        patience: int | None,
    ) -> None:
        self._trainee, self._state, self._run = trainee, state, run
        self._follower = follower
        self._validation, self._samples = validation, samples
        self._every_steps, self._patience = every_steps, patience

    def after(self, result: StepResult) -> None:
        """Measure and sample when it is time, and always after the last step."""
        due = result.step % self._every_steps == 0
        if not due and not self._trainee.budget.reached(self._state):
            return
        if self._validation is None and self._samples is None:
            return
        self._follower.vouch()
        if self._samples is not None:
            for prompt, answer in self._samples.write(self._trainee):
                self._run.emit(Sample(prompt, answer, self._state.step))
        if self._validation is not None:
            self.judge(self._validation)

    def judge(self, validation: Validation) -> None:
        """Measure now."""
        state = self._state
        measured = validation.measure(self._trainee)
        state.evaluations.append({"step": state.step, **measured})
        for name, value in measured.items():
            self._run.emit(Metric(name, value, state.step, "validation"))
        if state.best is None or validation.rank(measured) > validation.rank(state.best):
            state.best_step, state.num_worse = state.step, 0
            return
        state.num_worse += 1
        if self._patience is not None and state.num_worse >= self._patience:
            state.stopped_early = True
            sentence = text("training.stopped_early", step=state.step, best_step=state.best_step)
            self._run.notice(sentence)


class Keeper:
    """Writes checkpoints and the best weights, and stops when the user asks for it.

    Args:
        trainee: Who is kept.
        state: Is kept with it.
        run: Says whether to stop.
        follower: Vouches first: a NaN is never kept.
        checkpoints: Where to.
        every_steps: Steps between checkpoints.
        every_minutes: Minutes between them, where the steps take longer.
    """

    def __init__(
        self,
        trainee: Trainee,
        state: State,
        run: Run,
        follower: Follower,
        checkpoints: Checkpoints,
        every_steps: int,
        every_minutes: float,
    ) -> None:
        self._trainee, self._state, self._run = trainee, state, run
        self._follower, self._checkpoints = follower, checkpoints
        self._every_steps, self._every_seconds = every_steps, every_minutes * 60
        self._kept = time.monotonic()
        self._prepared = False

    def after(self, result: StepResult) -> None:
        """Begin to write a checkpoint when it is time, and the weights whenever they are the best.

        Raises:
            StoppedError: The user asked to stop; all is saved (``CORE-060``).
            ResourceError: A checkpoint could not be written: the disk is full (``CORE-020``) or not
                writable (``CORE-021``).
        """
        self._checkpoints.check()
        over = self._state.stopped_early or self._trainee.budget.reached(self._state)
        late = time.monotonic() - self._kept >= self._every_seconds
        # Clocks and signals differ between processes.
        stop, due = self._trainee.runtime.agreed([self._run.should_stop(), late])
        if over or stop or due or result.step % self._every_steps == 0:
            self._follower.vouch()
            self._checkpoints.save(self._trainee, self._state)
            self._kept = time.monotonic()
        elif self._state.best_step == self._state.step:
            self._checkpoints.save_best(self._trainee, self._state.step)
        elif not self._prepared:
            self._checkpoints.prepare(self._trainee)
        self._prepared = True
        if stop and not over:
            self._checkpoints.finish()
            raise self._run.stop()
