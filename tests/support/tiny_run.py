"""A training run small enough for a test: a tiny network on cubes of noise, every value seeded."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.fit.loop.training_loop import TrainingResult, train
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


def tiny_network(seed: int = 3, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(NETWORK.model_copy(update={"dropout": dropout}))


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
    network = tiny_network(dropout=arguments.pop("dropout", NETWORK.dropout))
    return train(network, stream, validation, config or tiny_config(), folder, **arguments)


def join(*batches: Batch) -> Batch:
    """One batch of the items of several."""
    return Batch(
        *(torch.cat([getattr(batch, name) for batch in batches]) for name in ("image", "target", "partial"))
    )


def assert_same_training(result: TrainingResult, expected: TrainingResult) -> None:
    """Same record and same final state, to the last bit."""
    assert result.metrics.read_text() == expected.metrics.read_text()
    ours, theirs = load_checkpoint(result.checkpoint), load_checkpoint(expected.checkpoint)
    assert ours.step == theirs.step
    assert (ours.best_metric, ours.best_step) == (theirs.best_metric, theirs.best_step)
    for name in ("network", "average"):
        for key, value in getattr(theirs, name).items():
            assert torch.equal(getattr(ours, name)[key], value), key
    for index, state in theirs.optimizer["state"].items():
        for key, value in state.items():
            assert torch.equal(ours.optimizer["state"][index][key], value)


def tensorboard_losses(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]
