"""Quantitative maps on a scan's own grid, by networks whose answer is known for every voxel."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.inference.estimate import QuantitativeEstimator, write_estimate
from strokelabel.io import read_image
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.networks.weights import load_weights
from support.bright_network import BRAIN, SKULL, centred_affine, make_spec, phantom, rotation
from support.tiny_estimator import estimator_spec, save_tiny_estimator

OBLIQUE = rotation((12, -8, 70)) @ np.diag([1.5, -2.5, 2.0])


class VoxelNetwork(nn.Module):
    """Each voxel by itself: PD is a hundred times the normalised scan, the others are in proportion."""

    def forward(self, images):
        return torch.cat([100 * images, images, 20 * images, 2 * images], dim=1)


class RampNetwork(nn.Module):
    """Maps that grow to the right, whatever the image: 1, 2, 4, 8, ..."""

    def forward(self, images):
        ramp = 2.0 ** torch.arange(images.shape[2]).view(1, 1, -1, 1, 1)
        return ramp.expand(1, 4, *images.shape[2:])


@pytest.fixture
def scan():
    shape = (50, 44, 40)
    image, ball = phantom(shape, centred_affine(OBLIQUE, shape), (8, 6, 4), radius_mm=9)
    return replace(image, data=np.where(ball, np.float32(60), image.data)), ball


def estimator(network, **changes):
    return QuantitativeEstimator(estimator_spec(**changes), network, torch.device("cpu"))


def test_maps_lie_on_the_scans_own_oblique_grid(scan):
    image, ball = scan
    estimate = estimator(VoxelNetwork()).estimate(image)
    assert estimate.maps.shape == (4, *image.data.shape)
    assert estimate.passes == 8
    density = estimate.maps[0]
    skull, brain = (np.median(density[image.data == value]) for value in (SKULL, BRAIN))
    assert np.median(density[ball]) == pytest.approx(
        skull + (60 - SKULL) / (BRAIN - SKULL) * (brain - skull), abs=3
    )
    np.testing.assert_allclose(estimate.maps[3], 0.02 * density, atol=1e-4)


def test_maps_of_all_flips_are_averaged_themselves_and_by_their_true_number(scan):
    image, _ = scan
    plain = estimator(RampNetwork()).estimate(image, flips=False)
    recipe = {"synthesis": {"deformation": {"flip_probability": [0.5, 0.0, 0.0]}}}
    averaged = estimator(RampNetwork(), recipe=recipe).estimate(image)
    assert (plain.passes, averaged.passes) == (1, 2)
    # Where the ramp is highest its mirror image is lowest: half of the sum is left, not the geometric mean.
    right = np.unravel_index(plain.maps[0].argmax(), plain.maps[0].shape)
    assert averaged.maps[0][right] == pytest.approx((plain.maps[0][right] + 1) / 2, rel=0.01)


def test_windows_give_what_one_pass_gives_for_a_network_without_context(scan):
    image, _ = scan
    whole = estimator(VoxelNetwork()).estimate(image, flips=False)
    parts = estimator(VoxelNetwork()).estimate(image, flips=False, max_voxels=10_000)
    np.testing.assert_allclose(parts.maps, whole.maps, atol=1e-3)


def test_a_segmentation_model_is_refused():
    with pytest.raises(WeightsError, match="estimates quantitative maps"):
        QuantitativeEstimator(make_spec(), VoxelNetwork(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("stem", "first"),
    [("scan", "scan_PD"), ("sub-1_ses-2_T1w", "sub-1_ses-2_space-orig_desc-T1westimated_PDmap")],
)
def test_files_keep_the_scans_geometry_and_say_their_units(scan, tmp_path, stem, first):
    image, _ = scan
    path = tmp_path / f"{stem}.nii.gz"
    nib.save(nib.Nifti1Image(image.data, image.affine), path)
    image = read_image(path)
    network, spec = load_weights(save_tiny_estimator(tmp_path / "e.safetensors"))
    estimate = QuantitativeEstimator(spec, network, torch.device("cpu")).estimate(image, flips=False)

    written = write_estimate(estimate, image, tmp_path / "maps", stem)

    assert written[0].name == f"{first}.nii.gz"
    units = []
    for one, values in zip(written, estimate.maps, strict=True):
        saved = nib.load(one)
        np.testing.assert_allclose(saved.affine, image.affine, atol=1e-5)
        np.testing.assert_array_equal(saved.get_fdata(dtype=np.float32), values)
        sidecar = json.loads(one.with_name(one.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["Sources"] == [str(path)]
        units.append(sidecar["Units"])
    assert dict(zip(ESTIMATED_MAPS, units, strict=True)) == {
        "pd": "p.u.", "r1": "1/s", "r2_star": "1/s", "mt": "p.u.",
    }  # fmt: skip
