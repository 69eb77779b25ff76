"""Runs in processes of their own: killed and resumed, or two of them sharing the batches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from strokelabel.fit.loop.checkpoint import list_checkpoints, load_checkpoint
from strokelabel.fit.loop.record import read_metrics
from support.tiny_run import CubeStream, assert_same_training, join, tensorboard_losses, tiny_config, tiny_run
from support.training_processes import PAIR

CANCELLED = ("0.conv.unit0.conv.bias", "submodule.conv.unit0.conv.bias", "2.0.conv.bias")
TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs of `processes.py` left, and how they ended in `ends.json`."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "support.training_processes", str(folder)]
    subprocess.run(command, cwd=TESTS, capture_output=True, timeout=600, check=True)
    return folder


@pytest.fixture(scope="session")
def ends(folder: Path) -> dict[str, list[Any]]:
    return json.loads((folder / "ends.json").read_text())


@pytest.fixture(scope="session")
def accumulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, each step of which accumulates the two batches that two processes share."""
    folder = tmp_path_factory.mktemp("accumulated")
    arguments = {"validation": CubeStream(length=3), "dropout": 0.0}
    return tiny_run(folder, tiny_config(**PAIR, accumulate=2), **arguments).metrics.parent


def weights(folder: Path) -> Tensor:
    """The newest network and its average, as one vector.

    Biases ahead of a normalisation are left out: their gradient is zero but for rounding, of which Adam makes steps of
    full size, and the normalisation takes them away again.
    """
    checkpoint = load_checkpoint(list_checkpoints(folder)[-1])
    assert checkpoint.step == PAIR["steps"]
    named = [*checkpoint.network.items(), *checkpoint.average.items()]
    return torch.cat([value.flatten() for name, value in named if not name.endswith(CANCELLED)])


def table(folder: Path) -> Tensor:
    """The record as numbers, empty cells as -1."""
    rows = read_metrics(folder / "metrics.csv")
    names = sorted({name for row in rows for name in row})
    return torch.tensor([[row.get(name, -1.0) for name in names] for row in rows])


def assert_close(one: Path, other: Path) -> None:
    """Same weights and record but for rounding: the same numbers are added up in another order."""
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(table(one), table(other), rtol=1e-5, atol=1e-6)


def test_killed_in_mid_step_and_in_mid_checkpoint_a_run_ends_as_if_undisturbed(folder, ends, undisturbed):
    assert ends["killed"] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    result = tiny_run(folder / "killed")  # nothing is left to do
    assert_same_training(result, undisturbed)
    assert tensorboard_losses(folder / "killed") == tensorboard_losses(undisturbed.metrics.parent)
    assert not list((folder / "killed").glob("**/.*")), "an interrupted write left something behind"


def test_two_processes_train_as_one_with_the_same_global_batch(folder, ends, accumulated):
    assert ends["pair"] == [PAIR["steps"]] * 2
    assert_close(folder / "pair", accumulated)


def test_a_larger_batch_trains_as_accumulated_ones(tmp_path, accumulated):
    class Pairs(CubeStream):
        def batch(self, step):
            return join(super().batch(2 * step), super().batch(2 * step + 1))

    arguments = {"stream": Pairs(), "validation": CubeStream(length=3), "dropout": 0.0}
    tiny_run(tmp_path, tiny_config(**PAIR), **arguments)
    assert_close(tmp_path, accumulated)


def test_when_one_of_two_processes_is_killed_both_end_and_a_restart_ends_as_if_undisturbed(folder, ends):
    assert ends["killed-pair"][0] in (
        -signal.SIGKILL,
        1,
    )  # the killed one, or the other that missed it: a race
    assert ends["killed-pair-checkpoints"][-1] == "step-00000004.pt"
    assert ends["restarted-pair"] == [PAIR["steps"]] * 2
    assert (folder / "killed-pair" / "metrics.csv").read_text() == (
        folder / "pair" / "metrics.csv"
    ).read_text()
    assert torch.equal(weights(folder / "killed-pair"), weights(folder / "pair"))


def test_processes_that_find_different_checkpoints_refuse_to_train(folder, ends):
    assert all("use a folder that all machines share" in complaint for complaint in ends["two-folders"])
    assert not (folder / "fresh").exists()
