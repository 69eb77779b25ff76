"""Accepted masks become lesions of the bank, at their place in ICBM space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.data.annotated_scans.scans import PseudoLabelConfig
from strokelabel.fit.pseudo_labels.lesions import SOURCE, with_pseudo_lesions
from strokelabel.fit.pseudo_labels.record import KEY, PseudoLabel, PseudoMeasures, QualityGate, write_review
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.registration import icbm_template

GOOD = PseudoMeasures(20.0, 0.9, 0.95, 1.0)
CENTER_MM, RADIUS_MM = np.array([-34.0, -22.0, 20.0]), 13.0


@pytest.fixture(scope="module")
def bank() -> LesionBank:
    template = icbm_template()
    own = Lesion("own", "atlas", "0" * 64, (90, 100, 80), np.ones((12, 12, 12), bool))
    return LesionBank.from_lesions([own], template.shape, template.affine)


def to_icbm_matrix() -> np.ndarray:
    """A scan that lies 15 mm off, turned and somewhat smaller than the template."""
    angle = np.deg2rad(12)
    matrix = np.eye(4)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix[:3, :3] = 1.1 * turn
    matrix[:3, 3] = (15, -6, 3)
    return matrix


def write_label(folder: Path, name: str, measures=GOOD, to_icbm=None, radius=RADIUS_MM) -> None:
    """A ball that lies at CENTER_MM in ICBM space, drawn on a grid with thick slices and another axis order."""
    matrix = to_icbm_matrix() if to_icbm is None else to_icbm
    shape = (60, 40, 70)
    axes = np.array([[0, 0, -2.1], [1.9, 0, 0], [0, 4.0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = (np.linalg.inv(matrix) @ [*CENTER_MM, 1])[:3] - axes @ (np.array(shape) / 2)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    icbm = index @ (matrix @ affine)[:3, :3].T + (matrix @ affine)[:3, 3]
    mask = ((icbm - CENTER_MM) ** 2).sum(-1) < radius**2
    path = folder / f"{name}_mask.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)
    rows = tuple(tuple(float(v) for v in row) for row in matrix)
    label = PseudoLabel(path.name, f"/scans/{name}", measures, rows, QualityGate())
    path.with_name(f"{name}_mask.json").write_text(
        json.dumps({"Sources": [label.source], KEY: label.to_json()})
    )


def test_a_mask_comes_to_lie_where_it_belongs_in_icbm_space(tmp_path, bank):
    write_label(tmp_path, "sub-1")
    joined = with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path))
    assert joined.names == ("own", f"{SOURCE}_sub-1_mask.nii.gz") and joined.sources == ("atlas", SOURCE)
    assert np.array_equal(joined.crop(0), bank.crop(0))
    middle = np.argwhere(joined.crop(1)).mean(axis=0) + joined.offset(1)
    found_mm = bank.affine[:3, :3] @ middle + bank.affine[:3, 3]
    assert np.linalg.norm(found_mm - CENTER_MM) < 1.0
    assert joined.volumes_ml[1] == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.1)


def test_rejected_masks_are_left_out_unless_the_recipe_says_otherwise(tmp_path, bank):
    write_label(tmp_path, "sub-1")
    write_label(tmp_path, "sub-2", replace(GOOD, mean_confidence=0.2))
    write_label(tmp_path, "sub-3", replace(GOOD, similarity=0.3))
    gated = with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path))
    everything = with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path, gate=False))
    assert [name.split("_")[1] for name in gated.names[1:]] == ["sub-1"]
    # A mask whose place in ICBM space is unknown is never of use.
    assert [name.split("_")[1] for name in everything.names[1:]] == ["sub-1", "sub-2"]


def test_what_an_annotator_decided_comes_before_the_gate(tmp_path, bank):
    for name, confidence, status in (
        ("bad", 0.2, "corrected"),
        ("good", 0.9, "rejected"),
        ("other", 0.9, "pseudo"),
    ):
        write_label(tmp_path, name, replace(GOOD, mean_confidence=confidence))
        write_review(tmp_path / f"{name}_mask.nii.gz", tmp_path, status)
    joined = with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path))
    assert [name.split("_")[1] for name in joined.names[1:]] == ["bad", "other"]


def test_lesions_below_the_recipe_s_smallest_volume_are_left_out(tmp_path, bank):
    write_label(tmp_path, "small", radius=6.0)
    write_label(tmp_path, "large")
    joined = with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path), minimum_ml=5.0)
    assert len(joined) == 2 and "large" in joined.names[1]


def test_nothing_usable_no_folder_and_a_missing_mask_are_errors(tmp_path, bank):
    with pytest.raises(RecipeError, match="--pseudo-labels"):
        with_pseudo_lesions(bank, PseudoLabelConfig())
    write_label(tmp_path, "sub-1", replace(GOOD, mean_confidence=0.2))
    with pytest.raises(DataError, match="found 1, of which 0 were accepted"):
        with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path))
    write_label(tmp_path, "sub-1")
    (tmp_path / "sub-1_mask.nii.gz").unlink()
    with pytest.raises(DataError, match="run pseudo-label again"):
        with_pseudo_lesions(bank, PseudoLabelConfig(folder=tmp_path))
