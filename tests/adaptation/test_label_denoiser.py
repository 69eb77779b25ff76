"""A denoiser works on the output of the model that it suits, at its own voxel size, and is refused by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.objective import AgreementObjective, disagreement
from strokelabel.adaptation.windows import WindowSampler
from strokelabel.errors import UnknownModelError, WeightsError
from strokelabel.registry import SEGMENTATION
from support.bright_network import make_spec, save_bright_model
from support.tiny_denoiser import denoiser_spec, idle_denoiser, save_denoiser

CPU = torch.device("cpu")


def random_probabilities(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.softmax(3 * torch.randn(1, 6, *shape, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": SEGMENTATION}, "expected a denoising autoencoder, this model is for segmentation"),
        ({"class_names": ("background", "lesion")}, "expected a denoiser of the model's classes"),
        ({"spacing_mm": 3.0}, "whole voxels of the model \\(2 mm\\), its own are 3 mm"),
    ],
)
def test_an_unsuitable_denoiser_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(WeightsError, match=expected) as error:
        LabelDenoiser(idle_denoiser(), denoiser_spec(**changes), make_spec())
    assert error.value.source == "idle.safetensors"


def test_a_denoiser_is_read_from_a_file_and_a_segmenter_is_none(tmp_path: Path) -> None:
    path = save_denoiser(tmp_path / "idle.safetensors")
    assert LabelDenoiser.load(path, make_spec(), CPU).factor == 2
    with pytest.raises(WeightsError, match="this model is for segmentation"):
        LabelDenoiser.load(save_bright_model(tmp_path / "bright.safetensors"), make_spec(), CPU)


def test_a_missing_denoiser_says_how_to_make_one() -> None:
    with pytest.raises(UnknownModelError, match=r"needs a denoising autoencoder.*strokelabel train denoiser"):
        LabelDenoiser.load("nowhere", make_spec(), CPU)


def test_a_coarse_output_holds_the_mean_of_whole_voxels_and_background_beyond_the_end() -> None:
    denoiser = LabelDenoiser(idle_denoiser(), denoiser_spec(), make_spec())
    fine = random_probabilities((6, 8, 5))
    coarse = denoiser.coarse(fine)
    assert coarse.shape == (1, 6, 3, 4, 3)
    torch.testing.assert_close(coarse.sum(dim=1), torch.ones(1, 3, 4, 3))
    torch.testing.assert_close(coarse[0, :, 1, 2, 1], fine[0, :, 2:4, 4:6, 2:4].mean(dim=(1, 2, 3)))
    assert (coarse[0, 0, :, :, 2] > 0.5).all()


def test_a_denoiser_without_corrections_leaves_the_likeliest_class_as_it_is() -> None:
    denoiser = LabelDenoiser(idle_denoiser(), denoiser_spec(), make_spec())
    given = random_probabilities((7, 9, 4))
    corrected = denoiser.corrected(given)
    assert corrected.shape == given.shape
    torch.testing.assert_close(corrected, given, atol=0.25, rtol=0)
    assert torch.equal(corrected.argmax(dim=1), given.argmax(dim=1))


def test_disagreement_is_zero_for_equal_maps_and_grows_with_the_difference() -> None:
    one, other = (torch.nn.functional.one_hot(random_probabilities((6, 5, 4), seed).argmax(1), 6)
                  .permute(0, 4, 1, 2, 3).float() for seed in (1, 2))  # fmt: skip
    assert float(disagreement(one, one)) == pytest.approx(0, abs=1e-5)
    assert float(disagreement(one, other)) > float(disagreement(one, (one + other) / 2)) > 0.1


def test_a_window_is_compared_with_its_own_part_of_the_target() -> None:
    denoiser = LabelDenoiser(idle_denoiser(), denoiser_spec(), make_spec())
    objective = AgreementObjective(denoiser, CPU)
    with torch.inference_mode():  # as an engine gives it
        output = random_probabilities((16, 24, 16))[0]
    objective.renew(output)
    whole = random_probabilities((16, 24, 16))
    part = whole[:, :, 4:12, 8:24, 0:8].log().requires_grad_()
    right, wrong = objective.loss(part, (4, 8, 0)), objective.loss(part, (6, 0, 8))
    assert float(right.detach()) < 0.1 < float(wrong.detach())
    right.backward()
    assert part.grad is not None


@pytest.mark.parametrize("alignment", [1, 2, 3])
def test_windows_lie_within_the_box_and_about_the_brain(alignment: int) -> None:
    probabilities = torch.zeros(6, 48, 64, 40)
    probabilities[0] = 1
    probabilities[1, 30:44, 40:60, 4:10] = 2
    windows = WindowSampler(probabilities, 8, alignment, 20_000, seed=1)
    assert all(side % 8 == 0 for side in windows.shape)
    corners = {windows.corner() for _ in range(50)}
    assert len(corners) > 3
    for corner in corners:
        assert all(first % alignment == 0 for first in corner)
        assert all(a >= 0 and a + n <= m for a, n, m in zip(corner, windows.shape, (48, 64, 40), strict=True))
