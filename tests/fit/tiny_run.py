"""A training run small enough for a test: a tiny network on cubes of noise, every value seeded.

As a script, `python tiny_run.py FOLDER [--die-in-batch N | --die-in-checkpoint N]` trains, and kills itself with
SIGKILL where it is told to, as a power cut would.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn

from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.loop import TrainingResult, train
from strokelabel.fit.streams import Batch
from strokelabel.networks.unet import UNetConfig, build_network

NETWORK = UNetConfig(channels=(4, 6), strides=(2,), dropout=0.2)
SHAPE = (6, 8, 10)


class CubeStream:
    """Images of five bright cubes, one per class; every third image is annotated for its lesion only."""

    def __init__(self, length: int = 0, batch_size: int = 1, die_at: int | None = None) -> None:
        self.length, self.batch_size, self.die_at = length, batch_size, die_at
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.length

    def batch(self, step: int) -> Batch:
        if step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.asked.append(step)
        generator = torch.Generator().manual_seed(1000 + step)
        target = torch.zeros(self.batch_size, *SHAPE, dtype=torch.uint8)
        for item in target:
            for label in range(1, 6):
                x, y, z = (int(torch.randint(0, n - 3, (1,), generator=generator)) for n in SHAPE)
                item[x : x + 4, y : y + 4, z : z + 4] = label
        noise = torch.randn(self.batch_size, 1, *SHAPE, generator=generator)
        partial = torch.full((self.batch_size,), step % 3 == 2)
        known = torch.where(target == 5, 5, 0).to(torch.uint8) if step % 3 == 2 else target
        return Batch(target[:, None].float() + 0.3 * noise, known, partial)


def tiny_network(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(NETWORK)


def tiny_config(**changes: Any) -> TrainingConfig:
    known: dict[str, Any] = {
        "steps": 24,
        "learning_rate": 0.01,
        "validate_every": 8,
        "checkpoint_every": 5,
        "threads": 1,
        "keep_last": 2,
    }
    return TrainingConfig(**(known | changes))


def tiny_run(folder: Path, config: TrainingConfig | None = None, **arguments: Any) -> TrainingResult:
    arguments = {"on_progress": lambda progress: None, "device": "cpu"} | arguments
    stream = arguments.pop("stream", CubeStream())
    validation = arguments.pop("validation", CubeStream(length=2))
    return train(tiny_network(), stream, validation, config or tiny_config(), folder, **arguments)


def die_halfway_through_writing(step: int) -> None:
    """Let the checkpoint of a step reach the disk by half, and then kill the process."""
    whole = torch.save

    def save(content: dict[str, Any], path: Path) -> None:
        whole(content, path)
        if content["step"] == step:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-in-batch", type=int)
    parser.add_argument("--die-in-checkpoint", type=int)
    options = parser.parse_args()
    if options.die_in_checkpoint is not None:
        die_halfway_through_writing(options.die_in_checkpoint)
    tiny_run(options.folder, stream=CubeStream(die_at=options.die_in_batch))
