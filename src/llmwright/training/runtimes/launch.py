"""Starts the processes of a distributed training, watches them, and speaks for them.

The processes get the environment that torchrun gives. They are started here and not by torchrun
itself, which would take a port on every interface, kill what does not end within 30 seconds of a
Ctrl-C, and cannot hand an error of ours on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError, ResourceError
from llmwright.core.events import Notice, from_line
from llmwright.core.hardware import num_cores
from llmwright.core.index import process_started
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.training.runtimes.assignment import EVENTS, STOP, Assignment, Ending, read_ending
from llmwright.training.runtimes.config import TorchrunRuntime
from llmwright.training.runtimes.environment import (
    FOLDER,
    LAUNCHER,
    MEETING,
    Place,
    refuse_foreign_launch,
)

RANKS = "ranks"
POLL_SECONDS = 0.1
# An orphan notices within a second or two that its launcher is gone.
ORPHAN_SECONDS = 60.0


def launch(kind: TorchrunRuntime, assignment: Assignment) -> Artifact:
    """Return the artifact that several processes on this machine made together.

    Raises:
        ConfigError: No number of processes is given and there is no GPU (``TRAIN-120``), the
            machine's number does not exist (``TRAIN-125``), or somebody else started several of
            these processes (``TRAIN-121``).
        ResourceError: A process was killed (``TRAIN-123``), processes of an earlier start do not
            end (``TRAIN-124``), or one of several machines lost the others (``TRAIN-190``).
        LLMwrightError: What one of the processes raised.
        RuntimeError: One of them failed through a defect.
    """
    refuse_foreign_launch()
    num_processes = processes_here(kind)
    folder = assignment.run.folder / RANKS
    make_room(folder)
    assignment.write(folder)
    assignment.run.notice(
        text(
            "training.launch",
            processes=num_processes * kind.num_nodes,
            sharding=kind.sharding,
        )
    )
    with tempfile.TemporaryDirectory(prefix="llmwright-") as meeting:
        ranks = Ranks(folder, assignment.said, kind.num_nodes)
        try:
            start(ranks, kind, num_processes, Path(meeting))
            watch(ranks, assignment.run)
        finally:
            ranks.end()
            ranks.forward(assignment.run)
    return ranks.result()


def processes_here(kind: TorchrunRuntime) -> int:
    """Return how many processes to start on this machine.

    Raises:
        ConfigError: That is not given and there is no GPU (``TRAIN-120``), or the machine's number
            does not exist (``TRAIN-125``).
    """
    import torch

    if kind.node_rank >= kind.num_nodes:
        raise ConfigError("TRAIN-125", node_rank=kind.node_rank, num_nodes=kind.num_nodes)
    if kind.num_processes is not None:
        return kind.num_processes
    num_gpus = 0 if kind.device == "cpu" else torch.cuda.device_count()
    if not num_gpus:
        raise ConfigError("TRAIN-120")
    return num_gpus


def make_room(folder: Path) -> None:
    """Wait for the processes of an earlier start, then remove what it left.

    Raises:
        ResourceError: They do not end (``TRAIN-124``).
    """
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + ORPHAN_SECONDS
    while any(files.is_held(lock) for lock in folder.glob("*.lock")):
        if time.monotonic() > deadline:
            raise ResourceError("TRAIN-124", path=folder, seconds=round(ORPHAN_SECONDS))
        time.sleep(POLL_SECONDS)
    for file in folder.iterdir():
        file.unlink()


@dataclass
class Ranks:
    """The processes on this machine, by rank.

    Attributes:
        folder: Where they leave what they have to say.
        processes: The processes.
        said: Sentences that are not passed on.
        read_bytes: How much of their events is passed on.
        num_machines: On how many machines there are processes.
    """

    folder: Path
    said: Collection[str] = ()
    num_machines: int = 1
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    read_bytes: int = 0

    def forward(self, run: Run) -> None:
        """Emit what process 0 said since the last time."""
        path = self.folder / EVENTS
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(self.read_bytes)
            said = file.read()
        complete = said[: said.rfind(b"\n") + 1]
        self.read_bytes += len(complete)
        for line in complete.decode("utf-8").splitlines():
            _, event = from_line(line)
            if not (isinstance(event, Notice) and event.text in self.said):
                run.emit(event)

    def end(self) -> None:
        """End what still runs; checkpoints stand that."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()

    def endings(self) -> Iterator[tuple[int, Ending]]:
        """Yield how processes ended, those that could say so."""
        for rank in self.processes:
            ending = read_ending(self.folder / f"rank-{rank}.json")
            if ending is not None:
                yield rank, ending

    def check(self) -> bool:
        """Say whether all have ended well.

        Raises:
            LLMwrightError, RuntimeError: One of them has not; as `launch`.
        """
        codes = {rank: process.poll() for rank, process in self.processes.items()}
        failed = {rank: code for rank, code in codes.items() if code}
        if not failed:
            return all(code == 0 for code in codes.values())
        endings = dict(self.endings())
        # One error of ours ends the others with errors about a lost connection.
        known = [ending for ending in endings.values() if ending.error]
        if known:
            first = min(known, key=lambda ending: ending.when)
            assert first.error is not None
            raise first.error
        for rank, code in failed.items():
            if rank not in endings:
                log = self.folder / f"rank-{rank}.log"
                raise ResourceError("TRAIN-123", rank=rank, exit_code=code, log=log)
        rank, ending = min(endings.items(), key=lambda item: item[1].when)
        if self.num_machines > 1:
            # Most likely the connection was lost; the other machine knows why.
            reason = ending.reason.strip().rpartition("\n")[2][:200]
            record = self.folder / f"rank-{rank}.json"
            raise ResourceError("TRAIN-190", rank=rank, reason=reason, path=record)
        raise RuntimeError(f"process {rank}: {ending.reason}")

    def result(self) -> Artifact:
        """Return what they made."""
        made = next(ending.artifact for _, ending in self.endings() if ending.artifact)
        return Artifact.open(made)


