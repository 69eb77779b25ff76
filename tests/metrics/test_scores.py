"""Scores are what a ruler would say, and empty masks have a stated score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from strokelabel.errors import DimensionError
from strokelabel.metrics import (
    EmptyPolicy,
    dice,
    label_lesions,
    largest_component,
    lesion_volumes_ml,
    volume_ml,
)

masks = arrays(bool, (3, 4, 5))


def box(*bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((7, 8, 9), dtype=bool)
    mask[tuple(slice(a, b) for a, b in bounds)] = True
    return mask


def test_dice_of_two_overlapping_boxes_is_twice_the_overlap_over_the_sum() -> None:
    assert dice(box((0, 2), (0, 2), (0, 2)), box((1, 3), (0, 2), (0, 2))) == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(masks, masks)
def test_dice_is_symmetric_and_between_zero_and_one(a: np.ndarray, b: np.ndarray) -> None:
    assert dice(a, b) == dice(b, a)
    assert 0 <= dice(a, b) <= 1
    assert dice(a, a) == 1


def test_empty_masks_score_what_the_policy_says() -> None:
    policy = EmptyPolicy(both=0.9, reference=0.2, prediction=0.1)
    full, empty = box((0, 2), (0, 2), (0, 2)), box((0, 0), (0, 0), (0, 0))
    assert dice(empty, empty, policy) == 0.9
    assert dice(empty, full, policy) == 0.2
    assert dice(full, empty, policy) == 0.1


def test_masks_of_different_grids_are_refused_by_name() -> None:
    with pytest.raises(DimensionError, match=r"\(7, 8, 9\) and \(7, 8, 8\)"):
        dice(box((0, 1), (0, 1), (0, 1)), np.zeros((7, 8, 8), dtype=bool))


def test_lesions_that_touch_by_a_corner_are_one_and_apart_they_are_two() -> None:
    corner = box((0, 2), (0, 2), (0, 2)) | box((2, 3), (2, 3), (2, 3))
    assert label_lesions(corner)[1] == 1
    assert label_lesions(box((0, 2), (0, 2), (0, 2)) | box((4, 5), (0, 2), (0, 2)))[1] == 2


def test_lesion_volumes_add_up_to_the_volume_of_the_mask() -> None:
    mask = box((0, 2), (0, 3), (0, 2)) | box((5, 6), (6, 7), (7, 9))
    volumes = lesion_volumes_ml(mask, voxel_volume_ml=0.004)
    assert sorted(volumes) == pytest.approx([0.008, 0.048])
    assert volumes.sum() == pytest.approx(volume_ml(mask, 0.004))


def test_no_lesion_has_no_volumes_and_a_volume_of_zero() -> None:
    empty = box((0, 0), (0, 0), (0, 0))
    assert len(lesion_volumes_ml(empty, 0.001)) == 0
    assert volume_ml(empty, 0.001) == 0
    assert not largest_component(empty).any()


def test_the_largest_component_is_kept_whole() -> None:
    large = box((0, 2), (0, 3), (0, 2))
    np.testing.assert_array_equal(largest_component(large | box((5, 6), (6, 7), (7, 9))), large)
