"""Recolouring: intensities change, anatomy, air and texture do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from strokelabel.fit.data.real_images.appearance import (
    Curve,
    Recolouring,
    SurfaceCoil,
    coil_gain,
    expose,
    recolour,
    sample_appearance,
    sample_recolouring,
)
from strokelabel.fit.data.real_images.config import AppearanceConfig, RecolouringConfig
from strokelabel.fit.data.real_images.slices import masked_mean, nonzero_quantiles, smooth_field
from strokelabel.synthesis.sampling import Sampler

KINDS = ("none", "gamma", "sorted", "inverted", "any")


def steps(*axes: int) -> torch.Tensor:
    """Air, then four tissues of rising intensity along the first axis."""
    image = torch.zeros(*axes)
    for number, value in enumerate((0.2, 0.4, 0.6, 0.8)):
        image[4 + 8 * number : 12 + 8 * number] = value
    return image


def only(kind: str, **changes: object) -> RecolouringConfig:
    return RecolouringConfig(kinds={kind: 1.0}, **changes)


def curve(*values: float, between: str = "line", texture: float = 0.0) -> Curve:
    return Curve(torch.tensor(values), torch.linspace(0, 1, len(values)), between, texture)


@pytest.mark.parametrize("axes", [(40, 20), (40, 20, 12)])
@pytest.mark.parametrize("kind", KINDS)
def test_air_stays_air_and_values_stay_finite(kind: str, axes: tuple[int, ...]) -> None:
    image = steps(*axes)
    for seed in range(8):
        new = recolour(image, None, sample_recolouring(Sampler(seed), only(kind)))
        assert new.shape == image.shape and new.isfinite().all() and new.amin() >= 0
        assert not new[image == 0].any()


@pytest.mark.parametrize(("kind", "sign"), [("sorted", 1), ("inverted", -1)])
def test_sorted_curves_keep_the_order_of_tissues_and_inverted_ones_turn_it(kind: str, sign: int) -> None:
    image = steps(40, 20)
    for seed in range(10):
        drawn = sample_recolouring(Sampler(seed), only(kind, texture=(0.0, 0.0)))
        new = recolour(image, None, drawn)
        levels = torch.stack([new[8 + 8 * number, 10] for number in range(4)])
        assert (sign * levels.diff() >= -1e-5).all()


def test_texture_is_kept_with_its_sign_and_size() -> None:
    noise = 0.02 * torch.randn(40, 20, generator=torch.Generator().manual_seed(1))
    image = torch.full((40, 20), 0.5) + noise
    for texture in (0.8, -0.5):
        drawn = Recolouring("sorted", 1.0, curve(0.3, 0.3, texture=texture), None)
        new = recolour(image, None, drawn)
        plain = recolour(image, None, replace(drawn, curve=curve(0.3, 0.3)))
        local = torch.nn.functional.avg_pool2d(image[None, None], 3, 1, 1)[0, 0]
        torch.testing.assert_close(new - plain, texture * (image - local), rtol=0, atol=1e-5)


def test_a_staircase_gives_each_tissue_one_intensity() -> None:
    new = recolour(
        steps(40, 20), None, Recolouring("sorted", 1.0, curve(0.1, 0.5, 0.9, between="step"), None)
    )
    assert new[6:34, 2:-2].unique().tolist() == pytest.approx([0.1, 0.5, 0.9])


@pytest.mark.parametrize("contrast", [0.4, -0.4])
def test_a_lesion_gets_a_mean_of_its_own(contrast: float) -> None:
    image, lesion = torch.full((40, 20, 12), 0.5), torch.zeros(40, 20, 12)
    lesion[10:20, 5:12, 3:9] = 1
    drawn = Recolouring("any", 1.0, curve(0.6, 0.6), contrast)
    new = recolour(image, lesion, drawn)
    assert new[12:18, 7:10, 5:7].mean() == pytest.approx(0.6 + contrast, abs=0.01)
    assert new[30:, :, :].mean() == pytest.approx(0.6, abs=0.01)
    dark = recolour(image, lesion, replace(drawn, curve=curve(0.3, 0.3), lesion_contrast=-0.4))
    assert dark[14, 8, 5] == pytest.approx(0.7, abs=0.01), "no darker than black: to the other side"
    assert sample_recolouring(Sampler(0), only("any")).lesion_contrast is not None


def test_parameters_are_drawn_from_the_seed_alone() -> None:
    config = AppearanceConfig(recolouring=RecolouringConfig(kinds=dict.fromkeys(KINDS, 1.0)))
    image = steps(40, 20, 12)
    for seed in range(4):
        one, other = (sample_appearance(Sampler(seed), config, 3) for _ in range(2))
        assert torch.equal(
            expose(recolour(image, None, one.recolouring), one),
            expose(recolour(image, None, other.recolouring), other),
        )


def test_a_surface_coil_is_strongest_near_the_surface() -> None:
    image = torch.ones(60, 48)
    gain = coil_gain(image, SurfaceCoil(1.0, 5, torch.ones(3, 3)))
    assert gain[30, 24] == pytest.approx(1.0, abs=0.01) and gain[1, 24] > 1.3
    shading = coil_gain(image, SurfaceCoil(-0.5, 5, torch.ones(3, 3)))
    assert shading[1, 24] < 0.85


def test_quantiles_and_means_leave_out_what_is_zero() -> None:
    image = torch.zeros(30, 20)
    image[:10] = torch.linspace(0.1, 0.9, 200).view(10, 20)
    found = nonzero_quantiles(image, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.1, 0.5, 0.9]), atol=0.01, rtol=0)
    assert nonzero_quantiles(torch.zeros(5, 5), torch.tensor([0.5])).item() == 0
    assert masked_mean(image, (image > 0).float()).item() == pytest.approx(0.5, abs=1e-3)


def test_a_smooth_field_passes_through_its_control_values() -> None:
    field = smooth_field(torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 3.0]]), (11, 21))
    assert [field[0, 0], field[0, 10], field[0, 20], field[10, 0], field[10, 20]] == [0, 1, -1, 2, 3]
