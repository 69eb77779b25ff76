"""Grids are one where they have the same voxels but for rounding; everything else is refused with both grids named."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.errors import GeometryError
from strokelabel.geometry import Grid, bring_to_grid, check_same_grid, is_same_grid
from strokelabel.geometry.same_grid import (
    TOLERANCE_MM,
    corner_distance_mm,
    describe_grid,
    find_placement,
    rounding_mm,
)
from support.bright_network import centred_affine, rotation
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered, shifted

SHAPE = (9, 12, 5)
AFFINE = centred_affine(rotation((14, -8, 21)) @ np.diag([-0.9, 1.2, 4.5]), SHAPE)
GRID = Grid(SHAPE, AFFINE)


def numbered(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Every voxel has a value of its own."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape)


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=ORIENTATION_IDS)
def test_every_voxel_comes_back_from_all_48_orders_of_axes(turn: np.ndarray) -> None:
    data, affine = reordered(numbered(), AFFINE, turn)
    turned = Grid(data.shape, affine)
    assert is_same_grid(turned, GRID) and is_same_grid(GRID, turned)
    assert np.array_equal(bring_to_grid(data, turned, GRID, "label", "scan"), numbered())
    assert np.array_equal(bring_to_grid(numbered(), GRID, turned, "label", "scan"), data)


def test_data_of_the_same_grid_are_not_copied() -> None:
    data = numbered()
    assert np.shares_memory(bring_to_grid(data, GRID, GRID, "label", "scan"), data)


@pytest.mark.parametrize(
    "affine",
    [AFFINE.astype(np.float32), np.round(AFFINE, 4), AFFINE + 0.01 * np.eye(4, k=3)],
    ids=["float32", "four decimals", "0.01 mm"],
)
def test_rounding_makes_no_difference(affine: np.ndarray) -> None:
    assert not np.array_equal(affine, AFFINE)
    assert np.array_equal(bring_to_grid(numbered(), Grid(SHAPE, affine), GRID, "label", "scan"), numbered())


@pytest.mark.parametrize("voxels", [(4, 0, 0), (0, 1, 0), (0, 0, -1), (0.5, 0, 0), (0, 0.5, 0), (0, 0, -0.5)])
def test_shifts_by_voxels_or_half_of_one_are_refused(voxels: tuple[float, float, float]) -> None:
    assert not is_same_grid(Grid(SHAPE, shifted(AFFINE, *voxels)), GRID)


def test_half_a_voxel_is_no_rounding_however_small_the_voxel() -> None:
    fine = Grid((30, 40, 20), np.diag([0.15, 0.12, 0.18, 1]))
    assert rounding_mm(fine) < TOLERANCE_MM == rounding_mm(GRID)
    assert not is_same_grid(Grid(fine.shape, shifted(fine.affine, 0, 0.5, 0)), fine)
    assert is_same_grid(Grid(fine.shape, shifted(fine.affine, 0, 0.1, 0)), fine)


def test_a_swapped_shape_is_turned_where_the_affine_says_so_and_refused_where_it_does_not() -> None:
    swapped = numbered().transpose(1, 0, 2)
    axes = np.eye(4)[[1, 0, 2, 3]]
    said = Grid(swapped.shape, AFFINE @ axes)
    assert np.array_equal(bring_to_grid(swapped, said, GRID, "label", "scan"), numbered())
    assert not is_same_grid(Grid(swapped.shape, AFFINE), GRID)
    assert not is_same_grid(Grid(SHAPE, AFFINE @ axes), GRID)


def test_other_voxel_sizes_angles_and_slice_thicknesses_are_refused() -> None:
    thicker = Grid((9, 12, 1), AFFINE @ np.diag([1, 1, 1.2, 1]))
    assert not is_same_grid(thicker, Grid((9, 12, 1), AFFINE))
    assert not is_same_grid(Grid(SHAPE, AFFINE @ np.diag([1.02, 1, 1, 1])), GRID)
    turned = centred_affine(rotation((14, -8, 22)) @ np.diag([-0.9, 1.2, 4.5]), SHAPE)
    assert not is_same_grid(Grid(SHAPE, turned), GRID)
    assert not is_same_grid(Grid(SHAPE, AFFINE @ np.diag([2, 1, 1, 1])), GRID)


def test_a_refusal_names_both_grids_and_what_to_do() -> None:
    with pytest.raises(GeometryError) as refused:
        check_same_grid(Grid(SHAPE, shifted(AFFINE, 4, 0, 0)), GRID, "mask.nii", "scan.nii")
    text = str(refused.value)
    assert text.startswith("mask.nii: expected the grid of scan.nii")
    assert "begins (4, 0, 0) voxels away" in text
    for part in ("shape (9, 12, 5)", "spacing (0.9, 1.2, 4.5) mm", "axes LAS", "origin (", "resample it"):
        assert text.count(part) == (1 if part == "resample it" else 2), part


def test_a_part_is_pasted_where_it_belongs_if_it_may_be_one() -> None:
    part, affine = reordered(numbered()[2:7, 1:, :4], shifted(AFFINE, 2, 1, 0), ORIENTATIONS[29])
    grid = Grid(part.shape, affine)
    with pytest.raises(GeometryError, match="expected the grid of scan"):
        bring_to_grid(part, grid, GRID, "label", "scan")
    expected = np.zeros_like(numbered())
    expected[2:7, 1:, :4] = numbered()[2:7, 1:, :4]
    assert np.array_equal(bring_to_grid(part, grid, GRID, "label", "scan", may_be_part=True), expected)


@pytest.mark.parametrize("start", [-3, 7, 40])
def test_a_part_may_reach_beyond_the_grid_only_where_it_is_empty(start: int) -> None:
    part = np.zeros((6, 12, 5), int)
    inside = max(0, min(9, start + 6) - max(0, start))
    part[max(0, -start) : max(0, -start) + inside] = 1
    grid = Grid(part.shape, shifted(AFFINE, start, 0, 0))
    whole = bring_to_grid(part, grid, GRID, "label", "scan", may_be_part=True)
    assert whole.shape == SHAPE and whole.sum() == part.sum()
    with pytest.raises(GeometryError, match=r"found [\d,]+ voxels of them outside"):
        bring_to_grid(np.ones_like(part), grid, GRID, "label", "scan", may_be_part=True)


def test_a_placement_says_where_a_part_begins() -> None:
    placement = find_placement(Grid((3, 3, 3), shifted(AFFINE, 2, -1, 4)), GRID)
    assert placement is not None and placement.start == (2, -1, 4) and not placement.is_whole


def test_the_distance_of_grids_is_that_of_their_farthest_corners() -> None:
    assert corner_distance_mm(GRID, Grid(SHAPE, shifted(AFFINE, 1, 0, 0))) == pytest.approx(0.9)
    stretched = np.diag([1.1, 1, 1, 1.0])
    assert corner_distance_mm(Grid((10, 4, 3), np.eye(4)), Grid((10, 4, 3), stretched)) == pytest.approx(0.95)


def test_a_grid_is_described_by_shape_spacing_orientation_and_origin() -> None:
    grid = Grid((10, 20, 5), np.array([[-1.5, 0, 0, 12], [0, 2, 0, -31.25], [0, 0, 4, 7], [0, 0, 0, 1]]))
    assert describe_grid(grid) == (
        "shape (10, 20, 5), spacing (1.5, 2, 4) mm, axes LAS, origin (12.00, -31.25, 7.00) mm"
    )
