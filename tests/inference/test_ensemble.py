"""The sequences of a session are predicted together, each from its own grid, on the grid that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from strokelabel.errors import ImageError, UnreadableImageError
from strokelabel.inference.segment.ensemble import OtherSequence, predict_ensemble
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.metrics import dice
from support.bright_network import BrightNetwork, centred_affine, make_spec, phantom, rotation

LESION_MM = (9.0, -12.0, 5.0)
SHAPE = (34, 45, 18)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(make_spec(), BrightNetwork(), torch.device("cpu"))


def oblique(degrees: tuple[float, float, float] = (11, 0, 4)) -> tuple[Image, np.ndarray]:
    axes = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    affine = centred_affine(rotation(degrees) @ axes @ np.diag([1.9, 1.6, 3.4]), SHAPE)
    return phantom(SHAPE, affine, LESION_MM)


def straight(lesion_mm: tuple[float, float, float] = LESION_MM) -> tuple[Image, np.ndarray]:
    shape = (38, 46, 40)
    return phantom(shape, centred_affine(np.diag([-1.8, 1.7, 1.5]), shape), lesion_mm)


def sequence(image: Image, name: str = "FLAIR") -> OtherSequence:
    return OtherSequence(name, lambda: replace(image, source=name))


def test_a_single_sequence_is_what_the_predictor_gives(predictor: Predictor) -> None:
    image, _ = oblique()
    alone = predict_ensemble(predictor, image, [])
    np.testing.assert_array_equal(alone.found.prediction.lesion_mask, predictor.predict(image).lesion_mask)
    assert alone.used == (image.source,)
    assert alone.found.maps.mutual_information.max() < 1e-6


def test_sequences_of_different_orientation_agree_in_place_and_are_named(predictor: Predictor) -> None:
    image, truth = oblique()
    other, _ = straight()
    together = predict_ensemble(predictor, image, [sequence(other)])
    assert together.used == (image.source, "FLAIR")
    assert together.found.prediction.lesion_mask.shape == image.data.shape
    assert dice(truth, together.found.prediction.lesion_mask) > 0.8
    assert together.found.passes == 2


def test_the_same_sequence_twice_changes_nothing(predictor: Predictor) -> None:
    image, _ = oblique()
    alone = predictor.predict(image)
    twice = predict_ensemble(predictor, image, [sequence(image)]).found.prediction
    np.testing.assert_allclose(twice.lesion_probability, alone.lesion_probability, atol=1e-3)


def test_sequences_that_disagree_are_averaged_in_logits_and_uncertain(predictor: Predictor) -> None:
    image, truth = oblique()
    other, _ = straight((500.0, 0, 0))  # the lesion is not visible in this one
    found = predict_ensemble(predictor, image, [sequence(other)]).found
    alone = predictor.predict(image).lesion_probability
    assert found.prediction.lesion_probability[truth].mean() < alone[truth].mean()
    assert found.maps.mutual_information[truth].mean() > 10 * found.maps.mutual_information[~truth].mean()


def test_where_a_sequence_shows_nothing_the_others_decide_alone(predictor: Predictor) -> None:
    image, truth = oblique()
    other, _ = straight()
    slab = replace(other, data=other.data[:, :, 12:30], affine=moved(other.affine, (0, 0, 12)))
    together = predict_ensemble(predictor, image, [sequence(slab)])
    assert together.used == (image.source, "FLAIR")
    assert dice(truth, together.found.prediction.lesion_mask) > 0.8


def moved(affine: np.ndarray, voxels: tuple[int, int, int]) -> np.ndarray:
    result = affine.copy()
    result[:3, 3] += affine[:3, :3] @ voxels
    return result


@pytest.mark.parametrize(
    ("offset", "words"), [(400.0, "does not overlap"), (45.0, "another position|overlap")]
)
def test_a_sequence_in_another_place_is_left_out_and_named(
    predictor: Predictor, offset: float, words: str
) -> None:
    image, _ = oblique()
    other, _ = straight()
    affine = other.affine.copy()
    affine[1, 3] += offset
    found = predict_ensemble(predictor, image, [sequence(replace(other, affine=affine))])
    assert found.used == (image.source,)
    (note,) = [note for note in found.found.prediction.notes if "left out FLAIR" in note]
    assert any(word in note for word in words.split("|"))
    np.testing.assert_array_equal(found.found.prediction.lesion_mask, predictor.predict(image).lesion_mask)


def test_a_sequence_that_cannot_be_read_is_left_out(predictor: Predictor) -> None:
    def broken() -> Image:
        raise UnreadableImageError("the file is cut short")

    image, _ = oblique()
    found = predict_ensemble(predictor, image, [OtherSequence("T2w", broken)])
    assert any("left out T2w: the file is cut short" in note for note in found.found.prediction.notes)


def test_the_scan_itself_must_be_one_that_can_be_segmented(predictor: Predictor) -> None:
    image, _ = oblique()
    with pytest.raises(ImageError):
        predict_ensemble(predictor, replace(image, data=np.zeros(SHAPE, np.float32)), [sequence(image)])
