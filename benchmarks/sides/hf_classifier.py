"""The Hugging Face Trainer's side of `train_classifier.py`, run by a Python that has datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from marks import Marks, settings
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Collate:
    """Padding to the longest of a batch; also counts its tokens, padding left out."""

    def __init__(self, inner: DataCollatorWithPadding) -> None:
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
    tokenizer = AutoTokenizer.from_pretrained(given["model"])
    lines = Path(given["rows"]).read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines]
    labels = given["labels"]
    rows = Dataset.from_list(
        [
            {
                **tokenizer(row["text"], truncation=True, max_length=given["max_length"]),
                "labels": labels.index(row["label"]),
            }
            for row in read
        ]
    )
    # The new head begins with the run's seed, as the Trainer itself would make it in `model_init`.
    set_seed(given["train"]["seed"])
    model = AutoModelForSequenceClassification.from_pretrained(
        given["model"], num_labels=len(labels)
    )
    config = TrainingArguments(
        output_dir=given["folder"],
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **given["train"],
    )
    collate = Collate(DataCollatorWithPadding(tokenizer))
    watch = Watch(collate)
    trainer = Trainer(
        model, config, collate, rows, processing_class=tokenizer, callbacks=[watch]
    )  # fmt: skip
    trainer.train()
    saved = Path(given["folder"]) / "trained"
    trainer.save_model(str(saved))
    watch.marks.write(model=str(saved))


if __name__ == "__main__":
    main()
