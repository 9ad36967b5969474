"""Our side of a training benchmark: `prepare`, perhaps `tokenize`, and `train` as asked."""

from __future__ import annotations

import time

from marks import Marks, settings

import llmwright
from llmwright.core.events import Event, Metric, Notice, Progress


class Listener:
    """Takes down the progress of `train`; each report says the speed since the one before.

    Reports come at most every quarter of a second, entries of the loss history whenever asked for.
    """

    def __init__(self) -> None:
        self.marks = Marks()
        self.notices: list[str] = []
        self.steps: dict[int, float] = {}
        self._tokens, self._then = 0.0, time.perf_counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.text)
        if isinstance(event, Metric) and event.name == "loss":
            self.steps[event.step] = time.perf_counter()
        if isinstance(event, Progress) and event.stage == "train":
            now = time.perf_counter()
            self._tokens += event.values["tokens_per_second"] * (now - self._then)
            self._then = now
            self.marks.step(int(event.done), self._tokens)


def main() -> None:
    given = settings()
    dataset = llmwright.prepare(project=given["folder"], clean=[], **given["prepare"])
    made = {"dataset": dataset}
    if "tokenize" in given:
        made["tokenizer"] = llmwright.tokenize(
            dataset=dataset, project=given["folder"], **given["tokenize"]
        )
    listener = Listener()
    model = llmwright.train(**made, project=given["folder"], consumers=[listener], **given["train"])
    listener.marks.write(model=str(model.path), notices=listener.notices, steps=listener.steps)


if __name__ == "__main__":
    main()
