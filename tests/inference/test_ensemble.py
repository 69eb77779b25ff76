"""The sequences of a session are predicted together, each from its own grid, on the grid that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from strokelabel.errors import ImageError, UnreadableImageError
from strokelabel.inference.segment.ensemble import OtherSequence, SessionEnsemble, predict_ensemble
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
    ("shift_mm", "degrees"), [((0, 400, 0), (0, 0, 0)), ((5, 45, -9), (0, 0, 0)), ((4, -9, 11), (9, 3, -6))]
)
def test_a_sequence_whose_header_disagrees_is_registered_to_the_scan_and_named(
    predictor: Predictor, shift_mm: tuple[float, ...], degrees: tuple[float, float, float]
) -> None:
    image, truth = oblique()
    other, _ = straight()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation(degrees), shift_mm
    found = predict_ensemble(predictor, image, [sequence(replace(other, affine=motion @ other.affine))])
    assert found.used == (image.source, "FLAIR")
    assert any("FLAIR was registered to the scan" in note for note in found.found.prediction.notes)
    alignment = found.alignments["FLAIR"]
    assert alignment.overlap_before < 0.92 <= alignment.overlap_after
    lesion = np.array([*LESION_MM, 1])
    assert np.linalg.norm(((alignment.to_sequence - motion) @ lesion)[:3]) < 2.5
    assert dice(truth, found.found.prediction.lesion_mask) > 0.8


def test_a_part_of_a_brain_in_another_place_is_left_out_because_it_would_fit_anywhere(
    predictor: Predictor,
) -> None:
    image, _ = oblique()
    other, _ = straight()
    affine = moved(other.affine, (0, 0, 12))
    affine[1, 3] += 30
    slab = replace(other, data=other.data[:, :, 12:21], affine=affine)
    found = predict_ensemble(predictor, image, [sequence(slab)])
    assert found.used == (image.source,) and [one.name for one in found.left_out] == ["FLAIR"]
    (note,) = [note for note in found.found.prediction.notes if "left out FLAIR" in note]
    assert "cannot be registered safely" in note
    np.testing.assert_array_equal(found.found.prediction.lesion_mask, predictor.predict(image).lesion_mask)


def test_a_registration_that_brings_no_agreement_is_not_believed(predictor: Predictor) -> None:
    image, _ = oblique()
    shape = (38, 46, 40)
    affine = centred_affine(np.diag([-2.4, 2.3, 1.1]), shape)  # of the same volume, and of another form
    other, _ = straight()
    wrong = replace(other, affine=affine)
    found = predict_ensemble(predictor, image, [sequence(wrong)])
    assert found.used == (image.source,)
    (note,) = [note for note in found.found.prediction.notes if "left out FLAIR" in note]
    assert "register it to the scan first" in note
    np.testing.assert_array_equal(found.found.prediction.lesion_mask, predictor.predict(image).lesion_mask)


def test_a_sequence_that_shows_no_brain_is_left_out(predictor: Predictor) -> None:
    image, _ = oblique()
    noise = np.random.default_rng(3).uniform(90, 100, SHAPE).astype(np.float32)
    noise[0] = 0
    found = predict_ensemble(predictor, image, [sequence(replace(image, data=noise))])
    assert found.used == (image.source,)
    assert any("left out FLAIR" in note for note in found.found.prediction.notes)


def test_what_is_kept_of_a_session_changes_no_prediction(predictor: Predictor) -> None:
    image, other = replace(oblique()[0], source="T1w"), replace(straight()[0], source="FLAIR")
    loads = []

    def load(scan: Image) -> OtherSequence:
        return OtherSequence(scan.source, lambda: loads.append(scan.source) or scan)

    session = SessionEnsemble(predictor, keep=True)
    for scan, rest in ((image, other), (other, image)):
        kept = session.predict(scan, [load(rest)]).found.prediction
        anew = predict_ensemble(predictor, scan, [sequence(rest, rest.source)]).found.prediction
        assert kept.lesion_mask.shape == scan.data.shape
        np.testing.assert_array_equal(kept.lesion_probability, anew.lesion_probability)
    assert loads == ["FLAIR"]  # the second time, both were known


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
