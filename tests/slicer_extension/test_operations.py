"""What the editing operations promise, on voxels of unequal sides."""

from __future__ import annotations

import numpy as np
import pytest
from StrokeLabelLib.errors import OperationError
from StrokeLabelLib.ops.mirror import asymmetry, mirror_plane
from StrokeLabelLib.ops.regions import (
    bounding_box,
    change_margin,
    count_islands,
    dice,
    fill_between_slices,
    fill_holes,
    island_volumes_ml,
    keep_largest,
    label_islands,
    remove_small,
    smooth,
    uncertain_regions,
    volume_ml,
)
from StrokeLabelLib.ops.strokes import LesionMask, PackedMask, limit_to_intensities, usual_intensities
from StrokeLabelLib.session.case import MOST_STEPS, MaskHistory
from StrokeLabelLib.volume import Volume

from support.bright_network import centred_affine, rotation

SHAPE = (24, 31, 18)
SPACING = np.array([1.0, 1.5, 2.5])
VOXEL_ML = float(SPACING.prod()) / 1000


def ball(center: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    offset = [(n - c) * s for n, c, s in zip(np.indices(SHAPE), center, SPACING, strict=True)]
    return sum(o**2 for o in offset) <= radius_mm**2


@pytest.fixture
def parts() -> np.ndarray:
    """Three parts of different size that do not touch."""
    return ball((8, 12, 9), 6) | ball((20, 12, 9), 2.6) | ball((20, 26, 4), 1)


def test_strokes_survive_every_threshold(rng: np.random.Generator) -> None:
    probability = rng.random(SHAPE).astype(np.float32)
    mask = LesionMask.of(probability >= 0.5)
    edited = mask.current.copy()
    on, off = np.argwhere(~edited)[7], np.argwhere(edited)[9]
    edited[tuple(on)], edited[tuple(off)] = True, False
    mask = mask.edited(edited)
    for threshold in (0.1, 0.9, 0.5):
        mask = mask.at_threshold(probability, threshold)
        expected = probability >= threshold
        expected[tuple(on)], expected[tuple(off)] = True, False
        assert np.array_equal(mask.current, expected)
    assert mask.has_strokes and not (mask.added & mask.removed).any()


def test_a_later_stroke_wins_over_an_earlier_one() -> None:
    mask = LesionMask.of(np.zeros(SHAPE, bool))
    painted = ball((8, 12, 9), 5)
    mask = mask.edited(painted).edited(np.zeros(SHAPE, bool)).edited(painted)
    assert np.array_equal(mask.current, painted)
    assert not mask.edited(np.zeros(SHAPE, bool)).current.any()


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(OperationError, match="above 0 and up to 1"):
        LesionMask.of(np.zeros(SHAPE, bool)).at_threshold(np.zeros(SHAPE), threshold)


def test_a_packed_mask_is_small_and_exact(rng: np.random.Generator, parts: np.ndarray) -> None:
    mask = LesionMask(parts, rng.random(SHAPE) > 0.99, rng.random(SHAPE) > 0.99)
    packed = PackedMask.pack(mask)
    again = packed.unpack()
    for name in ("base", "added", "removed"):
        assert np.array_equal(getattr(again, name), getattr(mask, name))
    assert sum(map(len, packed.parts)) < parts.size / 8


def test_history_names_its_steps_and_forgets_what_was_redone_differently() -> None:
    empty, full = (LesionMask.of(np.full(SHAPE, value)) for value in (False, True))
    history = MaskHistory(empty)
    history.record("Segment", full, 0.4)
    history.record("Clear", empty)
    assert (history.undo_name, history.redo_name) == ("Clear", "")
    step = history.undo()
    assert step.threshold == 0.4 and step.mask.unpack().current.all() and history.redo_name == "Clear"
    history.record("Paint", full)
    assert history.redo() is None and history.undo_name == "Paint"
    for _ in range(MOST_STEPS + 20):
        history.record("Paint", full)
    while history.undo_name:
        last = history.undo()
    assert last.name == "Open" and not last.mask.unpack().current.any()


def test_islands_are_counted_measured_and_kept(parts: np.ndarray) -> None:
    assert count_islands(parts) == 3 and count_islands(np.zeros(SHAPE, bool)) == 0
    volumes = island_volumes_ml(parts, VOXEL_ML)
    assert volumes == sorted(volumes, reverse=True) and sum(volumes) == pytest.approx(
        volume_ml(parts, VOXEL_ML)
    )
    assert count_islands(keep_largest(parts, 2)) == 2 and not keep_largest(parts, 2)[20, 26, 4]
    assert np.array_equal(keep_largest(parts, 9), parts)
    assert count_islands(remove_small(parts, volumes[1], VOXEL_ML)) == 2
    assert not remove_small(parts, 99, VOXEL_ML).any() and np.array_equal(
        remove_small(parts, 0, VOXEL_ML), parts
    )


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((3, 4, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert label_islands(mask)[1] == 1
    assert bounding_box(mask) == (slice(0, 2), slice(0, 2), slice(0, 2))
    assert bounding_box(np.zeros((3, 4, 5), bool)) is None


@pytest.mark.parametrize("margin", [2.0, 4.0, -2.0, -3.5])
def test_a_margin_is_in_millimetres_along_every_axis(margin: float) -> None:
    grown = change_margin(ball((12, 15, 9), 8), SPACING, margin)
    for axis in range(3):
        index = [12, 15, 9]
        index[axis] = slice(None)
        width = (np.count_nonzero(grown[tuple(index)]) - 1) * SPACING[axis] / 2
        assert width == pytest.approx(8 + margin, abs=SPACING[axis] + 0.1)


def test_a_margin_takes_nothing_away_at_the_images_edge() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:, :15] = True
    assert change_margin(mask, SPACING, -3.0)[0, 0, 0]
    with pytest.raises(OperationError, match="at most 50 mm"):
        change_margin(mask, SPACING, 80)
    assert not change_margin(np.zeros(SHAPE, bool), SPACING, 3).any()


def test_smoothing_keeps_the_volume_and_removes_spikes() -> None:
    mask = ball((12, 15, 9), 8)
    spiky = mask.copy()
    spiky[12, 15:27, 9] = True
    smoothed = smooth(spiky, SPACING, 4)
    assert smoothed.sum() == spiky.sum() and not smoothed[12, 24, 9] and dice(smoothed, mask) > 0.9
    with pytest.raises(OperationError, match="up to 20 mm"):
        smooth(mask, SPACING, 0)
    assert not smooth(np.zeros(SHAPE, bool), SPACING, 2).any()


def test_holes_are_filled() -> None:
    mask = ball((12, 15, 9), 8)
    hollow = mask & ~ball((12, 15, 9), 4)
    assert np.array_equal(fill_holes(hollow), mask) and not fill_holes(np.zeros(SHAPE, bool)).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_between_painted_ones_are_filled_and_painted_ones_stay(axis: int) -> None:
    whole = ball((12, 15, 9), 10)
    painted = np.zeros(SHAPE, bool)
    present = np.flatnonzero(whole.any(axis=tuple(a for a in range(3) if a != axis)))
    for index in {*present[::3], present[-1]}:
        at = [slice(None)] * 3
        at[axis] = index
        painted[tuple(at)] = whole[tuple(at)]
    filled = fill_between_slices(painted, axis)
    assert (filled >= painted).all() and dice(filled, whole) > 0.85
    one = np.zeros(SHAPE, bool)
    one[12, 15, 9] = True
    with pytest.raises(OperationError, match="at least two slices"):
        fill_between_slices(one, axis)


def test_strokes_are_limited_to_the_brightness_of_the_lesion(rng: np.random.Generator) -> None:
    lesion = ball((12, 15, 9), 6)
    image = np.where(lesion, 300, 100) + rng.normal(0, 5, SHAPE)
    low, high = usual_intensities(image, lesion)
    assert 280 < low < 300 < high < 320
    before = np.zeros(SHAPE, bool)
    before[0, 0, 0] = True
    after = before | ball((12, 15, 9), 9)
    limited = limit_to_intensities(before, after, image, 250, 350)
    assert limited[0, 0, 0] and dice(limited, lesion) > 0.98
    with pytest.raises(OperationError, match="Paint something first"):
        usual_intensities(image, np.zeros(SHAPE, bool))


def test_dice_of_empty_masks_is_one(parts: np.ndarray) -> None:
    empty = np.zeros(SHAPE, bool)
    assert dice(empty, empty) == 1 and dice(parts, empty) == 0 and dice(parts, parts) == 1


def test_uncertain_regions_come_largest_first() -> None:
    probability = np.zeros(SHAPE, np.float32)
    probability[ball((8, 12, 9), 6)] = 0.6
    probability[ball((20, 24, 9), 3)] = 0.4
    probability[1, 1, 1] = 0.5  # a single voxel is noise
    found = uncertain_regions(probability)
    assert len(found) == 2 and ball((8, 12, 9), 6)[found[0]] and ball((20, 24, 9), 3)[found[1]]
    assert uncertain_regions(np.zeros(SHAPE, np.float32)) == []


def test_the_mirror_plane_of_a_turned_head_is_found_and_the_lesion_stands_out() -> None:
    shape = (44, 52, 37)
    affine = centred_affine(rotation((0, 4, 9)) @ np.diag([-3.0, 3.2, 3.6]), shape)
    points = np.stack(np.indices(shape), -1) @ affine[:3, :3].T + affine[:3, 3] - [6, 0, 0]
    turn = rotation((0, 5, -8))
    x, y, z = np.moveaxis(points @ turn, -1, 0)
    head = (x / 52) ** 2 + (y / 68) ** 2 + (z / 50) ** 2 < 1
    lesion = (x - 25) ** 2 + (y + 10) ** 2 + z**2 < 10**2
    image = (100.0 * head + 25 * (y / 68) * head + 80 * lesion).astype(np.float32)
    normal, distance = mirror_plane(Volume(image, affine))
    angle = np.degrees(np.arccos(abs(normal @ turn[:, 0])))
    assert angle < 3 and distance == pytest.approx(normal @ [6, 0, 0], abs=2)
    values = asymmetry(Volume(image, affine))
    assert values[lesion].mean() > 2 and values[x < -15].mean() < 0.1 and values.dtype == np.float32
