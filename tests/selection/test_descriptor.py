"""Descriptors of scans: finite, and close for scans that look alike."""

from __future__ import annotations

import numpy as np

from strokelabel.selection import scan_descriptor

SPACING = (1.2, 0.9, 4.0)


def brain(white: float, gray: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and labels (i, j, k): background, white matter, gray matter."""
    labels = np.zeros((12, 15, 9), np.uint8)
    labels[2:10, 3:12, 1:8] = 3
    labels[4:8, 5:10, 2:7] = 1
    noise = np.random.default_rng(seed).normal(0, 0.02, labels.shape)
    data = np.choose(labels, [0.0, gray, 0.0, white]) + noise
    return data.astype(np.float32), labels


def describe(white: float, gray: float, seed: int, scale: float = 1.0) -> np.ndarray:
    data, labels = brain(white, gray, seed)
    return np.array(scan_descriptor(data * scale, labels, 6, SPACING))


def test_a_descriptor_is_finite_and_has_three_numbers_for_each_class_and_the_spacing() -> None:
    numbers = describe(1.0, 0.6, 1)
    assert numbers.shape == (3 * 6 + 3,) and np.isfinite(numbers).all()


def test_the_unit_of_the_intensities_does_not_count() -> None:
    np.testing.assert_allclose(describe(1.0, 0.6, 1, scale=700), describe(1.0, 0.6, 1), atol=1e-4)


def test_scans_of_one_contrast_are_closer_than_scans_of_two() -> None:
    same = np.linalg.norm(describe(1.0, 0.6, 1) - describe(1.0, 0.6, 2))
    other = np.linalg.norm(describe(1.0, 0.6, 1) - describe(0.5, 0.9, 2))
    assert same < 0.2 * other


def test_a_scan_without_any_tissue_has_a_descriptor() -> None:
    data, labels = brain(1.0, 0.6, 1)
    assert np.isfinite(scan_descriptor(data, np.zeros_like(labels), 6, SPACING)).all()
