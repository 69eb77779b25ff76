"""The network is shown the head, or its field of view around the brain, and nothing is cut that matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from strokelabel.geometry import CanonicalGrid, CropBox
from strokelabel.inference.head import block_means, centered_box, head_box
from strokelabel.inference.network_input import (
    brain_view,
    head_view,
    likeliest_on_source_grid,
    on_source_grid,
)
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from support.bright_network import BrightNetwork, centred_affine, make_spec, rotation

SHAPE = (50, 60, 70)
HEAD = (slice(12, 34), slice(14, 46), slice(20, 62))


def head_in(noise: float, rng: np.random.Generator) -> np.ndarray:
    volume = np.zeros(SHAPE)
    volume[HEAD] = 1.0
    real, imaginary = rng.normal(0, noise, (2, *SHAPE))
    return np.hypot(volume + real, imaginary).astype(np.float32)


def assert_snug(box: CropBox) -> None:
    """Covers the head, and little more: at 2 mm, a block and the margin are 8 mm."""
    for start, stop, side in zip(box.start, box.stop, HEAD, strict=True):
        assert side.start - 5 <= start <= side.start
        assert side.stop <= stop <= side.stop + 5


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.2])
def test_the_box_is_snug_whatever_the_noise(noise: float, rng: np.random.Generator) -> None:
    assert_snug(head_box(head_in(noise, rng), spacing_mm=2.0))


def test_the_box_is_snug_in_whole_numbers_with_a_noise_floor(rng: np.random.Generator) -> None:
    assert_snug(head_box(np.round(head_in(0.05, rng) * 60), spacing_mm=2.0))


def test_a_bright_vessel_and_a_faint_ghost_do_not_move_the_box(rng: np.random.Generator) -> None:
    volume = head_in(0.02, rng)
    volume[20:22, 30:32, 40:42] = 30
    volume += 0.05 * np.roll(volume, 30, axis=1)
    assert_snug(head_box(volume, spacing_mm=2.0))


def test_a_volume_in_which_nothing_stands_out_is_taken_whole() -> None:
    box = head_box(np.zeros(SHAPE, np.float32), spacing_mm=2.0)
    assert (box.start, box.stop) == ((0, 0, 0), SHAPE)


def test_a_head_that_fills_the_volume_is_taken_whole(rng: np.random.Generator) -> None:
    box = head_box(rng.uniform(0.5, 1, SHAPE).astype(np.float32), spacing_mm=1.0)
    assert (box.start, box.stop) == ((0, 0, 0), SHAPE)


def test_block_means_keep_the_mean_and_repeat_the_edge() -> None:
    ramp = np.broadcast_to(np.arange(5.0), (4, 2, 5))
    np.testing.assert_allclose(block_means(ramp, 2), np.broadcast_to([0.5, 2.5, 4.0], (2, 1, 3)))


def test_a_box_moves_into_the_volume_where_it_fits_and_is_centred_where_not() -> None:
    box = centered_box((10, 20, 30), np.array([1.0, 18.0, 15.0]), (6, 6, 40))
    assert (box.start, box.stop) == ((0, 14, -5), (6, 20, 35))


def test_sides_are_multiples_of_what_the_network_asks(rng: np.random.Generator) -> None:
    box = head_view(head_in(0.02, rng), spacing_mm=2.0, multiple=16)
    assert [side % 16 for side in box.shape] == [0, 0, 0]


def test_a_small_head_is_shown_in_the_field_of_view_without_a_first_pass(rng: np.random.Generator) -> None:
    def never(box: CropBox) -> np.ndarray:
        raise AssertionError("no first pass is needed")

    box = brain_view(head_in(0.02, rng), 2.0, 8, (80.0, 96.0, 112.0), never)
    assert box.shape == (40, 48, 56)
    assert all(
        b.start >= start and b.stop <= stop for b, start, stop in zip(HEAD, box.start, box.stop, strict=True)
    )


def test_in_a_large_head_the_field_of_view_is_centred_on_the_brain(rng: np.random.Generator) -> None:
    brain = (slice(16, 30), slice(20, 40), slice(44, 60))

    def first_pass(box: CropBox) -> np.ndarray:
        probabilities = np.zeros((6, *SHAPE), np.float32)
        probabilities[0] = 0.4
        probabilities[(3, *brain)] = 0.5
        probabilities[4, 14:16, 14:16, 20:24] = 0.5  # a leak far from the brain
        return box.crop(probabilities)

    box = brain_view(head_in(0.02, rng), 2.0, 8, (48.0, 64.0, 48.0), first_pass)
    assert box.shape == (24, 32, 24)
    middle = (np.array(box.start) + box.stop) / 2
    expected = [(side.start + side.stop) / 2 for side in brain]
    expected[2] = min(expected[2], SHAPE[2] - 12)  # the volume ends there
    np.testing.assert_allclose(middle, expected, atol=1.0)


def test_a_large_head_without_a_brain_is_shown_whole(rng: np.random.Generator) -> None:
    def nothing(box: CropBox) -> np.ndarray:
        probabilities = np.zeros((6, *box.shape), np.float32)
        probabilities[0] = 1
        return probabilities

    box = brain_view(head_in(0.02, rng), 2.0, 8, (32.0, 32.0, 32.0), nothing)
    assert all(
        b.start >= start and b.stop <= stop for b, start, stop in zip(HEAD, box.start, box.stop, strict=True)
    )


def test_a_lesion_above_a_long_neck_is_found_in_either_view() -> None:
    shape = (40, 40, 90)
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    neck = (np.hypot(points[..., 0] - 20, points[..., 1] - 20) < 8) & (points[..., 2] < 60)
    brain = (((points - [20, 20, 70]) / [12, 15, 12]) ** 2).sum(axis=-1) < 1
    lesion = ((points - [24, 16, 72]) ** 2).sum(axis=-1) < 20
    data = np.select([lesion, brain, neck], [300.0, 100.0, 25.0], 0.0).astype(np.float32)
    image = Image(data, centred_affine(np.diag([2.0] * 3), shape), source="neck")
    predictor = Predictor(make_spec(), BrightNetwork(), torch.device("cpu"))
    for view in ("brain", "head"):
        found = predictor.predict(image, PredictionOptions(view=view))
        np.testing.assert_array_equal(found.lesion_mask, lesion, err_msg=view)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
@pytest.mark.parametrize("spacing_mm", [1.2, 2.0, 3.1])
def test_the_likeliest_classes_are_those_of_all_probabilities(
    rng: np.random.Generator, axes: tuple[int, int, int], signs: tuple[int, int, int], spacing_mm: float
) -> None:
    shape = (30, 22, 26)
    affine = centred_affine(
        rotation((7, 3, -5)) @ np.eye(3)[:, axes] @ np.diag(signs) * [1.5, 2.0, 1.3], shape
    )
    canonical = CanonicalGrid.for_image(shape, affine, spacing_mm)
    full = canonical.target.shape
    box = CropBox(full, (-1, 2, 1), (full[0] - 2, full[1] + 3, full[2] - 1))
    logits = ndimage.gaussian_filter(rng.normal(size=(7, *box.shape)), (0, 2, 2, 2)) * 60
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    channels = np.stack(list(on_source_grid(probabilities, box, canonical)))
    labels, sums = likeliest_on_source_grid(probabilities, box, canonical)
    np.testing.assert_array_equal(labels, channels.argmax(axis=0))
    np.testing.assert_allclose(sums, channels.sum(axis=(1, 2, 3), dtype=np.float64), rtol=1e-4)
    assert len(np.unique(labels)) == 7
