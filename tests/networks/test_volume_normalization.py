"""One volume is normalised as a batch of tensors is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strokelabel.networks.normalization import normalize
from strokelabel.networks.volume_normalization import normalize_volume


@pytest.mark.parametrize("percentiles", [(1.0, 99.0), (0.0, 100.0)])
def test_arrays_and_tensors_are_normalised_alike(percentiles: tuple[float, float]) -> None:
    volume = np.random.default_rng(1).gamma(2, 90, (40, 61, 53)).astype(np.float32)
    volume[:9] = 0
    found = normalize_volume(volume, *percentiles)
    expected = normalize(torch.from_numpy(volume)[None, None], *percentiles)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32 and abs(found.mean()) < 1e-5


def test_a_constant_volume_becomes_zero() -> None:
    np.testing.assert_array_equal(normalize_volume(np.full((4, 5, 6), 7, np.float32)), 0)
