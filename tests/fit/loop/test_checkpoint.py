import pickle

import pytest
import torch

from strokelabel.errors import CheckpointError
from strokelabel.fit.loop.checkpoint import (
    Checkpoint,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    load_newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a checkpoint ran code",))


def make(step: int) -> Checkpoint:
    weights = {"a": torch.full((3,), float(step)), "b": torch.zeros(2)}
    return Checkpoint(step, weights, average={"a": torch.ones(3)}, best_metric=0.5, config={"steps": 10})


def test_a_checkpoint_survives_a_round_trip(tmp_path):
    path = checkpoint_path(tmp_path, 7)
    save_checkpoint(path, make(7))
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.best_metric, loaded.config) == (7, 0.5, {"steps": 10})
    assert torch.equal(loaded.network["a"], torch.full((3,), 7.0))


def test_weights_to_predict_with_are_the_averaged_ones_where_there_are_any():
    weights = make(7).weights
    assert torch.equal(weights["a"], torch.ones(3))
    assert torch.equal(weights["b"], torch.zeros(2))


def test_a_new_folder_has_no_checkpoint(tmp_path):
    assert load_newest_checkpoint(tmp_path / "new") is None


def test_pruning_keeps_the_newest_and_clears_interrupted_writes(tmp_path):
    for step in (1, 20, 3):
        save_checkpoint(checkpoint_path(tmp_path, step), make(step))
    (tmp_path / "checkpoints" / ".step-00000030.abc.pt").write_bytes(b"half")
    prune_checkpoints(tmp_path, keep_last=2)
    assert list_checkpoints(tmp_path) == [checkpoint_path(tmp_path, 3), checkpoint_path(tmp_path, 20)]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_every_single_damaged_byte_of_the_tensors_is_noticed(tmp_path):
    path = tmp_path / "one.pt"
    save_checkpoint(path, make(1))
    content = path.read_bytes()
    place = content.index(torch.full((3,), 1.0).numpy().tobytes())
    for offset in range(12):
        path.write_bytes(content[: place + offset] + b"\x55" + content[place + offset + 1 :])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"step": 1},
        {"format": 99, "step": 1},
        {"format": 1, "unknown": 1},
        {"format": 1, "step": Trap()},
    ],
    ids=["a list", "no format", "another format", "unknown fields", "code"],
)
def test_files_that_are_no_checkpoints_of_ours_are_refused_without_running_them(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_missing_files_and_plain_pickles_are_refused(tmp_path):
    path = tmp_path / "old.pt"
    with pytest.raises(CheckpointError, match=r"old\.pt"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps({"step": 1}))
    with pytest.raises(CheckpointError, match=r"old\.pt"):
        load_checkpoint(path)
