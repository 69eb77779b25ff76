"""A lesion is found where it is, in millimetres, whatever the orientation, spacing and size of the scan."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.errors import (
    ConstantImageError,
    DimensionError,
    EmptyImageError,
    HeaderError,
    ImageError,
    NonFiniteImageError,
    OptionError,
)
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor, trained_flips
from strokelabel.io import Image
from strokelabel.metrics import dice
from support.bright_network import BRAIN, LESION, BrightNetwork, centred_affine, make_spec, phantom, rotation

LESION_MM = (9.0, -12.0, 5.0)
SHAPE = (34, 40, 30)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(make_spec(), BrightNetwork(), CPU)


def center_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]


def usual_scan() -> tuple[Image, np.ndarray]:
    return phantom(SHAPE, centred_affine(np.diag([2.0, 2.0, 2.0]), SHAPE), LESION_MM)


def test_a_lesion_is_found_in_place_in_all_48_orientations(predictor: Predictor) -> None:
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[list(order), range(3)] = np.array(signs) * 2.0
        affine = centred_affine(matrix, SHAPE)
        image, truth = phantom(SHAPE, affine, LESION_MM)
        found = predictor.predict(image)
        assert found.lesion_mask.shape == image.data.shape
        np.testing.assert_array_equal(found.lesion_mask, truth)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    spacing=st.tuples(*[st.floats(1.0, 5.0)] * 3),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    flips=st.tuples(*[st.sampled_from((1, -1))] * 3),
    place=st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(-6, 6)),
)
def test_a_lesion_is_found_in_place_at_any_spacing_and_angle(
    predictor: Predictor,
    spacing: tuple[float, ...],
    degrees: tuple[float, float, float],
    flips: tuple[int, ...],
    place: tuple[float, float, float],
) -> None:
    matrix = rotation(degrees) @ np.diag(np.multiply(spacing, flips))
    shape = tuple(int(np.ceil(90 / mm)) for mm in spacing)
    affine = centred_affine(matrix, shape)
    image, truth = phantom(shape, affine, place, radius_mm=11)
    found = predictor.predict(image)
    assert found.lesion_mask.shape == shape
    assert found.lesion_probability.shape == shape
    assert np.linalg.norm(center_mm(found.lesion_mask, affine) - center_mm(truth, affine)) < 1.0
    assert dice(truth, found.lesion_mask) > 0.75


def test_probabilities_are_float32_on_the_scans_grid_and_sum_to_one(predictor: Predictor) -> None:
    shape = (31, 23, 17)
    affine = centred_affine(rotation((10, -20, 15)) @ np.diag([-3.1, 4.2, 5.3]), shape)
    image, _ = phantom(shape, affine, (4.0, 6.0, -3.0))
    found = predictor.predict(image)
    assert found.probabilities is not None
    assert found.probabilities.shape == (6, *shape)
    assert found.probabilities.dtype == found.lesion_probability.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.probabilities[5], found.lesion_probability)
    np.testing.assert_array_equal(found.labels, found.probabilities.argmax(axis=0))


def test_what_lies_outside_the_box_is_background_for_certain(predictor: Predictor) -> None:
    shape = (120, 90, 70)
    image, truth = phantom(shape, centred_affine(np.diag([2.0] * 3), shape), LESION_MM)
    found = predictor.predict(image)
    np.testing.assert_array_equal(found.lesion_mask, truth)
    assert found.probabilities is not None
    assert (found.probabilities[0, :30] == 1).all()
    assert (found.probabilities[1:, :30] == 0).all()


def test_maps_of_all_classes_are_not_kept_when_not_wanted(predictor: Predictor) -> None:
    image, truth = usual_scan()
    found = predictor.predict(image, PredictionOptions(keep_probabilities=False))
    assert found.probabilities is None
    np.testing.assert_array_equal(found.lesion_mask, truth)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-500, 500))
def test_the_unit_and_the_zero_of_intensities_do_not_matter(
    predictor: Predictor, gain: float, offset: float
) -> None:
    image, truth = usual_scan()
    shifted = replace(image, data=(image.data * np.float32(gain) + np.float32(offset * gain)))
    np.testing.assert_array_equal(predictor.predict(shifted).lesion_mask, truth)


def test_a_scan_that_was_z_scored_inside_a_mask_is_read_as_one_with_dark_air(
    predictor: Predictor, rng: np.random.Generator
) -> None:
    image, truth = usual_scan()
    tissue = image.data + rng.normal(0, 12, SHAPE)
    values = np.where(image.data > 0, (tissue - 110) / 40, 0).astype(np.float32)
    np.testing.assert_array_equal(predictor.predict(replace(image, data=values)).lesion_mask, truth)


def test_a_ct_is_clipped_to_the_window_and_otherwise_noted(predictor: Predictor) -> None:
    image, truth = usual_scan()
    hounsfield = np.select([image.data >= BRAIN, image.data > 0], [image.data / 5, 5.0], -1000.0).astype(
        np.float32
    )
    hounsfield[:2] = 3000  # metal
    scan = replace(image, data=hounsfield)
    found = predictor.predict(scan, PredictionOptions(ct_window=(0, 80)))
    np.testing.assert_array_equal(found.lesion_mask[3:], truth[3:])
    assert any("Hounsfield" in note for note in predictor.predict(scan).notes)


def test_an_mri_passed_as_ct_without_anything_in_the_window_is_refused(predictor: Predictor) -> None:
    image, _ = usual_scan()
    with pytest.raises(ConstantImageError, match="CT"):
        predictor.predict(replace(image, data=image.data + 200), PredictionOptions(ct_window=(0, 80)))


@pytest.mark.parametrize(
    ("data", "affine", "error"),
    [
        (np.zeros((8, 9, 10)), np.eye(4), EmptyImageError),
        (np.full((8, 9, 10), 7.0), np.eye(4), ConstantImageError),
        (np.pad([[[np.nan]]], 4, constant_values=1), np.eye(4), NonFiniteImageError),
        (np.arange(64.0).reshape(8, 8), np.eye(4), DimensionError),
        (np.arange(512.0).reshape(4, 4, 4, 8), np.eye(4), DimensionError),
        (np.arange(64.0).reshape(4, 4, 4), np.zeros((4, 4)), HeaderError),
    ],
)
def test_a_scan_that_cannot_be_segmented_is_refused_by_its_own_error(
    predictor: Predictor, data: np.ndarray, affine: np.ndarray, error: type[ImageError]
) -> None:
    with pytest.raises(error):
        predictor.predict(Image(data.astype(np.float32), affine, source="bad"))


def test_a_lesion_free_scan_has_a_volume_of_zero_and_no_lesions(predictor: Predictor) -> None:
    image, _ = usual_scan()
    healthy = replace(image, data=np.minimum(image.data, BRAIN))
    found = predictor.predict(healthy)
    assert found.volume_ml == 0
    assert found.lesion_count == 0


def test_volume_and_count_are_those_of_the_mask(predictor: Predictor) -> None:
    image, truth = usual_scan()
    found = predictor.predict(image)
    assert found.volume_ml == pytest.approx(truth.sum() * 0.008)
    assert found.lesion_count == 1


def test_labels_are_lesion_exactly_where_the_mask_is_after_post_processing(predictor: Predictor) -> None:
    image, truth = usual_scan()
    small = image.data.copy()
    small[14:16, 25:27, 14:16] = LESION
    image = replace(image, data=small)
    assert predictor.predict(image).lesion_count == 2
    found = predictor.predict(image, PredictionOptions(min_size_ml=0.5))
    np.testing.assert_array_equal(found.lesion_mask, truth)
    np.testing.assert_array_equal(found.labels == 5, truth)
    assert found.labels[14, 25, 14] == 1


def test_flips_are_averaged_in_logits_over_the_true_number_of_them() -> None:
    class Ramp(BrightNetwork):
        """Its logits depend on the place, so that flips differ."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x, y, z = (torch.linspace(0, 1, n) for n in images.shape[2:])
            logits = super().forward(images) * 0.01
            logits[:, 5] += x[:, None, None] + 2 * y[:, None] + 4 * z
            return logits

    class Flat(BrightNetwork):
        """Its logits are the mean of those of all flips of `Ramp`."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images) * 0.01
            logits[:, 5] += 3.5
            return logits

    image, _ = usual_scan()
    flipped = Predictor(make_spec(), Ramp(), CPU, PredictionOptions(tta=True)).predict(image)
    expected = Predictor(make_spec(), Flat(), CPU).predict(image)
    assert flipped.probabilities is not None
    assert expected.probabilities is not None
    np.testing.assert_allclose(flipped.probabilities, expected.probabilities, atol=1e-6)


def test_only_flips_that_training_had_are_used() -> None:
    recipe = {"synthesis": {"deformation": {"flip_probability": [0.5, 0.0, 0.0]}}}
    assert trained_flips(make_spec(recipe=recipe)) == (0,)
    assert trained_flips(make_spec(recipe={})) == (0, 1, 2)


def test_windows_give_what_one_pass_gives_for_a_network_without_context(predictor: Predictor) -> None:
    image, _ = usual_scan()
    whole = predictor.predict(image).probabilities
    windows = predictor.predict(image, PredictionOptions(max_voxels=16**3)).probabilities
    assert whole is not None
    assert windows is not None
    np.testing.assert_allclose(windows, whole, atol=1e-4)


def test_progress_goes_from_nothing_to_everything(predictor: Predictor) -> None:
    seen: list[float] = []
    predictor.predict(usual_scan()[0], PredictionOptions(tta=True), lambda _, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


def test_the_same_scan_gives_the_same_bytes(bright_model: object) -> None:
    predictor = Predictor.from_model(str(bright_model), "cpu")
    first, second = (predictor.predict(usual_scan()[0]) for _ in range(2))
    assert first.lesion_probability.tobytes() == second.lesion_probability.tobytes()


def test_a_model_from_a_weights_file_finds_the_lesion(bright_model: object) -> None:
    image, truth = usual_scan()
    found = Predictor.from_model(str(bright_model), "cpu").predict(image)
    assert found.spec.name == "bright"
    np.testing.assert_array_equal(found.lesion_mask, truth)


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"min_size_ml": -1.0},
        {"min_size_ml": float("nan")},
        {"ct_window": (80.0, 0.0)},
        {"view": "foot"},
        {"overlap": 1.0},
        {"max_voxels": 0},
    ],
)
def test_impossible_options_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="Expected"):
        PredictionOptions(**bad)


def test_a_device_that_is_not_there_is_refused(bright_model: object) -> None:
    with pytest.raises(OptionError, match="toaster"):
        Predictor.from_model(str(bright_model), "toaster")
    with pytest.raises(OptionError, match="CUDA devices"):
        Predictor.from_model(str(bright_model), "cuda:99")
