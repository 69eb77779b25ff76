"""Quality control of a parcellation: the same for any axes and voxels of the scan, with a warning where it is low."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel import registry
from strokelabel.errors import DimensionError, LabelMapError, UnknownModelError, WeightsError
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.inference.quality import Quality, QualityPredictor, load_quality_model
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.structures import QUALITY_GROUPS
from support.bright_network import HEAD_RADII_MM, centred_affine, phantom
from support.tiny_quality import quality_spec, random_network

SHAPE = (36, 30, 26)
RAS = nib.orientations.axcodes2ornt("RAS")


@pytest.fixture(scope="module")
def predictor() -> QualityPredictor:
    return QualityPredictor(quality_spec(), random_network(), torch.device("cpu"))


def scan_with_labels(shape, matrix):
    """A phantom with a parcellation: thalami in white matter, and cortex around it."""
    affine = centred_affine(matrix, shape)
    image, ball = phantom(shape, affine, (8.0, 3.0, 2.0))
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    depth = ((points / HEAD_RADII_MM) ** 2).sum(axis=-1)
    right = points[..., 0] > 0
    labels = np.select(
        [ball, depth <= 0.5, depth <= 0.8, depth <= 0.9],
        [np.where(right, 49, 10), np.where(right, 41, 2), np.where(right, 42, 3), 24],
        0,
    )
    return image, labels.astype(np.uint8)


def dice_of(predictor, image, labels):
    return np.array(list(predictor.predict(image, labels).dice.values()))


def test_every_group_gets_a_dice_by_its_name(predictor):
    found = predictor.predict(*scan_with_labels(SHAPE, np.diag([2.0, 2.5, 2.2])))
    assert list(found.dice) == list(QUALITY_GROUPS)
    assert all(0 <= value <= 1 for value in found.dice.values())


@pytest.mark.parametrize("axes", ["LPS", "ASR", "SLA", "IRP"])
def test_the_order_of_the_scans_axes_changes_nothing(predictor, axes):
    image, labels = scan_with_labels(SHAPE, np.diag([2.0, 2.5, 2.2]))
    wanted = nib.orientations.ornt_transform(RAS, nib.orientations.axcodes2ornt(axes))
    turned = nib.Nifti1Image(image.data, image.affine).as_reoriented(wanted)
    turned_labels = nib.orientations.apply_orientation(labels, wanted)
    other = Image(np.asarray(turned.dataobj, np.float32), turned.affine, source="turned")
    np.testing.assert_allclose(
        dice_of(predictor, other, turned_labels), dice_of(predictor, image, labels), atol=1e-4
    )


def test_the_voxels_of_the_scan_change_little_and_the_parcellation_much(predictor):
    coarse, fine = (
        scan_with_labels(tuple(round(n * factor) for n in SHAPE), np.diag([2.0, 2.5, 2.2]) / factor)
        for factor in (1, 2)
    )
    first, second = dice_of(predictor, *coarse), dice_of(predictor, *fine)
    image, labels = coarse
    cut = np.where(np.arange(SHAPE[1])[None, :, None] < SHAPE[1] // 2, labels, 0)
    assert np.abs(first - second).max() < 0.05
    assert np.abs(first - dice_of(predictor, image, cut)).max() > 2 * np.abs(first - second).max()


def test_sides_are_irrelevant(predictor):
    image, labels = scan_with_labels(SHAPE, np.diag([2.0, 2.5, 2.2]))
    swapped = labels.copy()
    for left, right in ((2, 41), (3, 42), (10, 49)):
        swapped[labels == left], swapped[labels == right] = right, left
    assert (swapped != labels).any()
    np.testing.assert_array_equal(dice_of(predictor, image, swapped), dice_of(predictor, image, labels))


def test_a_parcellation_of_nothing_gets_an_answer_too(predictor):
    image, labels = scan_with_labels(SHAPE, np.diag([2.0, 2.5, 2.2]))
    assert np.isfinite(dice_of(predictor, image, np.zeros_like(labels))).all()


def test_labels_that_do_not_fit_are_refused(predictor):
    image, labels = scan_with_labels(SHAPE, np.diag([2.0, 2.5, 2.2]))
    with pytest.raises(DimensionError):
        predictor.predict(image, labels[1:])
    with pytest.raises(LabelMapError, match=r"found \[1001\]"):
        predictor.predict(image, np.where(labels == 2, 1001, labels))
    with pytest.raises(LabelMapError, match="found lesion"):
        predictor.predict(image, np.where(labels == 49, 99, labels))


def test_groups_below_the_threshold_are_named():
    dice = dict.fromkeys(QUALITY_GROUPS, 0.65) | {"thalamus": 0.41, "brainstem": 0.649}
    (note,) = Quality(dice, quality_spec()).notes
    assert "below 0.65 for brainstem (0.65), thalamus (0.41)" in note
    assert Quality(dict.fromkeys(QUALITY_GROUPS, 0.65), quality_spec()).notes == ()


def test_models_of_another_task_and_of_other_groups_are_refused(bright_model, tmp_path):
    with pytest.raises(WeightsError, match="train one with `strokelabel train synthseg-quality`"):
        QualityPredictor.from_model(bright_model, "cpu")
    with pytest.raises(WeightsError, match="this one is of left, right"):
        QualityPredictor(quality_spec(class_names=("left", "right")), random_network(), torch.device("cpu"))
    for kind, told in ((Parcellator, "parcellates"), (Predictor, "use `strokelabel predict --qc` with it")):
        with pytest.raises(WeightsError, match=told):
            kind(quality_spec(), random_network(), torch.device("cpu"))


def test_without_the_model_the_error_names_the_command_that_trains_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_registered", dict)  # as if no weights came along
    with pytest.raises(
        UnknownModelError, match="`strokelabel train synthseg-quality` and `strokelabel export`"
    ):
        load_quality_model("cpu", PredictionOptions())
