"""Processes of this machine that train together: started, watched, stopped and ended by this one.

`torchrun` does it for whole programs. A server that fine-tunes on all its GPUs needs it for one function, with progress
and the wish to stop passed between the processes, and without a port that others could reach: they meet at a file.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch.distributed
import torch.multiprocessing as multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from strokelabel.errors import StrokeLabelError, TrainingError
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.loop.training_loop import TrainingResult

OnProgress: TypeAlias = Callable[[TrainingProgress], None]
Work: TypeAlias = Callable[[OnProgress, Callable[[], bool]], TrainingResult]
"""Trains, given what to call after each step and what to ask whether to stop. It is pickled."""

_POLL_S = 0.2
_PATIENCE_S = 60.0
"""Time for processes to write a checkpoint before they are killed."""


def train_together(
    work: Work,
    processes: int,
    on_progress: OnProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Do the same work in several processes, each with its rank in the environment as under `torchrun`.

    Args:
        work: see `Work`.
        processes: how many; on GPUs, one each.
        on_progress: called in this process after every step of the first one.
        should_stop: asked in this process; true ends training with a checkpoint.

    Returns:
        What the first process returned.

    Raises:
        TrainingError: one of them failed or was killed; the others were ended. The newest checkpoint is kept.
    """
    context = multiprocessing.get_context("spawn")
    messages, stop = context.SimpleQueue(), context.Event()
    with tempfile.TemporaryDirectory(prefix="strokelabel-") as meeting:
        member = _Member(work, processes, os.getpid(), str(Path(meeting) / "store"))
        group = multiprocessing.start_processes(
            member, (messages, stop), nprocs=processes, join=False, start_method="spawn"
        )
        try:
            return _watch(group, messages, stop, on_progress, should_stop)
        finally:
            stop.set()
            _end(group.processes)


@dataclass(frozen=True)
class _Member:
    """Task of one of the processes."""

    work: Work
    processes: int
    parent: int
    store: str

    def __call__(self, rank: int, messages: Any, stop: Any) -> None:  # noqa: ANN401 - multiprocessing's own types
        self._join_the_others(rank)
        first = rank == 0

        def tell(kind: str, content: object) -> None:
            try:
                messages.put((kind, content))
            except OSError:  # no process listens any more; `gone` ends the training with a checkpoint
                return

        def gone() -> bool:
            return bool(stop.is_set()) or os.getppid() != self.parent

        try:
            result = self.work((lambda at: tell("progress", at)) if first else _ignore, gone)
        except StrokeLabelError as error:
            tell("error", str(error))
            raise
        if first:
            tell("result", result)
        torch.distributed.destroy_process_group()

    def _join_the_others(self, rank: int) -> None:
        for name in ("RANK", "LOCAL_RANK"):
            os.environ[name] = str(rank)
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ[name] = str(self.processes)
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback is not None:
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(
            backend, init_method=f"file://{self.store}", rank=rank, world_size=self.processes
        )


def _ignore(_: TrainingProgress) -> None:
    """Ignore progress: only the first process reports."""


def _watch(
    group: Any,  # noqa: ANN401 - torch's ProcessContext
    messages: Any,  # noqa: ANN401
    stop: Any,  # noqa: ANN401
    on_progress: OnProgress | None,
    should_stop: Callable[[], bool] | None,
) -> TrainingResult:
    """Pass messages on until all processes have ended."""
    heard: dict[str, Any] = {}

    def listen() -> None:
        while not messages.empty():
            kind, content = messages.get()
            heard[kind] = content
            if kind == "progress" and on_progress is not None:
                on_progress(content)

    try:
        while not group.join(timeout=_POLL_S):
            listen()
            if should_stop is not None and should_stop():
                stop.set()
        listen()
    except (ProcessRaisedException, ProcessExitedException) as error:
        listen()
        raise TrainingError(heard.get("error") or _sentence(error)) from error
    if "result" not in heard:
        raise TrainingError("the processes of the training ended without a result; start it again to resume")
    result: TrainingResult = heard["result"]
    return result


def _sentence(error: ProcessRaisedException | ProcessExitedException) -> str:
    if isinstance(error, ProcessExitedException):
        how = error.signal_name or f"exit code {error.exit_code}"
        return f"one of the processes of the training was ended ({how}); start it again to resume"
    return f"one of the processes of the training failed: {str(error).strip().splitlines()[-1]}"


def _end(processes: list[Any]) -> None:
    """Wait until processes have written what they write, then end those that are left."""
    deadline = time.monotonic() + _PATIENCE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
