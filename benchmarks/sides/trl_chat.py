"""TRL's side of `train_vs_trl.py`, run by a Python that has trl, without llmwright."""

from __future__ import annotations

import json
from pathlib import Path

from counting import Collate, Watch
from datasets import Dataset
from marks import settings
from trl import SFTConfig, SFTTrainer


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
