"""Lesion masks of any affine land at the right millimetre of the ICBM grid."""

import numpy as np
import pytest

from strokelabel.errors import DimensionError, LabelMapError, UnreadableImageError
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.source_files import read_lesion_mask
from support.label_phantoms import ellipsoid, rigid, write

CENTER_MM = np.array([-34.0, 12.0, 21.0])
RADII_MM = np.array([9.0, 15.0, 11.0])


def on_grid(offset, mask):
    """Centre of mass in ICBM mm."""
    affine = icbm_template().affine
    return affine[:3, :3] @ (np.argwhere(mask).mean(axis=0) + offset) + affine[:3, 3]


def affine_around_lesion(directions, spacing, shape):
    """An affine whose grid's middle is the lesion's centre."""
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(spacing)
    affine[:3, 3] = CENTER_MM + 0.3 - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


GRIDS = {
    "LAS": (np.diag([-1.0, 1, 1]), (1, 1, 1), (48, 50, 52)),
    "PSR, half a voxel beside": (np.array([[0, 0, 1.0], [-1, 0, 0], [0, 1, 0]]), (1, 1, 1), (50, 48, 46)),
    "oblique": (rigid((12, -9, 20))[:3, :3], (1, 1, 1), (56, 54, 52)),
    "2 mm": (np.eye(3), (2, 2, 2), (22, 30, 26)),
    "anisotropic and oblique": (rigid((-5, 15, 4))[:3, :3], (0.7, 1.2, 4), (70, 50, 14)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_lesion_keeps_its_place_and_volume_on_any_grid(tmp_path, grid):
    directions, spacing, shape = grid
    affine = affine_around_lesion(directions, spacing, shape)
    mask = ellipsoid(CENTER_MM, RADII_MM, affine, shape)
    offset, placed = read_lesion_mask(write(tmp_path / "lesion.nii.gz", mask.astype(np.uint8), affine))
    assert np.allclose(on_grid(offset, placed), CENTER_MM, atol=0.5)
    assert placed.sum() == pytest.approx(4 / 3 * np.pi * RADII_MM.prod(), rel=0.08)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)])
def test_masks_moved_or_flipped_by_whole_voxels_are_copied_exactly(tmp_path, flips):
    rng = np.random.default_rng(3)
    mask = rng.random((9, 11, 14)) < 0.4
    mask[[0, -1], [0, -1], [0, -1]] = True
    affine = np.diag([*flips, 1.0]).astype(float)
    affine[:3, 3] = (-40, 17, 25)
    offset, placed = read_lesion_mask(write(tmp_path / "m.nii.gz", mask.astype(np.float32), affine))
    assert np.array_equal(placed, mask[tuple(slice(None, None, f) for f in flips)])
    corners = np.array([affine[:3, 3], affine[:3, 3] + np.array(flips) * (np.array(mask.shape) - 1)])
    assert np.array_equal(offset, corners.min(axis=0) - icbm_template().affine[:3, 3])


def test_a_mask_cropped_to_the_lesion_keeps_its_outermost_voxels(tmp_path):
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-30.5, 0.5, 20.5)
    offset, placed = read_lesion_mask(write(tmp_path / "m.nii.gz", np.ones((4, 5, 6), np.uint8), affine))
    assert placed.shape == (8, 10, 12)
    assert placed.mean() > 0.95
    assert np.allclose(on_grid(offset, placed), affine[:3, 3] + np.array([3, 4, 5]), atol=0.1)


def test_a_single_coarse_voxel_is_not_lost(tmp_path):
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-30.5, 0.5, 20.5)
    dot = np.zeros((3, 4, 5), np.uint8)
    dot[1, 2, 3] = 1
    _, placed = read_lesion_mask(write(tmp_path / "dot.nii.gz", dot, affine))
    assert placed.sum() == 8


def test_not_a_number_is_not_lesion(tmp_path):
    affine = np.eye(4)
    affine[:3, 3] = (-30, 0, 20)
    values = np.full((5, 6, 7), np.nan, dtype=np.float32)
    values[1:3, 2:4, 3:6] = 0.9
    _, placed = read_lesion_mask(write(tmp_path / "nan.nii.gz", values, affine))
    assert placed.shape == (2, 2, 3)


def test_an_empty_mask_is_refused(tmp_path):
    path = write(tmp_path / "empty.nii.gz", np.zeros((5, 6, 7), np.uint8), np.eye(4))
    with pytest.raises(LabelMapError, match=r"empty\.nii\.gz.*no voxel above 0\.5"):
        read_lesion_mask(path)


@pytest.mark.parametrize(
    "center", [(400.0, 0, 0), (0.0, 96, 110)], ids=["beyond the grid", "beside the brain"]
)
def test_a_mask_outside_the_brain_is_refused(tmp_path, center):
    affine = np.eye(4)
    affine[:3, 3] = center
    path = write(tmp_path / "far.nii.gz", np.ones((4, 4, 4), np.uint8), affine)
    with pytest.raises(LabelMapError, match="normalise the mask to ICBM space"):
        read_lesion_mask(path)


def test_files_that_are_no_masks_are_refused(tmp_path):
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(UnreadableImageError):
        read_lesion_mask(tmp_path / "text.nii.gz")
    series = write(tmp_path / "series.nii.gz", np.ones((4, 5, 6, 2), np.uint8), np.eye(4))
    with pytest.raises(DimensionError):
        read_lesion_mask(series)
