"""Laws of the canonical grid, over all 48 axis orders and flips, any spacing and any oblique angle."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strokelabel.geometry import CanonicalGrid, Grid

AXIS_ORDERS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
LAW = settings(derandomize=True, deadline=None, max_examples=150)


def affine_of(order, flips, spacing, angles=(0, 0, 0), origin=(0, 0, 0)):
    """An affine whose axes i, j, k run along the world axes `order`, flipped and turned by degrees."""
    directions = np.zeros((3, 3))
    for axis, (world, flip) in enumerate(zip(order, flips, strict=True)):
        directions[world, axis] = flip
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ directions * spacing
    affine[:3, 3] = origin
    return affine


ANY_SPACING = st.floats(0.4, 6.0)


@st.composite
def grids(draw, spacings=ANY_SPACING, smallest=6, largest=15):
    """A grid with unequal sides, tilted by up to 25 degrees about each axis."""
    order, flips = draw(st.sampled_from(AXIS_ORDERS))
    shape = draw(st.lists(st.integers(smallest, largest), min_size=3, max_size=3, unique=True))
    spacing = [draw(spacings) for _ in range(3)]
    angles = [draw(st.floats(-25, 25)) for _ in range(3)]
    origin = [draw(st.floats(-200, 200)) for _ in range(3)]
    return Grid(tuple(shape), affine_of(order, flips, spacing, angles, origin))


def coordinates_mm(grid):
    """World coordinates (3, i, j, k) in mm of every voxel centre."""
    return np.moveaxis(grid.to_world(np.stack(np.indices(grid.shape), axis=-1)), -1, 0)


def well_inside(points, grid, margin_mm):
    """Which world points (3, ...) lie at least a margin within the centres of the grid's edge voxels."""
    index = np.moveaxis(grid.to_voxel(np.moveaxis(points, 0, -1)), -1, 0)
    margin = (np.asarray(margin_mm) / grid.spacing).reshape(3, 1, 1, 1)
    last = np.asarray(grid.shape).reshape(3, 1, 1, 1) - 1
    return ((index >= margin) & (index <= last - margin)).all(axis=0)


@LAW
@given(grids(), st.sampled_from([1.0, 2.0]))
def test_forward_puts_every_voxel_at_its_world_position(grid, spacing_mm):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    expected = coordinates_mm(plan.target)
    found = np.stack([plan.forward(axis) for axis in coordinates_mm(grid)])
    inside = well_inside(expected, grid, 4.0 * spacing_mm)  # antialiasing repeats the edge nearer to it
    np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=2e-3)


@LAW
@given(grids(), st.sampled_from([1.0, 2.0]))
def test_inverse_puts_every_voxel_at_its_world_position(grid, spacing_mm):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    expected = coordinates_mm(grid)
    found = plan.inverse(coordinates_mm(plan.target))
    inside = well_inside(expected, plan.target, 0.0)
    np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=2e-3)


@LAW
@given(grids(), st.sampled_from([1.0, 2.0]))
def test_labels_come_back_from_the_nearest_canonical_voxel(grid, spacing_mm):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    numbers = np.arange(np.prod(plan.target.shape), dtype=np.int32).reshape(plan.target.shape)
    origin = coordinates_mm(plan.target).reshape(3, -1)[:, plan.inverse_labels(numbers)]
    offset = np.linalg.norm(origin - coordinates_mm(grid), axis=0)
    inside = well_inside(coordinates_mm(grid), plan.target, 0.0)
    assert offset[inside].max(initial=0) <= np.sqrt(3) / 2 * spacing_mm + 1e-3
    assert offset.max() <= np.sqrt(3) * spacing_mm + 1e-3  # at most half a voxel more beyond the edge


@LAW
@given(grids(), st.sampled_from([1.0, 2.0]))
def test_labels_go_to_the_canonical_grid_from_the_nearest_voxel(grid, spacing_mm):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    numbers = np.arange(np.prod(grid.shape), dtype=np.int32).reshape(grid.shape)
    origin = coordinates_mm(grid).reshape(3, -1)[:, plan.forward_labels(numbers)]
    offset = np.linalg.norm(origin - coordinates_mm(plan.target), axis=0)
    inside = well_inside(coordinates_mm(plan.target), grid, 0.0)
    assert offset[inside].max(initial=0) <= np.linalg.norm(grid.spacing) / 2 + 1e-3


@LAW
@given(grids(spacings=st.floats(0.9995, 1.0005)), st.integers(0, 2**32 - 1))
def test_without_resampling_forward_and_inverse_are_exact_to_the_bit(grid, seed):
    rng = np.random.default_rng(seed)
    volume = (rng.normal(size=grid.shape) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    labels = rng.integers(-(2**31), 2**31, grid.shape).astype(np.int32)
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, 1.0)
    assert not plan.resamples
    np.testing.assert_array_equal(plan.inverse(plan.forward(volume)[None])[0], volume)
    np.testing.assert_array_equal(plan.inverse_labels(plan.forward_labels(labels)), labels)


