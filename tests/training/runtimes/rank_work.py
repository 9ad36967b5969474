"""What processes do in tests of launching; they import it by name."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import torch
import torch.distributed as dist

from llmwright.core.errors import InputError
from llmwright.core.events import Notice
from llmwright.training.runtimes.runtime import Runtime


def meet(config) -> Runtime:
    runtime = config.runtime.build()
    runtime.total([1.0])
    return runtime


def wait_for_ever() -> None:
    dist.all_reduce(torch.zeros(1))


def succeed(config, inputs, run):
    """Make an artifact of what all processes say of themselves."""
    runtime = meet(config)
    listening = [
        found.laddr.ip
        for found in psutil.Process().net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]
    said = runtime.collected({"rank": runtime.rank, "listening": listening})
    run.notice(f"sum {runtime.total([runtime.rank + 1.0, 10.0])}")
    run.notice(f"agreed {runtime.agreed([float(runtime.rank)])}")
    if runtime.rank:
        return None
    with run.draft("report") as draft:
        (draft.path / "said.json").write_text(json.dumps(said))
    return draft.artifact


def fail_with_a_code(config, inputs, run):
    if meet(config).rank == 1:
        raise InputError("TRAIN-011", where="train.csv:3", rows=7, split="train")
    wait_for_ever()


def fail_by_a_defect(config, inputs, run):
    if meet(config).rank == 1:
        raise LookupError("nobody expected this")
    wait_for_ever()


def be_killed(config, inputs, run):
    runtime = meet(config)
    if runtime.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for_ever()


def wait_for_stop(config, inputs, run):
    """Go on until the user wants to stop, which all learn at the same step."""
    runtime = meet(config)
    run.emit(Notice(f"pids {runtime.collected(os.getpid())}"))
    while not runtime.agreed([run.should_stop()])[0]:
        time.sleep(0.05)
    raise run.stop()
