"""Windows cover a volume of any size, and what they give is put together where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.inference.windows import over_windows


@pytest.mark.parametrize("window", [(8, 8, 8), (16, 8, 24), (20, 24, 28)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_what_each_voxel_gives_by_itself_is_the_same_in_windows(
    window: tuple[int, int, int], overlap: float
) -> None:
    volume = np.random.default_rng(2).normal(size=(1, 1, 20, 24, 28)).astype(np.float32)
    shapes = []

    def run(part: np.ndarray) -> np.ndarray:
        shapes.append(part.shape[2:])
        return np.concatenate([2 * part, part - 1], axis=1)

    found = over_windows(volume, window, overlap, run)
    np.testing.assert_allclose(found, run(volume), atol=1e-4)
    assert found.dtype == np.float32 and set(shapes[:-1]) == {window}


def test_the_middle_of_a_window_counts_more_than_its_edge() -> None:
    volume = np.zeros((1, 1, 12, 8, 8), np.float32)
    numbers = iter((0.0, 1.0))
    found = over_windows(volume, (8, 8, 8), 0.5, lambda part: np.full_like(part, next(numbers)))[
        0, 0, :, 4, 4
    ]
    assert found[0] == 0 and found[11] == 1
    shared = found[4:8]
    assert np.all(np.diff(shared) > 0) and shared[0] < 0.2 and shared[3] > 0.8
