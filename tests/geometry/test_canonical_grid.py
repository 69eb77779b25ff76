import numpy as np
import pytest
from scipy import ndimage

from strokelabel.errors import DimensionError
from strokelabel.geometry import CanonicalGrid, CropBox

SHAPE = (13, 16, 11)
# left-posterior-inferior order, thick slices along the second axis, tilted
AFFINE = np.array(
    [[-0.78, 0.9, 0.1, 40], [-0.14, -4.9, 0.3, -20], [-0.1, 0.6, -1.15, 12], [0, 0, 0, 1]], dtype=float
)


@pytest.fixture
def plan():
    return CanonicalGrid.for_image(SHAPE, AFFINE)


def test_forward_agrees_with_interpolation_at_world_positions():
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    finer = CanonicalGrid.for_image(SHAPE, AFFINE, 0.5)  # nothing is smoothed
    voxels = np.stack(np.indices(finer.target.shape), axis=-1)
    index = finer.source.to_voxel(finer.target.to_world(voxels))
    expected = ndimage.map_coordinates(volume, np.moveaxis(index, -1, 0), order=1, mode="nearest")
    np.testing.assert_allclose(finer.forward(volume), expected, atol=1e-5)


def test_inverse_agrees_with_interpolation_at_world_positions(plan):
    channels = np.random.default_rng(2).random((2, *plan.target.shape)).astype(np.float32)
    index = plan.target.to_voxel(plan.source.to_world(np.stack(np.indices(SHAPE), axis=-1)))
    expected = [
        ndimage.map_coordinates(channel, np.moveaxis(index, -1, 0), order=1, mode="nearest")
        for channel in channels
    ]
    np.testing.assert_allclose(plan.inverse(channels), expected, atol=1e-5)


def test_probabilities_still_sum_to_one_after_the_way_back(plan):
    probabilities = np.random.default_rng(3).random((6, *plan.target.shape)).astype(np.float32)
    probabilities /= probabilities.sum(axis=0)
    np.testing.assert_allclose(plan.inverse(probabilities).sum(axis=0), 1, atol=1e-5)


def test_fine_stripes_are_smoothed_away_instead_of_becoming_coarse_ones():
    stripes = np.indices((64, 20, 22))[0] % 2 * 2.0 - 1.0
    plan = CanonicalGrid.for_image(stripes.shape, np.diag([0.5, 1, 1, 1]), 1.5)
    assert np.abs(plan.forward(stripes)[2:-2]).max() < 0.05


def test_the_result_never_shares_memory_with_the_input():
    volume = np.random.default_rng(4).random((5, 6, 7)).astype(np.float32)
    plan = CanonicalGrid.for_image(volume.shape, np.eye(4))
    assert not np.shares_memory(plan.forward(volume), volume)
    assert not np.shares_memory(plan.inverse(volume[None]), volume)
    assert not np.shares_memory(plan.inverse_labels(volume), volume)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64, bool])
def test_any_input_type_becomes_float32_and_label_types_are_kept(plan, dtype):
    labels = np.random.default_rng(5).integers(0, 2, SHAPE).astype(dtype)
    assert plan.forward(labels).dtype == np.float32
    assert plan.forward_labels(labels).dtype == dtype
    assert plan.inverse_labels(plan.forward_labels(labels)).dtype == dtype


def test_label_values_beyond_the_precision_of_floats_survive(plan):
    labels = np.full(SHAPE, 2**31 - 1, dtype=np.int32)
    assert (plan.inverse_labels(plan.forward_labels(labels)) == 2**31 - 1).all()


def test_one_thick_slice_still_makes_a_volume():
    plan = CanonicalGrid.for_image((9, 8, 1), np.diag([1, 1, 6.0, 1]))
    volume = np.random.default_rng(6).random((9, 8, 1)).astype(np.float32)
    assert plan.target.shape == (9, 8, 6)
    np.testing.assert_allclose(plan.inverse(plan.forward(volume)[None])[0], volume, rtol=1e-6)


def test_data_of_another_grid_is_refused(plan):
    with pytest.raises(DimensionError, match="i, j, k"):
        plan.forward(np.zeros((4, 5, 6)))
    with pytest.raises(DimensionError, match="i, j, k"):
        plan.forward_labels(np.zeros((4, 5, 6)))
    with pytest.raises(DimensionError, match="channels, x, y, z"):
        plan.inverse(np.zeros((2, 4, 5, 6)))
    with pytest.raises(DimensionError, match="x, y, z"):
        plan.inverse_labels(np.zeros((4, 5, 6)))


@pytest.mark.parametrize("spacing_mm", [0.9, 1.6, 3.0, 7.0])
@pytest.mark.parametrize("start", [(0, 0, 0), (1, 2, 1), (3, 1, 0)])
def test_a_box_brought_back_by_itself_is_the_pasted_box_brought_back(
    rng: np.random.Generator, spacing_mm: float, start: tuple[int, int, int]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, -1.6], [-3.0, 0.2, 0], [0, 1.1, 0]])
    canonical = CanonicalGrid.for_image((23, 34, 29), affine, spacing_mm)
    stop = tuple(max(a + 1, n - 2) for a, n in zip(start, canonical.target.shape, strict=True))
    box = CropBox(canonical.target.shape, start, stop)
    crop = rng.random(box.shape, dtype=np.float32)
    for fill in (0.0, 1.0):
        expected = canonical.inverse(box.paste(crop, fill)[np.newaxis])[0]
        found = canonical.inverse_of_box(*box.within(crop), fill=fill)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32
        values, region = canonical.inverse_region(*box.within(crop), fill=fill)
        np.testing.assert_array_equal(values, found[region])
        outside = np.ones(found.shape, dtype=bool)
        outside[region] = False
        assert (found[outside] == fill).all()
    total = canonical.inverse_of_box(*box.within(crop), fill=0.0).sum(dtype=np.float64)
    assert canonical.inverse_sum(*box.within(crop)) == pytest.approx(total, rel=1e-5)
