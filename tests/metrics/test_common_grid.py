"""Masks meet by their positions in space: however a file stores its axes, the scores are the same."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.errors import HeaderError, LabelMapError
from strokelabel.geometry import Grid
from strokelabel.io import Image
from strokelabel.metrics import dice
from strokelabel.metrics.case import bring_together, common_grid, resample_mask
from support.bright_network import centred_affine, rotation
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered, shifted

angles = st.tuples(*[st.integers(-25, 25)] * 3)
spacings = st.tuples(*[st.sampled_from([0.5, 0.9, 1.0, 2.0, 3.0])] * 3)
orientations = st.sampled_from(["RAS", "LAS", "LPS", "PSR", "AIL", "SRA"])


def mask_image(spacing: tuple[float, ...], turn: tuple[float, ...] = (0, 0, 0), seed: int = 0) -> Image:
    """Two boxes somewhere in an oblique field of view."""
    shape = (21, 26, 17)
    affine = centred_affine(rotation((turn[0], turn[1], turn[2])) @ np.diag(spacing), shape)
    affine[:3, 3] += (3.0, -11.0, 7.0)
    rng = np.random.default_rng(seed)
    data = np.zeros(shape, dtype=np.int32)
    for _ in range(2):
        first = rng.integers(1, 10, 3)
        last = first + rng.integers(2, 7, 3)
        data[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = 1
    return Image(data, affine, source="mask")


def stored_as(image: Image, codes: str) -> Image:
    """The same voxels at the same places, with the file's axes in another order and direction."""
    nifti = nib.Nifti1Image(image.data, image.affine)
    way = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    turned = nifti.as_reoriented(way)
    return Image(np.asarray(turned.dataobj), turned.affine, source=codes)


@settings(max_examples=20, deadline=None)
@given(spacings, angles, orientations, orientations, st.integers(0, 99))
def test_a_mask_agrees_wholly_with_itself_stored_otherwise(
    spacing: tuple[float, ...], turn: tuple[int, ...], first: str, second: str, seed: int
) -> None:
    mask = mask_image(spacing, turn, seed)
    pair = bring_together(stored_as(mask, first), stored_as(mask, second))
    assert pair.reference.any()
    assert np.array_equal(pair.reference, pair.prediction)
    assert pair.notes == ()


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=ORIENTATION_IDS)
def test_a_prediction_agrees_with_its_reference_from_all_48_orders_of_axes(turn: np.ndarray) -> None:
    mask = mask_image((0.9, 1.1, 4.0), (7, -5, 12))
    turned = Image(*reordered(mask.data, np.round(mask.affine, 4), turn))
    pair = bring_together(mask, turned)
    assert pair.reference.any() and np.array_equal(pair.reference, pair.prediction) and pair.notes == ()


@pytest.mark.parametrize("off_mm", [1e-4, 1e-3, 1e-2, 0.05])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 1.0, 6.0), (1.0, 1.0, 1.0)])
def test_a_reference_whose_affine_is_rounded_agrees_wholly_with_itself(
    spacing: tuple[float, float, float], off_mm: float
) -> None:
    mask = mask_image(spacing)
    affine = mask.affine.copy()
    affine[:3, 3] += off_mm
    assert bring_together(mask, Image(mask.data, affine)).metrics().dice == 1


