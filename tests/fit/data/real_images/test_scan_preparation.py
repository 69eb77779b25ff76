"""Real scans on the training grid: the brain in the middle, the lesion in place, bright spots filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from strokelabel.errors import LabelMapError
from strokelabel.fit.data.real_images.preparation import bring_to_grid, fill_bright_spots
from strokelabel.fit.data.real_images.scans import SHAPE, SPACING_MM, load_scan, save_scan
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from support.bright_network import centred_affine, phantom, rotation

LESION_MM = (9.0, -12.0, 6.0)


@pytest.fixture(scope="module")
def predictor(bright_model: Path) -> Predictor:
    return Predictor.from_model(bright_model, "cpu")


@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 3.0), (2.0, 1.0, 1.5)])
def test_an_oblique_scan_comes_to_lie_with_its_brain_in_the_middle(
    voxel_mm: tuple[float, float, float], predictor: Predictor
) -> None:
    turned = rotation((4, -3, 5)) @ np.diag([-voxel_mm[0], voxel_mm[1], voxel_mm[2]])
    shape = tuple(int(90 / mm) for mm in voxel_mm)
    image, ball = phantom(shape, centred_affine(turned, shape), LESION_MM)

    made = bring_to_grid(image, ball, predictor, fill_hyperintensities=False)

    assert made.image.shape == made.brain.shape == SHAPE
    middle = (np.array(SHAPE) - 1) / 2
    np.testing.assert_allclose(ndimage.center_of_mass(made.brain), middle, atol=1.5)
    assert made.lesion is not None
    found = (np.array(ndimage.center_of_mass(made.lesion)) - middle) * SPACING_MM
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(LESION_MM), atol=2)
    assert (found[0] > 0, found[1] < 0, found[2] > 0) == (True, True, True), (
        "axes to the right, front and top"
    )
    volume_ml = made.lesion.sum() * SPACING_MM**3 / 1000
    assert volume_ml == pytest.approx(ball.sum() * np.prod(voxel_mm) / 1000, rel=0.1)
    assert made.image[made.lesion].mean() > 1.5 * made.image[made.brain & ~made.lesion].mean()


def test_a_brain_too_small_to_be_registered_is_placed_by_its_bounding_box(predictor: Predictor) -> None:
    image, _ = phantom((90, 90, 90), centred_affine(np.eye(3), (90, 90, 90)), LESION_MM)
    made = bring_to_grid(image, None, predictor, fill_hyperintensities=False)
    assert made.lesion is None and made.similarity == 0.0
    corners = (np.argwhere(made.brain)[::40] - (np.array(SHAPE) - 1) / 2) * SPACING_MM
    placed = corners @ made.to_icbm[:3, :3].T + made.to_icbm[:3, 3]
    np.testing.assert_allclose(placed.min(0), [-72, -107, -64], atol=8)
    np.testing.assert_allclose(placed.max(0), [72, 74, 82], atol=8)


def test_a_scan_without_a_brain_is_refused(predictor: Predictor, rng: np.random.Generator) -> None:
    noise = np.where(rng.random((32, 40, 32)) < 0.8, 1.0, 0.5).astype(
        np.float32
    )  # nowhere brighter than usual
    image = Image(noise, np.diag([2.0, 2, 2, 1]), source="noise")
    with pytest.raises(LabelMapError, match="noise: expected a scan of a brain"):
        bring_to_grid(image, None, predictor, fill_hyperintensities=False)


def test_bright_spots_deep_in_the_brain_are_filled_and_nothing_else_changes(rng: np.random.Generator) -> None:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 44, 36)), indexing="ij")
    brain = x**2 + y**2 + z**2 < 0.9
    clean = (rng.normal(100, 5, brain.shape) * brain).astype(np.float32)
    spotted = clean.copy()
    spotted[18:22, 20:24, 16:20] = 180
    spotted[:, :, 0] = 180

    filled = fill_bright_spots(spotted, brain)

    assert filled[18:22, 20:24, 16:20].mean() == pytest.approx(100, abs=5)
    assert filled[:, :, 0].mean() == pytest.approx(180), "what lies outside the brain stays"
    quiet = brain & (np.abs(clean - 100) < 6)
    quiet[12:28, 14:30, 10:26] = False
    assert np.abs(filled - spotted)[quiet].mean() < 1


def test_a_stored_scan_comes_back_as_it_was(tmp_path: Path, rng: np.random.Generator) -> None:
    shape = (5, 6, 7)
    image, brain = rng.integers(0, 255, shape).astype(np.uint8), rng.random(shape) < 0.5
    lesion, icbm = rng.random(shape) < 0.1, np.diag([1.1, 0.9, 1.2, 1.0])
    save_scan(tmp_path / "with.npz", "a", image, brain, lesion, icbm, 0.9)
    save_scan(tmp_path / "without.npz", "b", image, brain, None, icbm, 0.9)
    stored = load_scan(tmp_path / "with.npz")
    assert stored.name == "with" and stored.has_lesion
    for name, wanted in (("image", image), ("brain", brain), ("lesion", lesion), ("to_icbm", icbm)):
        np.testing.assert_array_equal(np.asarray(getattr(stored, name)), wanted)
    assert not load_scan(tmp_path / "without.npz").has_lesion
    assert not load_scan(tmp_path / "without.npz").lesion.any()
