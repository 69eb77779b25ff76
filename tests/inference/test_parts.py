"""The parts of a prediction, each by itself: windows, intensities, post-processing."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.inference.device import available_bytes, resolve_device, voxels_that_fit
from strokelabel.inference.engine import window_shape
from strokelabel.inference.network_input import looks_like_ct, prepare_intensities, zero_air
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import drop_small_lesions, lesion_mask

sides = st.integers(1, 12).map(lambda n: 16 * n)


@settings(max_examples=50, deadline=None)
@given(shape=st.tuples(sides, sides, sides), most=st.integers(1, 10**7))
def test_windows_fit_the_limit_and_the_network(shape: tuple[int, int, int], most: int) -> None:
    window = window_shape(shape, 16, most)
    assert prod(window) <= max(most, 16**3)
    assert all(side % 16 == 0 and 16 <= side <= full for side, full in zip(window, shape, strict=True))


def test_a_volume_that_fits_is_its_own_window() -> None:
    assert window_shape((160, 192, 160), 32, 160 * 192 * 160) == (160, 192, 160)


def test_measured_air_is_left_alone_unless_it_is_negative(rng: np.random.Generator) -> None:
    noisy = rng.uniform(0, 5, (7, 8, 9)).astype(np.float32)
    np.testing.assert_array_equal(zero_air(noisy), noisy)
    shifted = zero_air(noisy - 100)
    assert shifted.min() == 0
    assert np.median(shifted[0]) < 3


def test_masked_air_becomes_zero_wherever_it_was(rng: np.random.Generator) -> None:
    head = rng.normal(0, 1, (5, 6, 7))
    for air in (-3.0, 0.0, 0.5):
        values = np.pad(head, 3, constant_values=air).astype(np.float32)
        result = zero_air(values)
        assert (result[:3] == 0).all()
        assert (result >= 0).all()
        np.testing.assert_allclose(np.diff(result[3:-3, 5, 5]), np.diff(values[3:-3, 5, 5]), atol=1e-5)


def test_preparing_does_not_change_the_scan_itself() -> None:
    data = np.pad(np.arange(-30.0, 30.0).reshape(3, 4, 5), 2).astype(np.float32)
    before = data.copy()
    prepare_intensities(data, (0, 10))
    prepare_intensities(data, None)
    np.testing.assert_array_equal(data, before)


def test_hounsfield_units_are_recognised_and_mri_is_not(rng: np.random.Generator) -> None:
    ct = np.full((8, 9, 10), -1000.0)
    ct[2:6, 2:7, 2:8] = 40
    assert looks_like_ct(ct)
    assert not looks_like_ct(rng.normal(0, 1, (8, 9, 10)))


def two_lesions() -> np.ndarray:
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    mask[7, 8, 8:10] = True
    return mask


@pytest.mark.parametrize(("least", "kept"), [(0.0, 127), (0.002, 127), (0.003, 125), (0.125, 125), (0.13, 0)])
def test_lesions_below_the_smallest_size_are_dropped_and_others_kept(least: float, kept: int) -> None:
    assert drop_small_lesions(two_lesions(), least, voxel_volume_ml=0.001).sum() == kept


def test_a_threshold_keeps_what_reaches_it() -> None:
    lesion = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 1, 11)
    mask = lesion_mask(lesion, lesion > 1 - lesion, 0.001, PredictionOptions(threshold=0.25))
    np.testing.assert_array_equal(mask, lesion >= 0.25)


def test_without_a_threshold_the_likeliest_class_counts() -> None:
    lesion = np.array([[[0.3, 0.4, 0.4]]], np.float32)
    others = np.array([[[0.2, 0.4, 0.5]]], np.float32)
    assert lesion_mask(lesion, lesion > others, 0.001, PredictionOptions()).tolist() == [
        [[True, False, False]]
    ]


def test_holes_are_filled_only_when_wanted() -> None:
    lesion = two_lesions().astype(np.float32)
    lesion[3, 3, 3] = 0
    others = np.full(lesion.shape, 0.5, np.float32)
    assert not lesion_mask(lesion, lesion > others, 0.001, PredictionOptions())[3, 3, 3]
    filled = lesion_mask(lesion, lesion > others, 0.001, PredictionOptions(fill_holes=True))
    np.testing.assert_array_equal(filled, two_lesions())


def test_free_memory_is_known_and_limits_a_pass() -> None:
    assert available_bytes() > 0
    assert voxels_that_fit(resolve_device("cpu")) > 0
