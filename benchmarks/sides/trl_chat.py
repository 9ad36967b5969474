"""TRL's side of `train_vs_trl.py`, run by a Python that has trl, without llmwright."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from marks import Marks, settings
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer


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


def main() -> None:
    given = settings()
    lines = Path(given["rows"]).read_text(encoding="utf-8").splitlines()
    rows = Dataset.from_list([json.loads(line) for line in lines])
    config = SFTConfig(
        output_dir=given["folder"],
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        assistant_only_loss=True,
        **given["train"],
    )
    trainer = SFTTrainer(given["model"], args=config, train_dataset=rows)
    collate = Collate(trainer.data_collator)
    trainer.data_collator = collate
    watch = Watch(collate)
    trainer.add_callback(watch)
    trainer.train()
    saved = Path(given["folder"]) / "trained"
    trainer.save_model(str(saved))
    watch.marks.write(model=str(saved))


if __name__ == "__main__":
    main()
