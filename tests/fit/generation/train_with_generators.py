"""`python train_with_generators.py FOLDER`: a long tiny run whose images two processes make.

Prints the ids of the processes, then the step after each step, and how it ended.
"""

from __future__ import annotations

import sys
from multiprocessing import active_children
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from noise_images import SHAPE, open_images
from tiny_run import tiny_config, tiny_run

from strokelabel.fit.generation.config import ReplayConfig
from strokelabel.fit.generation.processes import GeneratorProcesses
from strokelabel.fit.generation.stream import ReplayStream

if __name__ == "__main__":
    source = GeneratorProcesses(open_images, ["cpu", "cpu"], SHAPE)
    print(*(child.pid for child in active_children()), flush=True)
    stream = ReplayStream(source, ReplayConfig(reuse=1, pool=1), 1, seed=1)
    config = tiny_config(steps=10**6, validate_every=0, checkpoint_every=0)
    result = tiny_run(
        Path(sys.argv[1]), config, stream=stream, on_progress=lambda p: print(p.step, flush=True)
    )
    source.close()
    print(result.stopped_by, flush=True)
