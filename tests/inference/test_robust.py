"""Robust parcellation: structures follow the corrected groups; and `strokelabel predict --robust`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.inference.network_input import smoothed_views
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.inference.robust import GroupDenoiser
from strokelabel.io import read_image
from strokelabel.networks.denoiser import DenoiserConfig
from strokelabel.structures import TISSUE_CLASSES, TISSUE_GROUPS, group_classes, parcellation_structures
from support.bright_network import centred_affine, phantom
from support.command_line import predict
from support.sided_network import BRAIN, STRUCTURES, SidedNetwork, save_sided_model, sided_spec
from support.tiny_denoiser import denoiser_spec, save_denoiser

SHAPE = (24, 30, 20)
CONFIG = DenoiserConfig(classes=5, images=1, channels=(2, 2, 2), strides=(1, 1), atlas_voxels=(8, 10, 8))
OF_GROUPS = {
    "class_names": TISSUE_CLASSES,
    "network": CONFIG.model_dump(mode="json"),
    "spacing_mm": 2.0,
}


class Dictating(nn.Module):
    """A denoiser that answers with the logits of its own, whatever it is shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.shown: torch.Tensor | None = None

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        self.shown = given
        return self.logits


def denoiser(network: nn.Module, **changes: object) -> GroupDenoiser:
    spec = denoiser_spec(**(OF_GROUPS | changes))
    return GroupDenoiser(network, spec, sided_spec(), torch.device("cpu"))