def start(ranks: Ranks, kind: TorchrunRuntime, num_processes: int, meeting: Path) -> None:
    """Start the processes of this machine.

    Args:
        ranks: Gets them.
        kind: What is wanted.
        num_processes: How many.
        meeting: An empty folder on this machine, through which they find each other; no port is
            opened for that.
    """
    shared = os.environ | {
        FOLDER: str(ranks.folder),
        LAUNCHER: f"{os.getpid()} {process_started(os.getpid())}",
        MEETING: (meeting / "ranks").as_uri(),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": kind.master_address,
        "MASTER_PORT": str(kind.master_port),
    }
    threads = kind.num_threads or max(1, num_cores() // num_processes)
    shared.setdefault("OMP_NUM_THREADS", str(threads))
    if kind.num_nodes > 1:
        shared[MEETING] = f"tcp://{kind.master_address}:{kind.master_port}"
    elif loopback := loopback_interface():
        shared.setdefault("GLOO_SOCKET_IFNAME", loopback)
        shared.setdefault("NCCL_SOCKET_IFNAME", loopback)
    for local in range(num_processes):
        rank = kind.node_rank * num_processes + local
        place = Place(rank, local, num_processes * kind.num_nodes)
        with files.disk_errors(ranks.folder), (ranks.folder / f"rank-{rank}.log").open("wb") as log:
            ranks.processes[rank] = subprocess.Popen(
                [sys.executable, "-m", "llmwright.training.runtimes.rank"],
                env=shared | place.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def loopback_interface() -> str | None:
    """Return the network interface that only this machine can reach."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return name
    return None


def watch(ranks: Ranks, run: Run) -> None:
    """Pass events on until all processes have ended well; tell them when the user wants to stop.

    Raises:
        LLMwrightError, RuntimeError: As `launch`.
    """
    with run.stoppable():
        while not ended(ranks, run):
            ranks.forward(run)
            if run.should_stop():
                (ranks.folder / STOP).touch()
            time.sleep(POLL_SECONDS)


def ended(ranks: Ranks, run: Run) -> bool:
    """Say whether all processes have ended well.

    Raises:
        StoppedError: The user asked to stop before they could listen (``CORE-060``).
        LLMwrightError, RuntimeError: As `launch`.
    """
    try:
        return ranks.check()
    except ResourceError as error:
        if error.code == "TRAIN-123" and run.should_stop():
            raise run.stop() from error
        raise
