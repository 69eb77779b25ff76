"""Volumes and slabs in one optimiser step, for the recipe and for the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.mixture import AlternatingStream, JoinedStream, Part, with_real_images
from strokelabel.fit.data.recipe_streams import make_streams, split_lesions
from strokelabel.fit.data.synthetic_streams import SyntheticStream
from strokelabel.fit.loop.training_run import TrainingRun
from strokelabel.fit.recipe import Recipe
from strokelabel.fit.segmentation import DiceCrossEntropy
from strokelabel.synthesis.prepared.dataset import PreparedData
from support import tiny_run
from support.tiny_prepared import make_recipe, write_prepared

PHYSICS = {"shape": [32, 40, 36], "contrast": {"model": "physics"}}


def mixture_recipe(**changes: object) -> Recipe:
    training = {"steps": 4, "validate_every": 0, "checkpoint_every": 1, "threads": 1, "accumulate": 2}
    known = {
        "slabs": {"count": 2, "thickness_voxels": 8},
        "scans": {"count": 1},
        "physics_fraction": 0.25,
        "training": training,
    }
    return make_recipe(**(known | changes))


@pytest.fixture(scope="module")
def data(prepared_folder: Path) -> PreparedData:
    return PreparedData.load(prepared_folder)


def test_batches_of_the_parts_come_in_turn_with_their_weights() -> None:
    volumes, slabs = tiny_run.CubeStream(), tiny_run.CubeStream()
    stream = AlternatingStream([Part(volumes), Part(slabs, 0.6)])
    weights = [stream.batch(index).weight for index in range(6)]
    assert weights == [2.0, 1.2] * 3
    assert volumes.asked == slabs.asked == [0, 1, 2]


def test_an_optimiser_step_learns_from_the_weighted_sum_of_its_parts() -> None:
    network = tiny_run.tiny_network(dropout=0.0)
    config = tiny_run.tiny_config(accumulate=2, clip_norm=0.0)
    fabric = Fabric(accelerator="cpu", devices=1)
    stream = AlternatingStream([Part(tiny_run.CubeStream()), Part(tiny_run.CubeStream(batch_size=2), 0.6)])
    run = TrainingRun(network, config, fabric)

    row = run.advance(stream)

    again, loss = tiny_run.tiny_network(dropout=0.0), DiceCrossEntropy()
    batches = [part.stream.batch(0) for part in stream.parts]
    losses = [loss(again(batch.image), batch.target, batch.partial) for batch in batches]
    total = losses[0] + 0.6 * losses[1]
    total.backward()
    norm = torch.stack([p.grad.norm() for p in again.parameters() if p.grad is not None]).norm()
    assert float(row["loss"]) == pytest.approx(total.item(), rel=1e-5)
    assert float(row["gradient_norm"]) == pytest.approx(norm.item(), rel=1e-4)


def test_a_joined_batch_has_the_items_of_all_streams() -> None:
    joined = JoinedStream([tiny_run.CubeStream(), tiny_run.CubeStream(batch_size=2)]).batch(2)
    expected = tiny_run.join(tiny_run.CubeStream().batch(2), tiny_run.CubeStream(batch_size=2).batch(2))
    assert torch.equal(joined.image, expected.image) and torch.equal(joined.partial, expected.partial)


def test_the_stream_of_a_recipe_is_volumes_with_a_scan_then_slabs(data: PreparedData, tmp_path: Path) -> None:
    recipe = mixture_recipe()
    training, again = (make_streams(recipe, data, "cpu", tmp_path).training for _ in range(2))

    volumes, slabs = training.batch(0), training.batch(1)

    assert volumes.image.shape == (2, 1, 32, 40, 36) and volumes.partial.tolist() == [False, True]
    assert sorted(slabs.image.shape[2:])[0] == 8 and slabs.partial.all() and len(slabs.image) == 2
    assert (volumes.weight, slabs.weight) == (2.0, 1.2)
    for index in (5, 1, 0, 4):
        one, other = training.batch(index), again.batch(index)
        assert torch.equal(one.image, other.image) and torch.equal(one.target, other.target)


def test_a_quarter_of_the_volumes_comes_from_physics_with_milder_artefacts(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = mixture_recipe(slabs=None, scans=None)
    asked: list[tuple[str, int]] = []
    generate = SyntheticStream.items

    def note(self: SyntheticStream, indices: list[int]) -> object:
        asked.extend((self.synthesizer.config.contrast.model, index) for index in indices)
        return generate(self, indices)

    monkeypatch.setattr(SyntheticStream, "items", note)
    stream = make_streams(recipe, data, "cpu", tmp_path).training
    for step in range(8):
        stream.batch(step)
    assert asked == [
        ("mixture", 0), ("mixture", 1), ("mixture", 2), ("physics", 0),
        ("mixture", 4), ("mixture", 5), ("mixture", 6), ("physics", 1),
    ]  # fmt: skip
    plain, physics = recipe.synthesis, recipe.physics_synthesis
    assert physics.contrast.model == "physics"
    assert physics.artefacts.bias_strength[1] == plain.artefacts.bias_strength[1] / 2
    assert physics.artefacts.gamma_log_deviation == plain.artefacts.gamma_log_deviation / 2
    assert physics.lesion == plain.lesion


def test_a_folder_without_real_images_is_named_what_is_missing(tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "prepared", brains=2)
    (folder / "real-images" / "dataset.json").unlink()
    data, recipe = PreparedData.load(folder), mixture_recipe()
    bank = split_lesions(data, "train")
    with pytest.raises(DataError, match="prepare` with --scans"):
        with_real_images(tiny_run.CubeStream(), recipe, data, bank, "cpu")
    with pytest.raises(DataError, match="prepare` with --slices"):
        with_real_images(tiny_run.CubeStream(), recipe.model_copy(update={"scans": None}), data, bank, "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slabs": {"thickness_voxels": 9}}, "slabs.thickness_voxels: expected a multiple of 2"),
        ({"training": {"steps": 4, "accumulate": 3}}, "training.accumulate: expected a multiple of 2"),
        ({"maps": {}, "synthesis": PHYSICS}, "physics_fraction: expected 0"),
        ({"brains": None, "real": {"fraction": 1.0}}, "slabs: expected it for the segmentation of tissues and lesions"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_mixed_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixture_recipe(**changes)