def some_probabilities(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    values = rng.gamma(0.2, size=(len(STRUCTURES), *shape)).astype(np.float32)
    return values / values.sum(axis=0)


def group_sums(probabilities: np.ndarray) -> np.ndarray:
    classes = np.array(group_classes(STRUCTURES, TISSUE_GROUPS))
    return np.stack([probabilities[classes == number].sum(axis=0) for number in range(len(TISSUE_CLASSES))])


def test_every_structure_belongs_to_one_group() -> None:
    classes = group_classes(parcellation_structures(), TISSUE_GROUPS)
    assert classes[0] == 0 and min(classes[1:]) == 1 and set(classes) == set(range(5))
    assert sum(len(ids) for ids in TISSUE_GROUPS.values()) == len(STRUCTURES) - 1


def test_structures_sum_to_the_corrected_groups_and_keep_their_shares(rng: np.random.Generator) -> None:
    shape = (8, 6, 4)
    network = Dictating(torch.from_numpy(rng.normal(size=(1, 5, *shape)).astype(np.float32)))
    image = rng.normal(size=(1, 1, *shape)).astype(np.float32)
    before = some_probabilities(rng, shape)
    after = denoiser(network).correct(before, image)
    np.testing.assert_allclose(group_sums(after), torch.softmax(network.logits, 1)[0], atol=1e-4)
    classes = np.array(group_classes(STRUCTURES, TISSUE_GROUPS))
    sure = group_sums(before)[classes] > 0.01
    shares = [values / group_sums(values)[classes] for values in (before, after)]
    np.testing.assert_allclose(shares[1][sure], shares[0][sure], rtol=1e-3, atol=1e-5)
    assert network.shown is not None
    np.testing.assert_allclose(network.shown[0, :5], group_sums(before), atol=1e-5)
    np.testing.assert_array_equal(network.shown[:, 5:], image)


def test_what_a_denoiser_of_larger_voxels_says_holds_for_all_voxels_in_them(rng: np.random.Generator) -> None:
    logits = torch.full((1, 5, 4, 4, 4), -20.0)
    logits[:, 3] = 20.0
    network = Dictating(logits)
    after = denoiser(network, spacing_mm=4.0).correct(
        some_probabilities(rng, (8, 7, 6)), np.zeros((1, 1, 8, 7, 6), np.float32)
    )
    assert after.shape == (len(STRUCTURES), 8, 7, 6)
    np.testing.assert_allclose(group_sums(after)[3], 1.0, atol=1e-3)
    assert network.shown is not None and network.shown.shape == (1, 6, 4, 4, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "segmentation"}, "expected a denoiser of the groups background, white matter"),
        ({"class_names": ("background", *"abcd")}, "of background, a, b, c, d"),
        ({"spacing_mm": 3.0}, r"whole voxels of the model \(2 mm\), its own are 3 mm"),
    ],
)
def test_models_that_do_not_suit_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        denoiser(nn.Identity(), **changes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sided_model(tmp_path_factory.mktemp("sided") / "sided.safetensors")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    nib.save(nib.Nifti1Image(image.data, affine), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "weights" / "synthseg-robust"
    folder.mkdir(parents=True)
    save_denoiser(folder / "model.safetensors", **OF_GROUPS)
    return folder


def test_a_denoiser_that_corrects_nothing_changes_no_structure(model: Path, scan: Path, home: Path) -> None:
    plain = Parcellator.from_model(model, "cpu")
    with_denoiser = plain.robust()
    without = Parcellator(plain.spec, plain.network, plain.device, with_denoiser.options, robust=True)
    image = read_image(scan)
    before, after = without.parcellate(image), with_denoiser.parcellate(image)
    assert (before.labels > 0).any() and (before.labels != after.labels).mean() < 0.02
    assert before.robust == {"smoothing_voxels": 0.7, "denoiser": None}
    assert after.robust is not None and after.robust["denoiser"]["model"] == "synthseg-robust"
    assert plain.parcellate(image).robust is None


def test_the_mode_stays_with_other_options_and_on_torch(model: Path, home: Path) -> None:
    robust = Parcellator.from_model(model, "cpu").robust()
    for other in (robust.sharpening().with_options(PredictionOptions(view="head")), robust.on_torch()):
        assert other.is_robust and other.denoiser is robust.denoiser is not None
    assert robust.sharpening().with_options(robust.options).sharpens and not robust.sharpens


def test_parcellations_need_no_torch_without_a_denoiser() -> None:
    program = (
        "import sys; import strokelabel.inference.parcellate_batch, strokelabel.inference.sharpen; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_views_are_the_scan_and_the_same_with_less_noise(rng: np.random.Generator) -> None:
    item = np.zeros((1, 1, 12, 10, 8), np.float32)
    item[..., 6:, :, :] = 2
    noisy = item + rng.normal(0, 0.3, item.shape).astype(np.float32)
    first, second = smoothed_views(noisy)
    np.testing.assert_array_equal(first, noisy)
    assert abs(second.mean()) < 1e-5 and second.std(ddof=1) == pytest.approx(1, abs=1e-4)
    wanted = (item - item.mean()) / item.std(ddof=1)
    inside = (slice(None), slice(None), [1, 2, 3, 8, 9, 10])  # away from the edge
    given = (noisy - noisy.mean()) / noisy.std(ddof=1)
    assert np.abs(second - wanted)[inside].mean() < 0.6 * np.abs(given - wanted)[inside].mean()


def test_the_robust_mode_averages_logits_over_views_and_flips(scan: Path) -> None:
    shown: list[torch.Tensor] = []

    class Watched(SidedNetwork):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            shown.append(images.clone())
            return super().forward(images)

    options = PredictionOptions(view="head", tta=True)
    robust = Parcellator(sided_spec(), Watched(), torch.device("cpu"), options, robust=True)
    found = robust.parcellate(read_image(scan))
    assert len(shown) == 4
    assert torch.equal(shown[1], shown[0].flip(2)) and torch.equal(shown[3], shown[2].flip(2))
    np.testing.assert_allclose(shown[2], smoothed_views(shown[0].numpy())[1], atol=1e-5)
    assert {BRAIN["left"], BRAIN["right"]} <= set(np.unique(found.labels).tolist())


def test_the_sidecar_says_how_and_results_of_the_other_mode_are_not_taken_for_it(
    model: Path, scan: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert predict(scan, "-o", out, "--model", model, "--robust") == 0
    assert "kept from an earlier run" in capsys.readouterr().out
    sidecar = json.loads((out / "scan_parcellation_dseg.json").read_text())
    assert sidecar["robust"]["denoiser"]["model"] == "synthseg-robust" and sidecar["options"]["tta"]
    assert predict(scan, "-o", out, "--model", model, "--tta") == 1
    assert "was made by another model, version or options" in " ".join(capsys.readouterr().err.split())
    assert predict(scan, "-o", out, "--model", model, "--overwrite") == 0
    assert json.loads((out / "scan_parcellation_dseg.json").read_text())["robust"] is None


def test_robust_mode_of_lesions_is_refused(
    bright_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(scan, "-o", tmp_path / "out", "--model", bright_model, "--robust") == 2
    assert "expected --robust with a model for parcellation alone" in " ".join(
        capsys.readouterr().err.split()
    )
