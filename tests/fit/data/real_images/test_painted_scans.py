"""Painted scans: lesions lie at their place in ICBM space, are labelled where they are seen, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.appearance import Recolouring
from strokelabel.fit.data.real_images.config import PaintedScanConfig, PaintingConfig
from strokelabel.fit.data.real_images.painting import (
    PaintedLesion,
    PaintedScanParameters,
    PaintedScanStream,
    paint,
    place_mask,
    sample_painting,
)
from strokelabel.fit.data.real_images.preparation import RealImages
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.sampling import Sampler

SYNTHESIS = SynthesisConfig(shape=(56, 72, 52), spacing_mm=3.0)
ICBM_AFFINE = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def stream(prepared_folder: Path) -> PaintedScanStream:
    images = RealImages.load(prepared_folder)
    bank = LesionBank.load(prepared_folder / "lesions.npz")
    return PaintedScanStream(images.scans, bank, PaintedScanConfig(count=2), SYNTHESIS, 5, seed=2)


def box_bank(corner_mm: tuple[int, int, int]) -> LesionBank:
    """One lesion: a box of 10 x 14 x 18 mm that begins at this corner in ICBM space."""
    offset = tuple(int(value) for value in np.array(corner_mm) - ICBM_AFFINE[:3, 3])
    mask = np.ones((10, 14, 18), bool)
    return LesionBank.from_lesions([Lesion("box", "phantom", "", offset, mask)], (197, 233, 189), ICBM_AFFINE)


def coordinates(spacing_mm: float = 1.0) -> torch.Tensor:
    """World position of voxels, (x, y, z, 3), centred on the origin."""
    axes = [(torch.arange(n) - (n - 1) / 2) * spacing_mm for n in (121, 151, 131)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


PLAIN = PaintedLesion(0, False, (0.0, 0.0, 0.0), False, 2.0, 0.0, 1.0)


def test_a_mask_lies_at_its_place_and_moves_as_it_is_told() -> None:
    bank, points = box_bank((20, -40, 10)), coordinates()
    to_icbm = np.eye(4)
    to_icbm[:3, 3] = [2.0, -5.0, 3.0]  # the scan lies that far from ICBM space

    def corner(lesion: PaintedLesion) -> list[float]:
        inside = points[place_mask(lesion, bank, points, to_icbm) > 0.5]
        assert len(inside) == 10 * 14 * 18
        return inside.amin(0).tolist()

    assert corner(PLAIN) == [18, -35, 7]
    assert corner(replace(PLAIN, shift_mm=(4.0, -3.0, 2.0))) == [22, -38, 9]
    assert corner(replace(PLAIN, mirror=True)) == [-29 - 2, -35, 7]
    assert corner(replace(PLAIN, mirror=True, shift_mm=(4.0, 0.0, 0.0))) == [-29 - 2 - 4 + 8, -35, 7]


def test_painted_lesions_differ_from_the_brain_by_their_contrast_and_stay_inside() -> None:
    points = coordinates(2.0)
    inside = ((points / torch.tensor([70.0, 90.0, 70.0])).norm(dim=-1) < 1).float()
    image = (0.5 + 0.1 * torch.randn(inside.shape, generator=torch.Generator().manual_seed(0))) * inside
    bank = box_bank((62, -7, 0))  # half of it beyond the brain
    new, mask = paint(image, inside, (PLAIN,), bank, points, np.eye(4))
    assert mask.sum() > 0 and not mask[inside == 0].any()
    assert new[mask > 0.99].mean() == pytest.approx(0.5 + 2 * 0.1, abs=0.02)
    assert torch.equal(new[mask == 0], image[mask == 0])


def test_large_masks_are_painted_less_often_and_scans_without_any_remain() -> None:
    config = PaintingConfig(probability=0.6, count_weights={1: 1})
    drawn = [sample_painting(Sampler(seed), config, np.array([5.0, 200.0])) for seed in range(600)]
    painted = [lesions[0].index for lesions in drawn if lesions]
    assert len(painted) == pytest.approx(360, abs=40)
    acceptance = (8 / 200) ** 0.35
    large = (
        sum(0.5 * acceptance * (0.5 * (1 - acceptance)) ** k for k in range(4))
        + (0.5 * (1 - acceptance)) ** 4
    )
    assert np.mean(painted) == pytest.approx(large, abs=0.07)


def test_items_are_pure_functions_of_their_position(stream: PaintedScanStream) -> None:
    together = stream.items([4, 9])
    alone = stream.items([9])
    assert torch.equal(together.image[1:], alone.image) and torch.equal(together.target[1:], alone.target)
    assert torch.equal(stream.batch(2).image[:1], together.image[:1]), "batch 2 begins with item 4"
    for batch in (together, stream.batch(0)):
        assert batch.partial.all() and batch.target.unique().tolist() in ([0], [0, 5])
        assert batch.image.shape[1:] == (1, *SYNTHESIS.shape)
        assert batch.image.isfinite().all() and batch.image.mean().abs() < 1e-3


def test_a_scan_with_a_lesion_keeps_it_and_gets_no_other(stream: PaintedScanStream) -> None:
    drawn = [stream.sample(index) for index in range(60)]
    own = [parameters for parameters in drawn if stream.scans[parameters.scan].has_lesion]
    assert own and not any(parameters.lesions for parameters in own)
    assert any(parameters.lesions for parameters in drawn)
    image, lesion = stream.render(quiet(own[0]))
    assert lesion.any()
    assert image[lesion].mean() > image[~lesion & (image > image.amin())].mean() + 0.5


def test_stripping_leaves_nothing_but_the_brain(stream: PaintedScanStream) -> None:
    free = next(p for p in map(stream.sample, range(60)) if not stream.scans[p.scan].has_lesion)
    whole, stripped = (
        stream.render(replace(quiet(free), lesions=(), strip=strip))[0] for strip in (False, True)
    )
    tissue = [int((image > image.amin()).sum()) for image in (whole, stripped)]
    assert 0.4 * tissue[0] < tissue[1] < 0.9 * tissue[0]


def quiet(parameters: PaintedScanParameters) -> PaintedScanParameters:
    """The same image with its intensities as they were."""
    appearance = replace(
        parameters.appearance,
        recolouring=Recolouring("none", 1.0, None, None),
        coil=None,
        field=torch.zeros(2, 2, 2),
        blur=False,
        noise_deviation=0.0,
    )
    return replace(parameters, appearance=appearance, strip=False)


def test_no_scans_is_an_error(stream: PaintedScanStream) -> None:
    with pytest.raises(DataError, match="run `strokelabel prepare` with --scans"):
        PaintedScanStream([], stream.bank, PaintedScanConfig(), SYNTHESIS, 5, 0)
