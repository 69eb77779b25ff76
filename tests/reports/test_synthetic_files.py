"""Synthetic images as panels and as files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.errors import OutputError
from strokelabel.fit.train import make_synthesizer
from strokelabel.labels import TissueClass
from strokelabel.reports.synthetic import synthetic_panel, write_synthetic
from strokelabel.synthesis.generator import SyntheticBatch
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe


@pytest.fixture(scope="module")
def batch(prepared_folder):
    """One image with a lesion and thick slices."""
    recipe = make_recipe()
    synthesizer = make_synthesizer(
        PreparedData.load(prepared_folder), recipe, "train", recipe.synthesis, "cpu"
    )
    for seed in range(100):
        parameters = synthesizer.sample(seed)
        if parameters.lesions.draws and max(parameters.artefacts.resolution_mm) > 5:
            return synthesizer.apply([parameters])
    raise AssertionError("no such image among a hundred")


def test_a_panel_shows_the_lesion_s_slice_with_its_contrast_and_slices(batch):
    panel = synthetic_panel(batch)
    lesion = batch.target[0].numpy() == TissueClass.LESION
    level = int(lesion.sum(axis=(0, 1)).argmax())
    np.testing.assert_array_equal(panel.outlines["red"], lesion[:, :, level])
    np.testing.assert_array_equal(panel.picture, batch.image[0, 0, :, :, level].numpy())
    resolution = max(batch.parameters[0].artefacts.resolution_mm)
    assert panel.title == f"random, {resolution:.0f} mm"


def test_files_hold_the_first_image_centred_in_ras_space(batch, tmp_path):
    write_synthetic(batch, tmp_path / "sub-07", 6.0)
    assert sorted(path.name for path in (tmp_path / "sub-07").iterdir()) == [
        "sub-07_dseg.nii.gz", "sub-07_image.nii.gz", "sub-07_parameters.json",
    ]  # fmt: skip
    image = nib.load(tmp_path / "sub-07" / "sub-07_image.nii.gz")
    expected = np.diag([6.0, 6.0, 6.0, 1.0])
    expected[:3, 3] = [-15.5 * 6, -19.5 * 6, -17.5 * 6]
    np.testing.assert_allclose(image.affine, expected)
    np.testing.assert_array_equal(np.asarray(image.dataobj), batch.image[0, 0].numpy())
    record = json.loads((tmp_path / "sub-07" / "sub-07_parameters.json").read_text())
    assert record["seed"] == batch.parameters[0].seed


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(batch, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="sub-01"):
        write_synthetic(batch, tmp_path / "file" / "sub-01", 6.0)


def test_a_panel_of_a_head_without_lesion_is_drawn_too(batch):
    healthy = SyntheticBatch(batch.image, torch.zeros_like(batch.target), batch.parameters)
    panel = synthetic_panel(healthy)
    assert not panel.outlines["red"].any()
    assert panel.picture.shape == (32, 40)
