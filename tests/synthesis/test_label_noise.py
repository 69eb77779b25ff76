"""Label maps with errors: replayable from their seed, correct where they are to be, and wrong in known ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.labels import TissueClass
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.label_noise.errors import (
    JigsawParameters,
    LabelNoiseConfig,
    apply_jigsaw,
    sample_jigsaw,
)
from strokelabel.synthesis.label_noise.generator import LabelNoiseGenerator
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.sampling import Sampler

SHAPE = (32, 40, 36)
NONE = {f"{name}_probability": 0.0 for name in ("jigsaw", "dropped", "moved", "resized", "invented")}


@pytest.fixture(scope="module")
def data(prepared_folder: Path) -> PreparedData:
    return PreparedData.load(prepared_folder)


def generator(data: PreparedData, lesions: int = 1, **noise: float) -> LabelNoiseGenerator:
    config = SynthesisConfig.model_validate(
        {"shape": SHAPE, "spacing_mm": 6.0, "lesion": {"count_weights": {lesions: 1.0}},
         "skull_strip": {"probability": 0.0}}
    )  # fmt: skip
    heads = load_heads(data, ["brain-01", "brain-10"], 6.0)
    return LabelNoiseGenerator(
        heads, data.lesions, config, LabelNoiseConfig(correct_probability=0, **(NONE | noise))
    )


def lesion_voxels(maps: torch.Tensor) -> torch.Tensor:
    return maps[:, TissueClass.LESION].round().sum(dim=(1, 2, 3))


def test_the_seed_alone_decides_a_label_map(data: PreparedData) -> None:
    maker = generator(data, 2, jigsaw_probability=1.0, moved_probability=0.5, invented_probability=1.0)
    together = maker.generate([3, 4])
    alone, again = maker.generate([4]), maker.apply([maker.sample(4)])
    torch.testing.assert_close(together.maps[1], alone.maps[0])
    assert torch.equal(alone.maps, again.maps) and torch.equal(alone.target, again.target)
    assert not torch.equal(together.maps[0], together.maps[1])


def test_a_correct_map_has_the_target_as_its_likeliest_class_and_shares_that_sum_to_one(
    data: PreparedData,
) -> None:
    maker = generator(data, 1, jigsaw_probability=1.0, invented_probability=1.0)
    made = maker.apply([maker.sample(seed, correct=True) for seed in (1, 2, 5)])
    assert torch.equal(made.maps.argmax(dim=1).to(torch.uint8), made.target)
    torch.testing.assert_close(made.maps.sum(dim=1), torch.ones(3, *SHAPE))
    assert set(made.target.unique().tolist()) == set(range(6))


def test_errors_change_the_map_and_never_its_target(data: PreparedData) -> None:
    maker = generator(data, 1, jigsaw_probability=1.0)
    right, wrong = (maker.apply([maker.sample(7, correct=correct)]) for correct in (True, False))
    assert torch.equal(right.target, wrong.target)
    assert (wrong.maps.argmax(dim=1) != wrong.target).float().mean() > 0.02


def test_a_dropped_lesion_is_missing_from_the_map_alone(data: PreparedData) -> None:
    made = generator(data, 1, dropped_probability=1.0).generate([1, 2, 3])
    assert (lesion_voxels(made.maps) == 0).all()
    assert (made.target == TissueClass.LESION).any()


def test_a_moved_lesion_is_at_another_place(data: PreparedData) -> None:
    maker = generator(data, 1, moved_probability=1.0, moved_mm=(30.0, 40.0), hard_probability=1.0)
    made = maker.generate([1, 2, 3, 4])
    found, truth = made.maps[:, TissueClass.LESION] > 0, made.target == TissueClass.LESION
    assert found.any() and (found & truth).sum() < 0.5 * truth.sum()


def test_resized_lesions_are_larger_or_smaller(data: PreparedData) -> None:
    maker = generator(data, 1, resized_probability=1.0, resized_mm=(4, 5), hard_probability=1.0)
    made = maker.generate(list(range(12)))
    truth = (made.target == TissueClass.LESION).sum(dim=(1, 2, 3))
    difference = lesion_voxels(made.maps) - truth
    assert (difference > 0).any() and (difference < 0).any()


def test_invented_lesions_lie_where_there_are_none(data: PreparedData) -> None:
    maker = generator(data, 0, invented_probability=1.0, invented_count=(4, 6), invented_ml=(10.0, 40.0))
    made = maker.generate([1, 2])
    assert not (made.target == TissueClass.LESION).any()
    assert (lesion_voxels(made.maps) > 0).all()


def test_cubes_are_copied_from_the_map_as_it_was_and_lie_within_it() -> None:
    maps = torch.arange(2 * 8 * 9 * 10).reshape(2, 8, 9, 10).float()
    cubes = JigsawParameters(
        torch.tensor([1, 1]), torch.tensor([[0, 0, 0], [5, 6, 7]]), torch.tensor([[5, 6, 7], [0, 0, 0]])
    )
    changed = apply_jigsaw(maps, cubes)
    torch.testing.assert_close(changed[:, :3, :3, :3], maps[:, 5:, 6:, 7:])
    torch.testing.assert_close(changed[:, 5:, 6:, 7:], maps[:, :3, :3, :3])
    assert (changed != maps).sum() == 2 * 2 * 27
    drawn = sample_jigsaw(
        Sampler(1), LabelNoiseConfig(half_side_voxels=(1, 10), cubes=(300, 300)), (8, 9, 30)
    )
    sides = 2 * drawn.half_sides[:, None] + 1
    assert drawn.half_sides.min() == 1 and drawn.half_sides.max() == 3
    for corners in (drawn.targets, drawn.sources):
        assert corners.min() == 0 and (corners + sides <= torch.tensor([8, 9, 30])).all()
        assert (corners + sides == torch.tensor([8, 9, 30])).any(dim=0).all()


def test_maps_with_different_errors_of_one_anatomy_have_the_same_target(data: PreparedData) -> None:
    maker = generator(data, 1, jigsaw_probability=1.0, dropped_probability=0.5)
    anatomy, other = maker.sample_anatomy(3), maker.sample_anatomy(4)
    drawn = [maker.sample(seed, anatomy=one) for seed, one in ((1, anatomy), (2, anatomy), (1, other))]
    made, alone = maker.apply(drawn), maker.apply(drawn[1:2])
    assert torch.equal(made.target[0], made.target[1]) and not torch.equal(made.target[0], made.target[2])
    assert not torch.equal(made.maps[0], made.maps[1])
    torch.testing.assert_close(made.maps[1], alone.maps[0])


def test_no_heads_is_an_error(data: PreparedData) -> None:
    with pytest.raises(DataError, match="at least one label map"):
        LabelNoiseGenerator([], data.lesions, SynthesisConfig(), LabelNoiseConfig())
