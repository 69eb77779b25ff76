"""Laws of cropping: what is cut out goes back to the very voxels it came from."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.geometry import Grid, box_around

LAW = settings(derandomize=True, deadline=None, max_examples=200)


@st.composite
def masks(draw):
    """A mask of random specks with unequal sides."""
    shape = draw(st.lists(st.integers(3, 14), min_size=3, max_size=3, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(shape) < draw(st.sampled_from([0.002, 0.05, 0.5]))


@LAW
@given(masks(), st.integers(0, 4), st.sampled_from([1, 4, 16]))
def test_paste_undoes_crop_inside_the_box_and_fills_outside(mask, margin, multiple):
    box = box_around(mask, margin, multiple)
    rng = np.random.default_rng(mask.size)
    channels = rng.normal(size=(2, *mask.shape)).astype(np.float32)
    inside = box.paste(np.ones(box.shape, dtype=bool), fill=False)

    restored = box.paste(box.crop(channels, fill=-5), fill=7)

    assert (mask <= inside).all()
    np.testing.assert_array_equal(restored[:, inside], channels[:, inside])
    assert (restored[:, ~inside] == 7).all()


@LAW
@given(masks(), st.integers(0, 4), st.sampled_from([1, 4, 16]))
def test_sides_are_multiples_and_leave_the_grid_only_if_they_must(mask, margin, multiple):
    box = box_around(mask, margin, multiple)
    for start, stop, size in zip(box.start, box.stop, mask.shape, strict=True):
        assert (stop - start) % multiple == 0
        if stop - start <= size:
            assert start >= 0
            assert stop <= size
        else:
            assert start <= 0
            assert stop >= size
            assert stop - start < size + multiple


@LAW
@given(masks(), st.integers(0, 2), st.sampled_from([1, 8]))
def test_cropped_voxels_keep_their_world_positions(mask, margin, multiple):
    affine = np.array([[0, -2.0, 0.1, 30], [0.9, 0, 0, -12], [0.2, 0.3, 3.1, 5], [0, 0, 0, 1]])
    full = Grid(mask.shape, affine)
    box = box_around(mask, margin, multiple)
    positions = np.moveaxis(full.to_world(np.stack(np.indices(full.shape), axis=-1)), -1, 0)
    cropped_grid = box.grid(full)
    expected = np.moveaxis(cropped_grid.to_world(np.stack(np.indices(box.shape), axis=-1)), -1, 0)
    cropped = box.crop(positions, fill=np.nan)
    inside = np.isfinite(cropped)
    np.testing.assert_allclose(cropped[inside], expected[inside], atol=1e-9)