def test_a_prediction_that_is_really_elsewhere_is_resampled_to_where_it_is() -> None:
    mask = mask_image((2.0, 2.0, 2.0))
    moved = bring_together(mask, Image(mask.data, shifted(mask.affine, 1, 0, 0)))
    rolled = bring_together(mask, Image(np.roll(mask.data, 1, axis=0), mask.affine))
    assert moved.metrics().dice == pytest.approx(rolled.metrics().dice) and moved.metrics().dice < 0.9
    assert "is its affine right" in moved.notes[0] and rolled.notes == ()


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * 3), angles, orientations, st.integers(0, 99))
def test_whole_millimetres_keep_volume_dice_and_number_of_lesions(
    spacing: tuple[float, ...], turn: tuple[int, ...], codes: str, seed: int
) -> None:
    reference, prediction = mask_image(spacing, turn, seed), mask_image(spacing, turn, seed + 1)
    metrics = bring_together(stored_as(reference, codes), prediction).metrics()
    voxel_ml = reference.grid.voxel_volume_ml
    assert metrics.reference_ml == pytest.approx(reference.data.sum() * voxel_ml, rel=1e-5)
    assert metrics.prediction_ml == pytest.approx(prediction.data.sum() * voxel_ml, rel=1e-5)
    assert metrics.dice == pytest.approx(dice(reference.data, prediction.data), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(spacings, angles, orientations)
def test_the_common_grid_is_256_voxels_of_1_mm_about_the_middle_of_the_reference(
    spacing: tuple[float, ...], turn: tuple[int, ...], codes: str
) -> None:
    image = stored_as(mask_image(spacing, turn), codes)
    grid = common_grid(image.grid)
    assert grid.shape == (256, 256, 256)
    assert grid.spacing == pytest.approx((1, 1, 1), rel=1e-3)
    assert grid.axis_codes == ("R", "A", "S")
    middle = image.grid.to_world((np.array(image.grid.shape) - 1) / 2)
    assert np.abs(grid.to_voxel(middle) - 127.5).max() <= 1.01


def test_a_prediction_on_a_finer_or_turned_grid_is_compared_where_it_is() -> None:
    ball = np.linalg.norm(np.indices((41, 41, 41)).T - 20, axis=-1).T < 14
    reference = Image(ball.astype(np.int32), centred_affine(np.eye(3), ball.shape))
    fine = np.repeat(np.repeat(np.repeat(ball, 2, 0), 2, 1), 2, 2).astype(np.int32)
    same = Image(fine, centred_affine(np.eye(3) / 2, fine.shape))
    assert bring_together(reference, same).metrics().dice == 1
    turned = Image(ball.astype(np.int32), centred_affine(rotation((20, -35, 15)), ball.shape))
    assert bring_together(reference, turned).metrics().dice > 0.97


def test_a_lesion_at_the_edge_of_its_file_is_kept_whole() -> None:
    data = np.zeros((10, 12, 8), dtype=np.int32)
    data[:3, -2:, 0] = 1
    image = Image(data, centred_affine(np.diag([-2.0, 2.0, 5.0]), data.shape))
    masks = bring_together(image, image)
    assert masks.metrics().reference_ml == pytest.approx(data.sum() * 0.02)


def test_a_lesion_beyond_256_mm_is_said_to_be_lost() -> None:
    data = np.zeros((100, 10, 10), dtype=np.int32)
    data[2:5, 4:6, 4:6] = 1
    data[50:53, 4:6, 4:6] = 1
    pair = bring_together(*[Image(data, centred_affine(np.diag([3.0, 3.0, 3.0]), data.shape))] * 2)
    assert pair.metrics().reference_lesions == 1
    assert [note for note in pair.notes if "part of the reference lies outside" in note]


def test_a_prediction_that_lost_its_affine_is_remarked_on_and_one_far_away_is_refused() -> None:
    mask = mask_image((1.0, 1.0, 2.0))
    moved = mask.affine.copy()
    moved[:3, 3] += 6
    assert "is its affine right" in bring_together(mask, Image(mask.data, moved)).notes[0]
    moved[:3, 3] += 500
    with pytest.raises(HeaderError, match="do not touch"):
        bring_together(mask, Image(mask.data, moved, source="far.nii"))


def test_a_label_map_is_no_mask() -> None:
    mask = mask_image((1.0, 1.0, 1.0))
    labels = Image(mask.data * np.arange(1, mask.data.shape[2] + 1), mask.affine, source="labels.nii")
    with pytest.raises(LabelMapError, match=r"labels.nii: expected a mask.*found 3, 4"):
        bring_together(mask, labels)


def test_an_empty_mask_stays_empty_and_nothing_is_lost_outside_the_target() -> None:
    mask = mask_image((1.0, 1.0, 1.0))
    grid = common_grid(mask.grid)
    assert not resample_mask(np.zeros_like(mask.data), mask.grid, grid).any()
    elsewhere = Grid((10, 10, 10), centred_affine(np.eye(3), (10, 10, 10)) + np.eye(4, k=3) * 900)
    assert not resample_mask(mask.data, mask.grid, elsewhere).any()
