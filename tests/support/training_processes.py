"""Training runs in processes of their own, which are killed with SIGKILL, as a power cut would.

`python -m support.training_processes FOLDER` writes how each process ended to `ends.json` there. All runs are
forked from this one interpreter, since importing takes longer than they do. Pairs of processes are started by the
launcher that `torchrun` is made of.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from strokelabel.errors import CheckpointError
from strokelabel.fit.loop.checkpoint import list_checkpoints
from support.tiny_run import CubeStream, tiny_config, tiny_run

PAIR = {"steps": 12, "checkpoint_every": 4}
"""Settings of the runs in two processes."""


def die_halfway_through_writing(step: int) -> None:
    """Let the checkpoint of a step reach the disk by half, and then kill the process."""
    whole = torch.save

    def save(content: dict, path: Path) -> None:
        whole(content, path)
        if content["step"] == step:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def run(folder: Path, die_in_batch: int | None = None, die_in_checkpoint: int | None = None) -> None:
    """The tiny run, to its end or to its death."""
    if die_in_checkpoint is not None:
        die_halfway_through_writing(die_in_checkpoint)
    tiny_run(folder, stream=CubeStream(die_at=die_in_batch))


def run_pair(folder: Path, die_in_batch: int | None = None) -> int:
    """One of two processes of a run without dropout; returns the steps done."""
    config = tiny_config(**PAIR)
    arguments = {
        "stream": CubeStream(die_at=die_in_batch),
        "validation": CubeStream(length=3),
        "dropout": 0.0,
    }
    return tiny_run(folder, config, **arguments).steps


def run_pair_in_two_folders(folder: Path, begun: Path) -> str:
    """One of two processes of which one alone finds checkpoints; returns the complaint."""
    own = begun if os.environ["RANK"] == "1" else folder
    try:
        tiny_run(own, tiny_config(**PAIR))
    except CheckpointError as error:
        return str(error)
    return ""


def in_one_process(work: Callable[[], None]) -> int:
    """Exit code of a process that does this work, as in `subprocess`."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_two_processes(work: Callable[..., object], *arguments: object) -> list[object]:
    """What the two processes return, or the exit code of the one whose failure the launcher noticed first."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.05,
        start_method="fork",
    )
    try:
        return list(elastic_launch(config, work)(*arguments).values())
    except ChildFailedError as error:
        return [error.get_first_failure()[1].exitcode]


def main(folder: Path) -> dict[str, list[object]]:
    """All runs."""
    torch.set_num_threads(1)
    alone, pair, killed_pair = folder / "killed", folder / "pair", folder / "killed-pair"
    return {
        "killed": [
            in_one_process(lambda: run(alone, die_in_batch=8)),
            in_one_process(lambda: run(alone, die_in_checkpoint=15)),
            in_one_process(lambda: run(alone)),
        ],
        "pair": in_two_processes(run_pair, pair),
        "killed-pair": in_two_processes(run_pair, killed_pair, 13),
        "killed-pair-checkpoints": [checkpoint.name for checkpoint in list_checkpoints(killed_pair)],
        "restarted-pair": in_two_processes(run_pair, killed_pair),
        "two-folders": in_two_processes(run_pair_in_two_folders, folder / "fresh", pair),
    }


if __name__ == "__main__":
    where = Path(sys.argv[1])
    (where / "ends.json").write_text(json.dumps(main(where)))
