import numpy as np
import pytest

from strokelabel.errors import DimensionError
from strokelabel.geometry import box_around, crop_to_foreground, foreground_mask

HEAD = (slice(12, 40), slice(8, 50), slice(20, 45))
SHAPE = (50, 60, 55)


@pytest.fixture
def head(rng):
    """A head of unequal sides, varied inside, in empty air."""
    volume = np.zeros(SHAPE, dtype=np.float32)
    volume[HEAD] = rng.uniform(60, 140, volume[HEAD].shape)
    return volume


def bounds(box):
    return tuple(slice(start, stop) for start, stop in zip(box.start, box.stop, strict=True))


def test_empty_air_is_cropped_exactly(head):
    cropped, box = crop_to_foreground(head)
    assert bounds(box) == HEAD
    np.testing.assert_array_equal(cropped, head[HEAD])


def test_rician_noise_in_the_air_is_not_taken_for_head(head, rng):
    noise = rng.normal(0, 5, (2, *SHAPE))
    noisy = np.hypot(head + noise[0], noise[1]).astype(np.float32)
    assert bounds(crop_to_foreground(noisy)[1]) == HEAD


def test_specks_and_one_very_bright_vessel_do_not_move_the_box(head, rng):
    noise = rng.normal(0, 4, (2, *SHAPE))
    noisy = np.hypot(head + noise[0], noise[1])
    noisy[25, 25, 22:40] = 5000
    noisy[2, 3, 4] = noisy[48, 55, 50] = 400
    assert bounds(crop_to_foreground(noisy)[1]) == HEAD


def test_a_masked_scan_with_negative_values_keeps_its_dark_voxels(head, rng):
    volume = np.zeros(SHAPE, dtype=np.float32)
    volume[HEAD] = rng.normal(0, 1, volume[HEAD].shape)
    np.testing.assert_array_equal(foreground_mask(volume), volume != 0)


def test_background_of_minus_1000_is_background(head):
    assert bounds(crop_to_foreground(np.where(head == 0, -1000, head))[1]) == HEAD


def test_the_margin_stops_at_the_edge_of_the_grid(head):
    box = crop_to_foreground(head, margin_vox=15)[1]
    assert bounds(box) == (slice(0, 50), slice(0, 60), slice(5, 55))


def test_sides_beyond_the_grid_are_padded_with_the_fill_value(head):
    cropped, box = crop_to_foreground(head, multiple=64, fill=-3)
    assert cropped.shape == (64, 64, 64)
    assert bounds(box)[0] == slice(-7, 57)
    assert (cropped[:7] == -3).all()
    np.testing.assert_array_equal(box.paste(cropped), head)


def test_an_empty_mask_keeps_the_whole_grid():
    box = box_around(np.zeros((4, 5, 6), dtype=bool), margin_vox=2)
    assert (box.start, box.stop) == ((0, 0, 0), (4, 5, 6))


def test_a_volume_without_contrast_is_all_foreground():
    assert foreground_mask(np.full((4, 5, 6), 7.0)).all()


def test_arrays_of_another_shape_are_refused(head):
    cropped, box = crop_to_foreground(head)
    with pytest.raises(DimensionError, match="last axes of shape"):
        box.crop(cropped)
    with pytest.raises(DimensionError, match="last axes of shape"):
        box.paste(head)
