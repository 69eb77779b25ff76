"""Laws of the rule for the same voxels, over all 48 axis orders and flips, any spacing and any oblique angle."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_canonical_grid_properties import grids

from strokelabel.geometry import Grid, bring_to_grid, is_same_grid
from strokelabel.geometry.same_grid import corner_distance_mm, find_placement, rounding_mm
from support.turned_grids import ORIENTATIONS, reordered, shifted

LAW = settings(derandomize=True, deadline=None, max_examples=150)
TURNS = st.sampled_from(ORIENTATIONS)
DIRECTIONS = st.tuples(*[st.integers(-3, 3)] * 3).filter(any)


def numbered(grid):
    return np.arange(np.prod(grid.shape)).reshape(grid.shape)


def turned_grid(grid, turn):
    data, affine = reordered(numbered(grid), grid.affine, turn)
    return data, Grid(data.shape, affine)


@LAW
@given(grids(), TURNS)
def test_reordered_voxels_come_back_to_the_bit_and_forth(grid, turn):
    data, turned = turned_grid(grid, turn)
    assert np.array_equal(bring_to_grid(data, turned, grid, "label", "scan"), numbered(grid))
    assert np.array_equal(bring_to_grid(numbered(grid), grid, turned, "label", "scan"), data)


@LAW
@given(grids(), TURNS, st.integers(4, 8))
def test_rounded_affines_are_the_exact_grids(grid, turn, decimals):
    data, turned = turned_grid(grid, turn)
    rounded = Grid(turned.shape, np.round(turned.affine, decimals))
    assert is_same_grid(rounded, grid) and is_same_grid(grid, rounded)
    assert np.array_equal(bring_to_grid(data, rounded, grid, "label", "scan"), numbered(grid))


@LAW
@given(grids(), TURNS, DIRECTIONS, st.sampled_from([0.5, 1, 2]))
def test_shifts_by_halves_and_whole_voxels_are_never_the_same_grid(grid, turn, direction, size):
    _, turned = turned_grid(grid, turn)
    moved = Grid(turned.shape, shifted(turned.affine, *(size * np.array(direction))))
    assert not is_same_grid(moved, grid) and not is_same_grid(grid, moved)


@LAW
@given(grids(), TURNS, DIRECTIONS, st.floats(0, 3))
def test_a_shift_is_rounding_up_to_the_tolerance_and_no_further(grid, turn, direction, share):
    assume(abs(share - 1) > 1e-6)
    _, turned = turned_grid(grid, turn)
    affine = turned.affine.copy()
    affine[:3, 3] += share * rounding_mm(grid) * np.array(direction) / np.linalg.norm(direction)
    assert is_same_grid(Grid(turned.shape, affine), grid) == (share < 1)


@LAW
@given(grids(), TURNS)
def test_the_shape_alone_never_decides(grid, turn):
    """A file whose voxels were turned, but not its affine, or the other way round."""
    data, turned = turned_grid(grid, turn)
    assume(data.shape != grid.shape)
    assert not is_same_grid(Grid(data.shape, grid.affine), grid)
    assert not is_same_grid(Grid(grid.shape, turned.affine), grid)


@LAW
@given(grids(), TURNS, st.integers(0, 10**6))
def test_a_part_is_found_where_it_was_cut_out(grid, turn, seed):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, np.array(grid.shape) - 1)
    stop = rng.integers(start + 1, np.array(grid.shape) + 1)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part, affine = reordered(numbered(grid)[box] + 1, shifted(grid.affine, *start), turn)
    placement = find_placement(Grid(part.shape, affine), grid)
    assert placement is not None and placement.start == tuple(start)
    whole, lost = placement.paste(part)
    assert lost == 0 and np.array_equal(whole[box], numbered(grid)[box] + 1)
    assert np.count_nonzero(whole) == part.size


@LAW
@given(grids(), TURNS)
def test_the_snapped_grid_is_as_near_as_rounding(grid, turn):
    data, turned = turned_grid(grid, turn)
    placement = find_placement(Grid(turned.shape, turned.affine.astype(np.float32)), grid)
    assert placement is not None and placement.is_whole
    assert corner_distance_mm(placement.source, turned) < rounding_mm(grid)
    assert placement.reorder(data).shape == grid.shape
