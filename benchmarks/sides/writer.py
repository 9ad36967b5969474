"""What an engine does without HTTP: reads {model, prompts, tokens} and writes figures, as JSON.

The same prompts, greedy, as many at once as there are streams.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.generation import write_all

STREAMS = (1, 8)


def main() -> None:
    asked = json.load(sys.stdin)
    predictor = Predictor.open(Path(asked["model"]))
    rows = [predictor.read({"messages": turns}) for turns in asked["prompts"]]
    prompts = [predictor.encode(row).input_ids_T for row in rows]
    settings = predictor.settings(temperature=0.0, max_new_tokens=asked["tokens"])
    short = predictor.settings(temperature=0.0, max_new_tokens=2)
    write_all(predictor.engine, prompts[-1:], [short])
    found: dict[str, object] = {}
    place = 0
    for count in STREAMS:
        part = prompts[place : place + count]
        place += count
        started = time.perf_counter()
        written = write_all(predictor.engine, part, [settings] * count)
        seconds = time.perf_counter() - started
        found[str(count)] = sum(len(text.token_ids) for text in written) / seconds
    times = []
    for prompt in prompts[place : place + 5]:
        started = time.perf_counter()
        predictor.engine.begin([prompt]).close()
        times.append((time.perf_counter() - started) * 1000)
    found["prefill_ms"] = times
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