@LAW
@given(grids(spacings=st.sampled_from([1.0, 2.0, 3.0, 5.0])), st.integers(0, 2**32 - 1))
def test_nothing_is_lost_when_spacing_is_a_whole_multiple_of_the_target(grid, seed):
    rng = np.random.default_rng(seed)
    volume = rng.uniform(-100, 100, grid.shape).astype(np.float32)
    labels = rng.integers(0, 256, grid.shape).astype(np.uint8)
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, 1.0)
    np.testing.assert_allclose(plan.inverse(plan.forward(volume)[None])[0], volume, atol=1e-3)
    np.testing.assert_array_equal(plan.inverse_labels(plan.forward_labels(labels)), labels)


@LAW
@given(grids(smallest=12, largest=24), st.sampled_from([1.0, 2.0]), st.floats(0, 6))
def test_smooth_images_come_back_almost_unchanged(grid, spacing_mm, phase):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    wavelength = 40.0 * max(*grid.spacing, spacing_mm)
    volume = np.cos(2 * np.pi / wavelength * coordinates_mm(grid).sum(axis=0) / np.sqrt(3) + phase)
    found = plan.inverse(plan.forward(volume)[None])[0]
    inside = well_inside(coordinates_mm(grid), plan.target, 4.0 * spacing_mm)
    np.testing.assert_allclose(found[inside], volume[inside], atol=0.01)


@LAW
@given(grids(), st.floats(0.7, 4.0), st.floats(-1000, 1000))
def test_a_constant_stays_constant_up_to_the_edges(grid, spacing_mm, value):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    canonical = plan.forward(np.full(grid.shape, value))
    np.testing.assert_allclose(canonical, value, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(plan.inverse(canonical[None]), value, rtol=1e-5, atol=1e-30)


@LAW
@given(grids(), st.floats(0.7, 4.0))
def test_the_target_is_right_anterior_superior_isotropic_and_covers_the_scan(grid, spacing_mm):
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, spacing_mm)
    assert plan.target.axis_codes == ("R", "A", "S")
    assert plan.source == grid
    np.testing.assert_allclose(plan.target.spacing, spacing_mm, rtol=1.1e-3)
    index = plan.target.to_voxel(grid.corners_mm())
    assert (index > -1.0).all()
    assert (index < np.asarray(plan.target.shape)).all()


@pytest.mark.parametrize(("order", "flips"), AXIS_ORDERS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.1, 5.0)], ids=["1 mm", "thick slices"])
def test_a_marker_on_the_right_stays_on_the_right(order, flips, spacing):
    grid = Grid((21, 24, 27), affine_of(order, flips, spacing, (12, -8, 15), (5, -30, 70)))
    centre = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    fits = 0.3 * np.min(np.asarray(grid.shape) * grid.spacing)
    marker_mm = centre + np.array([1.0, 0.4, -0.3]) * fits
    distance = np.linalg.norm(coordinates_mm(grid) - marker_mm.reshape(3, 1, 1, 1), axis=0)
    volume = np.exp(-0.5 * (distance / max(spacing)) ** 2)

    plan = CanonicalGrid.for_image(grid.shape, grid.affine, 1.0)
    canonical = plan.forward(volume)
    peak = np.unravel_index(canonical.argmax(), canonical.shape)

    assert peak[0] > plan.target.shape[0] / 2
    assert np.abs(plan.target.to_world(np.array(peak)) - marker_mm).max() <= max(spacing)


@pytest.mark.parametrize(("order", "flips"), AXIS_ORDERS)
def test_a_mask_painted_on_the_left_comes_back_on_the_left(order, flips):
    grid = Grid((21, 24, 27), affine_of(order, flips, (0.8, 2.0, 1.3), (-10, 7, 20), (-3, 12, -40)))
    plan = CanonicalGrid.for_image(grid.shape, grid.affine, 1.0)
    centre = np.array([6.0, 9.0, 10.0])
    distance = np.linalg.norm(np.indices(plan.target.shape) - centre.reshape(3, 1, 1, 1), axis=0)
    painted = (distance < 5.5).astype(np.uint8)
    centre_mm = plan.target.to_world(centre)

    mask = plan.inverse_labels(painted)
    probability = plan.inverse(painted[None].astype(np.float32))[0]

    assert mask.shape == grid.shape
    assert mask.dtype == np.uint8
    np.testing.assert_allclose(grid.to_world(np.argwhere(mask).mean(axis=0)), centre_mm, atol=0.3)
    weighted = (coordinates_mm(grid) * probability).sum(axis=(1, 2, 3)) / probability.sum()
    np.testing.assert_allclose(weighted, centre_mm, atol=0.1)
    assert grid.voxel_volume_ml * mask.sum() == pytest.approx(0.001 * painted.sum(), rel=0.1)
