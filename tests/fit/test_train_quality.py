"""Training of quality control: true Dice as targets, streams that replay, and `strokelabel train synthseg-quality`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from strokelabel.errors import RecipeError
from strokelabel.fit.data.recipe_streams import Streams, make_streams
from strokelabel.fit.fast_dev_run import shrink
from strokelabel.fit.quality import QualityBatch, QualityObjective
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.train import make_objective
from strokelabel.metrics.overlap import dice
from strokelabel.registry import QUALITY, read_spec
from strokelabel.structures import QUALITY_GROUPS, parcellation_structures, quality_classes
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.command_line import run


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The shipped recipe at 8 mm."""
    recipe = load_recipe("synthseg-quality")
    synthesis = recipe.synthesis.model_copy(update={"shape": (24, 32, 24), "spacing_mm": 8.0})
    return recipe.model_copy(update={"synthesis": synthesis})


@pytest.fixture(scope="module")
def streams(recipe: Recipe, prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Streams:
    return make_streams(recipe, PreparedData.load(prepared_folder), "cpu", tmp_path_factory.mktemp("cache"))


def test_targets_are_the_dice_of_the_parcellation_that_is_shown(streams: Streams) -> None:
    cases = streams.training.cases  # type: ignore[attr-defined]
    compared = 0
    for seed in range(6):
        images, truth = cases.truth([seed])
        batch = cases.judged(images[0], truth[0], cases.sample(seed))
        assert torch.equal(batch.image[0, :1], images[0])
        assert torch.equal(batch.image[0, 1:].sum(dim=0), torch.ones_like(images[0, 0]))
        for number in range(1, 1 + len(QUALITY_GROUPS)):
            true, given = (truth[0] == number).numpy(), (batch.image[0, 1 + number] == 1).numpy()
            if true.any() or given.any():
                assert batch.target[0, number - 1] == pytest.approx(dice(true, given), abs=1e-6)
                compared += 1
            else:
                assert batch.target[0, number - 1].isnan()
    assert compared > 12


def test_the_true_groups_are_those_of_the_images_structures_on_either_side(streams: Streams) -> None:
    cases = streams.training.cases  # type: ignore[attr-defined]
    _, truth = cases.truth([3])
    structures = parcellation_structures()
    classes = cases.synthesizer.generate([3]).target[0].numpy()
    position = {structure.id: index for index, structure in enumerate(structures)}
    mirrored = np.array([position[structure.mirror] for structure in structures])[classes]
    for shown in (classes, mirrored):
        np.testing.assert_array_equal(np.array(quality_classes(structures))[shown], truth[0].numpy())


def test_several_parcellations_of_an_image_follow_one_another_and_replay(
    streams: Streams, recipe: Recipe
) -> None:
    assert recipe.segmentation_errors is not None
    first, again, second = (streams.training.batch(step) for step in (0, 0, 1))
    assert recipe.training.batch_size == recipe.segmentation_errors.variations == len(first.image)
    torch.testing.assert_close(first.image, again.image, rtol=0, atol=0)
    torch.testing.assert_close(first.target, again.target, rtol=0, atol=0, equal_nan=True)
    assert all(torch.equal(first.image[0, 0], item[0]) for item in first.image[1:])
    assert not torch.equal(first.image[0, 1:], first.image[1, 1:])
    assert not torch.equal(first.image[0, 0], second.image[0, 0])


def test_validation_is_the_same_every_time_and_of_other_brains(streams: Streams) -> None:
    validation = streams.validation
    torch.testing.assert_close(validation.batch(1).image, validation.batch(1).image, rtol=0, atol=0)
    seen, unseen = (
        [head.first for head in part.cases.synthesizer.heads]  # type: ignore[attr-defined]
        for part in (streams.training, validation)
    )
    assert not any(torch.equal(one, other) for one in seen for other in unseen)


def batch_of(target: torch.Tensor) -> QualityBatch:
    return QualityBatch(torch.zeros(len(target), 10, 1, 1, 1), target)


def test_groups_without_a_true_dice_count_for_nothing() -> None:
    target = torch.tensor([[0.5] * 7 + [float("nan")], [0.2, 0.9] + [float("nan")] * 6])
    objective = QualityObjective()
    outputs = [target.nan_to_num(value).requires_grad_() for value in (0.0, 1.0)]
    for output in outputs:
        loss = objective.loss(output, batch_of(target), 0)
        loss.backward()
        assert loss == 0 and output.grad is not None and output.grad.abs().sum() == 0
        scores = objective.summarize(objective.item_scores(output.detach(), batch_of(target)))
        assert scores["correlation"] == pytest.approx(1) and scores["absolute_error"] == 0
    wrong = objective.loss(target.nan_to_num(0) + 0.1, batch_of(target), 0)
    assert wrong == pytest.approx(0.01)
    empty = torch.full((1, 8), float("nan"))
    assert objective.loss(torch.rand(1, 8), batch_of(empty), 0) == 0


def test_correlation_is_that_of_numpy(rng: np.random.Generator) -> None:
    predicted, true = rng.uniform(size=(2, 5, 8)).astype(np.float32)
    objective = QualityObjective()
    scores = objective.summarize(
        objective.item_scores(torch.from_numpy(predicted), batch_of(torch.from_numpy(true)))
    )
    assert scores["correlation"] == pytest.approx(np.corrcoef(predicted.ravel(), true.ravel())[0, 1])
    assert scores["absolute_error"] == pytest.approx(np.abs(predicted - true).mean(), rel=1e-5)
    assert set(scores) == set(objective.score_names)


def test_the_shipped_recipe_trains_and_is_exported_with_its_task(
    prepared_folder: Path, tmp_path: Path
) -> None:
    folder, weights = tmp_path / "run", tmp_path / "quality" / "model.safetensors"
    weights.parent.mkdir()
    trained = run(
        "train",
        "synthseg-quality",
        "--prepared",
        prepared_folder,
        "-o",
        folder,
        "--device",
        "cpu",
        "--fast-dev-run",
    )
    assert trained == 0
    exported = run("export", folder, "-o", weights, "--recipe", folder / "recipe.yaml", "--version", "1")
    assert exported == 0
    spec = read_spec(weights)
    assert (spec.task, spec.class_names, spec.class_ids) == (QUALITY, tuple(QUALITY_GROUPS), ())
    with (folder / "metrics.csv").open() as file:
        assert "validation_correlation" in file.readline()


def test_the_objective_of_the_recipe_is_that_of_its_task() -> None:
    assert isinstance(make_objective(shrink(load_recipe("synthseg-quality"))), QualityObjective)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"segmentation_errors": None}, "expected the sections `network` and `segmentation_errors`"),
        ({"label_noise": {}}, "no section `label_noise` or `predictions` with any other task"),
        ({"network": {"groups": 3}}, "10 input channels and 8 output channels, got \\(5, 3\\)"),
        ({"target": "tissues", "lesion_target": "class"}, "expected parcellation, of SynthSeg's structures"),
        ({"segmentation_errors": {"cubes": [5, 1]}}, "cubes: expected"),
        ({"training": {"batch_size": 0}}, "batch_size"),
    ],
)
def test_half_a_description_of_the_task_is_refused(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "synthseg-quality"} | changes))
    with pytest.raises(RecipeError, match=expected):
        load_recipe(path)


def test_a_recipe_of_another_task_does_not_take_over_the_network() -> None:
    ours, base = load_recipe("synthseg-quality"), load_recipe("synthseg-cpu")
    assert type(ours.network) is not type(base.network)
    assert ours.synthesis.contrast == base.synthesis.contrast


def test_processes_that_make_images_are_refused(prepared_folder: Path, tmp_path: Path) -> None:
    recipe = shrink(load_recipe("synthseg-quality"))
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"generators": 1})})
    with pytest.raises(RecipeError, match="expected 0 for the task quality"):
        make_streams(recipe, PreparedData.load(prepared_folder), "cpu", tmp_path)
