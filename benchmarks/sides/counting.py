"""How far a Hugging Face trainer is after each step, and how many tokens it has read by then."""

from __future__ import annotations

from typing import Any

from marks import Marks
from transformers import TrainerCallback


class Collate:
    """The trainer's own collation; also counts the tokens of each batch, padding left out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.counts: list[int] = []

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        self.counts.append(sum(len(example["input_ids"]) for example in examples))
        return self._inner(examples)


class Watch(TrainerCallback):  # type: ignore[misc]
    def __init__(self, collate: Collate) -> None:
        self._collate = collate
        self.marks = Marks()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.marks = Marks()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # One batch makes one step here; a batch may be fetched ahead.
        self.marks.step(state.global_step, sum(self._collate.counts[: state.global_step]))
