"""Cases with hand-counted scores, and the stated policy for empty masks."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from strokelabel.metrics import detect_lesions, hd95_mm
from strokelabel.metrics.case import compare_masks

SHAPE = (20, 24, 18)


def box(*bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(a, b) for a, b in bounds)] = True
    return mask


EMPTY = np.zeros(SHAPE, dtype=bool)
CUBE = box((4, 8), (4, 8), (4, 8))


def test_every_metric_of_a_shifted_cube_is_what_can_be_counted() -> None:
    moved = box((6, 10), (4, 8), (4, 8))
    metrics = compare_masks(CUBE, moved, spacing_mm=(1.0, 2.0, 0.5))
    assert metrics.dice == pytest.approx(0.5)
    assert metrics.hd95_mm == pytest.approx(2.0)
    assert (metrics.volume_difference_ml, metrics.lesion_difference, metrics.lesion_f1) == (0, 0, 1)
    assert metrics.tpr == pytest.approx(0.5)
    assert metrics.fpr == pytest.approx(32 / (np.prod(SHAPE) - 64))
    assert metrics.reference_ml == metrics.prediction_ml == pytest.approx(0.064)


def test_two_empty_masks_are_perfect() -> None:
    metrics = compare_masks(EMPTY, EMPTY)
    assert (metrics.dice, metrics.hd95_mm, metrics.lesion_f1) == (1, 0, 1)
    assert (metrics.volume_difference_ml, metrics.lesion_difference, metrics.fpr) == (0, 0, 0)
    assert isnan(metrics.tpr)


def test_a_missed_lesion_is_256_mm_away() -> None:
    metrics = compare_masks(CUBE, EMPTY)
    assert (metrics.dice, metrics.hd95_mm, metrics.lesion_f1) == (0, 256, 0)
    assert (metrics.tpr, metrics.fpr, metrics.lesion_difference) == (0, 0, 1)
    assert metrics.volume_difference_ml == pytest.approx(0.064)


def test_a_lesion_where_there_is_none_is_256_mm_away_and_has_no_true_positive_rate() -> None:
    metrics = compare_masks(EMPTY, CUBE)
    assert (metrics.dice, metrics.hd95_mm, metrics.lesion_f1) == (0, 256, 0)
    assert isnan(metrics.tpr)
    assert metrics.fpr == pytest.approx(64 / np.prod(SHAPE))


def test_one_voxel_finds_a_lesion_and_one_prediction_may_find_two() -> None:
    left, right = box((1, 4), (1, 4), (1, 4)), box((6, 9), (1, 4), (1, 4))
    bridge = box((3, 7), (1, 2), (1, 2))
    found = detect_lesions(left | right, bridge)
    assert (found.found, found.missed, found.invented) == (2, 0, 0)
    assert found.count_difference == 1
    assert found.f1() == 1
    stray = box((12, 14), (12, 14), (12, 14))
    found = detect_lesions(left | right, left | stray)
    assert (found.found, found.missed, found.invented) == (1, 1, 1)
    assert found.f1() == pytest.approx(0.5)


def test_no_lesion_in_either_mask_has_the_f1_asked_for() -> None:
    assert detect_lesions(EMPTY, EMPTY).f1(empty=0.25) == 0.25


def test_a_few_stray_voxels_do_not_move_the_95th_percentile() -> None:
    stray = CUBE | box((19, 20), (23, 24), (17, 18))
    assert hd95_mm(CUBE, stray) == 0
    assert hd95_mm(CUBE, box((4, 8), (4, 8), (11, 15))) == 7


def test_a_surface_at_the_edge_of_the_grid_counts() -> None:
    ends = box((0, 3), (0, 24), (0, 18))
    assert hd95_mm(ends, ends) == 0
    assert hd95_mm(ends, box((0, 5), (0, 24), (0, 18))) == 2
