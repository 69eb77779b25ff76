"""Errors of parcellations: each does what it says, all of them replay from a seed, and Dice are spread from 0 to 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from strokelabel.fit.segmentation import class_dice
from strokelabel.structures import QUALITY_GROUPS
from strokelabel.synthesis.anatomy.deformation import DeformationParameters
from strokelabel.synthesis.label_noise.segmentation_errors import (
    CLASSES,
    NEIGHBOURS,
    BorderErrors,
    Part,
    SegmentationErrorConfig,
    SegmentationErrors,
    Swap,
    apply_errors,
    sample_errors,
)

SHAPE, SPACING_MM = (30, 36, 28), 4.0
WHITE, GRAY, CSF, CEREBELLUM, BRAINSTEM, THALAMUS, PUTAMEN, HIPPOCAMPUS = range(1, CLASSES)


def head() -> torch.Tensor:
    """A head of shells with all groups, (x, y, z)."""
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    depth = (x**2 + y**2 + z**2).sqrt()
    classes = torch.zeros(SHAPE, dtype=torch.int64)
    for radius, group in ((0.95, CSF), (0.85, GRAY), (0.7, WHITE), (0.25, THALAMUS)):
        classes[depth < radius] = group
    classes[(depth < 0.8) & (z < -0.4)] = CEREBELLUM
    classes[(x.abs() < 0.15) & (y.abs() < 0.15) & (z < -0.2) & (depth < 0.9)] = BRAINSTEM
    classes[((x.abs() - 0.45) ** 2 + y**2 + z**2).sqrt() < 0.15] = PUTAMEN
    classes[((x.abs() - 0.4) ** 2 + (y + 0.3) ** 2 + (z + 0.2) ** 2).sqrt() < 0.15] = HIPPOCAMPUS
    return classes


def with_errors(**errors: object) -> torch.Tensor:
    return apply_errors(head(), SegmentationErrors(0, 1.0, **errors), SPACING_MM)  # type: ignore[arg-type]


def test_errors_are_those_of_their_seed_alone() -> None:
    config = SegmentationErrorConfig()
    maps = [
        apply_errors(head(), sample_errors(seed, config, SHAPE, SPACING_MM), SPACING_MM) for seed in (7, 8, 7)
    ]
    assert torch.equal(maps[0], maps[2]) and not torch.equal(maps[0], maps[1])
    assert maps[0].shape == SHAPE and maps[0].min() >= 0 and maps[0].max() < CLASSES


def test_a_parcellation_without_errors_is_the_true_one() -> None:
    correct = sample_errors(1, SegmentationErrorConfig(correct_probability=1.0), SHAPE, SPACING_MM)
    assert correct.severity == 0
    assert torch.equal(apply_errors(head(), correct, SPACING_MM), head())


def test_the_dice_of_every_group_are_spread_from_0_to_1() -> None:
    config, truth = SegmentationErrorConfig(), head()
    dice = torch.stack(
        [
            class_dice(
                apply_errors(truth, sample_errors(seed, config, SHAPE, SPACING_MM), SPACING_MM),
                truth,
                CLASSES,
            )
            for seed in range(120)
        ]
    )
    for number in range(len(QUALITY_GROUPS)):
        counts = torch.histc(dice[:, number], bins=4, min=0, max=1)
        assert counts.min() >= 6, f"group {number + 1}: {counts}"


def test_a_displaced_parcellation_is_the_true_one_elsewhere() -> None:
    still = DeformationParameters(
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (8.0, 0.0, -4.0),
        (False,) * 3,
        torch.zeros(3, 2, 2, 2),
    )
    moved = with_errors(moved=still)
    # A voxel comes from where the translation points to: two voxels to the right, and one down.
    assert torch.equal(moved[:-2, :, 1:], head()[2:, :, :-1])
    assert (moved[-2:] == 0).all()


def test_a_group_with_an_advantage_grows_and_one_with_a_disadvantage_shrinks() -> None:
    nodes = torch.zeros(CLASSES, 2, 2, 2)
    nodes[THALAMUS], nodes[PUTAMEN] = 2.0, -2.0
    found = with_errors(borders=BorderErrors(8.0, nodes))
    sizes = {group: ((head() == group).sum(), (found == group).sum()) for group in (THALAMUS, PUTAMEN)}
    assert sizes[THALAMUS][1] > 1.1 * sizes[THALAMUS][0]
    assert sizes[PUTAMEN][1] < 0.9 * sizes[PUTAMEN][0]


def test_a_group_is_taken_for_its_neighbour_in_a_part_of_the_head() -> None:
    right = Part((1.0, 0.0, 0.0), 0.0)
    found = with_errors(swaps=(Swap(PUTAMEN, WHITE, right), Swap(THALAMUS, 0, None)))
    middle = SHAPE[0] // 2
    assert not (found[middle:] == PUTAMEN).any()
    assert torch.equal(found[:middle] == PUTAMEN, head()[:middle] == PUTAMEN)
    assert not (found == THALAMUS).any() and (found[head() == THALAMUS] == 0).all()
    others = (head() != PUTAMEN) & (head() != THALAMUS)
    assert torch.equal(found[others], head()[others])


def test_groups_that_change_places_do_not_become_one() -> None:
    found = with_errors(swaps=(Swap(WHITE, GRAY, None), Swap(GRAY, WHITE, None)))
    assert torch.equal(found == WHITE, head() == GRAY) and torch.equal(found == GRAY, head() == WHITE)


def test_a_part_is_cut_off() -> None:
    found = with_errors(cut=Part((0.0, 0.0, 1.0), 10.0))
    heights = (torch.arange(SHAPE[2]) - (SHAPE[2] - 1) / 2) * SPACING_MM
    assert not found[..., heights > 10].any()
    assert torch.equal(found[..., heights <= 10], head()[..., heights <= 10])


def test_every_group_has_neighbours_and_none_is_its_own() -> None:
    assert set(NEIGHBOURS) == set(range(1, 1 + len(QUALITY_GROUPS)))
    assert all(group not in others and set(others) <= set(NEIGHBOURS) for group, others in NEIGHBOURS.items())


@pytest.mark.parametrize("kind", ["moved", "border", "swapped", "jigsaw", "cut"])
def test_each_kind_of_error_can_be_drawn_alone(kind: str) -> None:
    names = {"moved": "moved", "border": "borders", "swapped": "swaps", "jigsaw": "jigsaw", "cut": "cut"}
    none = {f"{name}_probability": 0.0 for name in ("correct", *names)}
    config = SegmentationErrorConfig.model_validate(none | {f"{kind}_probability": 1.0})
    errors = sample_errors(11, config, SHAPE, SPACING_MM)
    assert getattr(errors, names[kind])
    plain = SegmentationErrors(errors.seed, errors.severity)
    assert replace(errors, **{names[kind]: getattr(plain, names[kind])}) == plain
    assert not torch.equal(apply_errors(head(), errors, SPACING_MM), head())
