"""Trainings whose images another process makes, and which are ended in several ways.

`python -m support.end_trainers FOLDER`, from `tests`. Each is forked from this interpreter, since importing takes
longer than they do, into a process group of its own. How they ended is written to `ends.json`.
"""

import json
import os
import signal
import sys
import time
from multiprocessing import active_children
from pathlib import Path

ENDS = {"interrupted": signal.SIGINT, "terminated": signal.SIGTERM, "killed": signal.SIGKILL}
"""Ctrl-C in a terminal and `kill` reach the whole group; SIGKILL is sent to the trainer alone."""


def train(folder: Path) -> None:
    """A long tiny run; says who makes its images, and then, in order, that it has begun and how it ended."""
    from strokelabel.fit.data.generation.processes import GeneratorProcesses
    from strokelabel.fit.data.generation.replay import ReplayConfig
    from strokelabel.fit.data.generation.stream import ReplayStream
    from support.noise_images import SHAPE, open_images
    from support.tiny_run import tiny_config, tiny_run

    os.setpgid(0, 0)
    source = GeneratorProcesses(open_images, ["cpu"], SHAPE)
    (folder / "generator").write_text(str(active_children()[0].pid))
    stream = ReplayStream(source, ReplayConfig(reuse=1, pool=1), 1, seed=1)
    config = tiny_config(steps=10**6, validate_every=0, checkpoint_every=0)
    result = tiny_run(folder, config, stream=stream, on_progress=lambda p: (folder / "begun").touch())
    source.close()
    (folder / "stopped").write_text(result.stopped_by)


def end(folder: Path, number: int) -> dict[str, object]:
    """Run a training, end it by a signal, and say what is left."""
    folder.mkdir()
    trainer = os.fork()
    if trainer == 0:
        train(folder)
        os._exit(0)
    wait_until((folder / "begun").exists)
    generator = int((folder / "generator").read_text())
    ran = is_running(generator)
    (os.kill if number == signal.SIGKILL else os.killpg)(trainer, number)
    code = os.waitstatus_to_exitcode(os.waitpid(trainer, 0)[1])
    wait_until(lambda: not is_running(generator))
    stopped = folder / "stopped"
    return {"ran": ran, "code": code, "stopped_by": stopped.read_text() if stopped.exists() else ""}


def is_running(process: int) -> bool:
    """Whether a process lives; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds) -> None:
    """Wait for something to be true; give up after two minutes."""
    deadline = time.monotonic() + 120
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(holds)
        time.sleep(0.02)


# Each process that makes images imports this file again, and needs nothing of what follows.
if __name__ == "__main__":
    from support import tiny_run  # noqa: F401 - once for all

    where = Path(sys.argv[1])
    (where / "ends.json").write_text(json.dumps({name: end(where / name, ENDS[name]) for name in ENDS}))
