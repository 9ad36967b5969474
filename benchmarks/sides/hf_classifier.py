"""The Hugging Face Trainer's side of `train_classifier.py`, run by a Python that has datasets."""

from __future__ import annotations

import json
from pathlib import Path

from counting import Collate, Watch
from datasets import Dataset
from marks import settings
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


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
