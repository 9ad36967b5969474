"""One of several processes that train together; started by `launch`, never by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from llmwright.core import files, plugins
from llmwright.core.artifacts import Artifact
from llmwright.core.events import EventFile
from llmwright.core.index import is_alive
from llmwright.core.project import Project
from llmwright.core.registry import load_object
from llmwright.training.runtimes.assignment import EVENTS, Assignment, write_ending
from llmwright.training.runtimes.environment import FOLDER, LAUNCHER, Place

WATCH_SECONDS = 1.0
ORPHANED = 3


def main() -> int:
    """Do what the launcher asks; return 0, or 1 where the process's file says why not."""
    # Ctrl-C reaches all processes of a terminal, and some senders of SIGTERM reach all of a group:
    # the launcher decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    folder, place = Path(os.environ[FOLDER]), Place.here()
    threading.Thread(target=end_with_launcher, daemon=True).start()
    ending = folder / f"rank-{place.rank}.json"
    held = files.hold(folder / f"rank-{place.rank}.lock")
    assert held is not None
    with held:
        try:
            write_ending(ending, str(work(folder, place).path))
        except (Exception, KeyboardInterrupt) as error:
            write_ending(ending, error)
            return 1
    return 0


def work(folder: Path, place: Place) -> Artifact:
    """Do the assignment in this folder; return what process 0 made."""
    import torch.distributed as dist

    assignment = Assignment.read(folder, place.rank)
    for plugin in plugins.project_plugins(Project(assignment.run.root)):
        if plugin.trusted:
            plugins.load_plugin(plugin)
    with contextlib.ExitStack() as stack:
        if place.rank == 0:
            assignment.run.follow(stack.enter_context(EventFile(folder / EVENTS)))
        function = load_object(assignment.function)
        made = function(assignment.config, assignment.inputs, assignment.run)
    # The others wait for process 0, which still checks and saves.
    paths = [str(made.path) if made else None]
    dist.broadcast_object_list(paths, 0)
    dist.destroy_process_group()
    return Artifact.open(Path(str(paths[0])))


def end_with_launcher() -> None:
    """End this process when its launcher is gone, however it went."""
    pid, _, started = os.environ[LAUNCHER].partition(" ")
    while is_alive(int(pid), started):
        time.sleep(WATCH_SECONDS)
    os._exit(ORPHANED)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of a lost connection may wait for ever.
    os._exit(code)
