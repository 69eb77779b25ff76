"""Lesions of the face and neck are dropped whole; no infarct of the brain is, however large, and none is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import (
    brain_region,
    faint_surroundings,
    midsagittal_plane,
    mirrored,
    outside_brain,
)
from strokelabel.inference.segment.batch import sidecar
from strokelabel.inference.segment.prediction import Prediction, decide
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.labels import TissueClass
from support.bright_network import BrightNetwork, centred_affine, make_spec, rotation, save_bright_model

SHAPE = (56, 71, 68)
MATRIX = rotation((8.0, -12.0, 10.0)) @ np.diag([-3.1, 2.9, 3.3])
FACE_MM = (6.0, 52.0, -68.0)

Region = Callable[[np.ndarray], np.ndarray]
"""Where points (..., 3) in RAS mm are inside."""


def ball(center_mm: tuple[float, float, float], radius_mm: float) -> Region:
    return lambda points: ((points - center_mm) ** 2).sum(axis=-1) <= radius_mm**2


def nothing(points: np.ndarray) -> np.ndarray:
    return np.zeros(points.shape[:-1], bool)


def in_brain(points: np.ndarray) -> np.ndarray:
    return ((points / [55.0, 70.0, 48.0]) ** 2).sum(axis=-1) <= 1


def face_muscles(points: np.ndarray) -> np.ndarray:
    """Taken for gray matter, and joined to the brain by a bridge of 8 mm."""
    x, y, z = np.moveaxis(points, -1, 0)
    bridge = (np.hypot(x, y - 30) < 4) & (z < -30) & (z > -68)
    return bridge | ((((points - FACE_MM) / [30.0, 22.0, 18.0]) ** 2).sum(axis=-1) <= 1)


def classes(points: np.ndarray, lesion: Region, face: bool, brain: Region = in_brain) -> np.ndarray:
    """Tissue classes of a head: gray matter around white, CSF about it, and a face."""
    inner = brain(points * 1.2)
    labels = np.select(
        [inner, brain(points), brain(points / 1.06)],
        [TissueClass.WHITE_MATTER, TissueClass.GRAY_MATTER, TissueClass.CSF],
        TissueClass.BACKGROUND,
    )
    if face:
        labels[face_muscles(points) & (labels == 0)] = TissueClass.GRAY_MATTER
    labels[lesion(points)] = TissueClass.LESION
    return labels


def points_of(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def predicted(
    lesion: Region,
    *,
    face: bool = True,
    shape: tuple[int, int, int] = SHAPE,
    matrix: np.ndarray = MATRIX,
    brain: Region = in_brain,
    spacing_mm: float = 3.0,
    **options: object,
) -> tuple[Prediction, Image]:
    """The prediction of a network that recognises every voxel of a head."""
    affine = centred_affine(matrix, shape)
    affine[2, 3] -= 12  # more room below, for the face
    head = classes(points_of(shape, affine), lesion, face, brain) > 0
    values = head * np.linspace(90, 110, head.shape[2], dtype=np.float32)
    image = Image(values, affine, source="phantom")
    chosen = PredictionOptions(view="head", **options)  # type: ignore[arg-type]
    predictor = Predictor(make_spec(spacing_mm=spacing_mm), BrightNetwork(), torch.device("cpu"), chosen)
    scan = predictor.show(image, chosen)
    grid = scan.box.grid(scan.canonical.target)
    labels = classes(points_of(grid.shape, grid.affine), lesion, face, brain)
    probabilities = np.stack([np.where(labels == index, 0.95, 0.01) for index in range(6)])
    scores = predictor.on_scan(probabilities.astype(np.float32), scan, image, chosen)
    return decide(scores, image.grid.voxel_volume_ml, predictor.spec, chosen), image


def test_a_lesion_in_the_face_is_dropped_and_one_in_the_brain_is_not() -> None:
    stroke, cell = ball((30, -20, 10), 14), ball(FACE_MM, 12)
    found, image = predicted(lambda points: stroke(points) | cell(points))
    plain, _ = predicted(stroke)
    np.testing.assert_array_equal(found.lesion_mask, plain.lesion_mask)
    assert found.lesion_mask.shape == image.data.shape
    there = ball(FACE_MM, 9)(points_of(SHAPE, image.affine))  # without the edge, which is half muscle
    assert not found.labels[there].any() and not found.lesion_probability[there].any()


def test_the_notes_and_the_sidecar_say_how_much_was_dropped(tmp_path: Path) -> None:
    found, _ = predicted(ball(FACE_MM, 12))
    assert found.outside_brain_ml == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.1)
    assert [f"{found.outside_brain_ml:.2f} ml" in note for note in found.notes] == [True]
    found = replace(found, spec=make_spec(path=save_bright_model(tmp_path / "bright.safetensors")))
    assert sidecar(found, "scan")["outside_brain_ml"] == found.outside_brain_ml


def test_lesions_outside_the_brain_are_kept_on_request() -> None:
    found, _ = predicted(ball(FACE_MM, 12), keep_outside_brain=True)
    assert found.volume_ml > 6 and found.outside_brain_ml == 0 and found.notes == ()


@pytest.mark.parametrize("threshold", [0.005, 0.3, 0.9])
def test_the_rule_holds_at_any_threshold(threshold: float) -> None:
    found, _ = predicted(ball(FACE_MM, 12), threshold=threshold)
    assert found.volume_ml == 0 or threshold < 0.01  # where all is lesion, the brain is in it


LARGE: dict[str, Region] = {
    "a hemisphere": lambda points: in_brain(points) & (points[..., 0] > 3),
    "both occipital lobes": lambda points: in_brain(points) & (points[..., 1] < -15),
    "most of both hemispheres": lambda points: in_brain(points) & (np.abs(points[..., 0]) > 16),
    "cerebellum and brainstem": lambda points: in_brain(points) & (points[..., 2] < -28),
    "everything": lambda points: in_brain(points) & (points[..., 2] > -44),
}


@pytest.mark.parametrize("face", [True, False])
@pytest.mark.parametrize("name", LARGE)
def test_a_large_infarct_is_kept_to_the_voxel(name: str, face: bool) -> None:
    found, plain = (predicted(LARGE[name], face=face, keep_outside_brain=kept)[0] for kept in (False, True))
    assert plain.volume_ml > 60
    np.testing.assert_array_equal(found.lesion_mask, plain.lesion_mask)
    np.testing.assert_array_equal(found.lesion_probability, plain.lesion_probability)
    assert found.notes == plain.notes


SMALL: dict[str, tuple[float, float, float]] = {
    "brainstem": (3.0, -10.0, -43.0),
    "left convexity": (-54.0, 5.0, 3.0),
    "frontal pole": (10.0, 69.0, 0.0),
    "vertex": (8.0, -8.0, 47.0),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("spacing_mm", [1.5, 3.0])
def test_a_small_lesion_at_the_brains_surface_is_kept_whole(name: str, spacing_mm: float) -> None:
    found, plain = (
        predicted(ball(SMALL[name], 6), keep_outside_brain=kept, spacing_mm=spacing_mm)[0]
        for kept in (False, True)
    )
    assert plain.volume_ml > 0.5
    np.testing.assert_array_equal(found.lesion_mask, plain.lesion_mask)


def test_an_infarct_in_a_brain_that_bulges_out_of_the_skull_is_kept() -> None:
    bulge = ball((45, 10, 25), 32)
    found, plain = (
        predicted(ball((62, 12, 30), 12), brain=lambda p: in_brain(p) | bulge(p), keep_outside_brain=kept)[0]
        for kept in (False, True)
    )
    assert plain.volume_ml > 5
    np.testing.assert_array_equal(found.lesion_mask, plain.lesion_mask)


@pytest.mark.parametrize("level_mm", [-25.0, 0.0, 25.0])
def test_an_infarct_in_a_stack_of_25_mm_of_thick_slices_is_kept(level_mm: float) -> None:
    def brain(points: np.ndarray) -> np.ndarray:
        return in_brain(points - np.array([0, 0, level_mm]))

    def lesion(points: np.ndarray) -> np.ndarray:
        return brain(points) & (points[..., 0] > 8)

    found, plain = (
        predicted(
            lesion,
            shape=(90, 95, 5),
            matrix=rotation((4.0, 3.0, -9.0)) @ np.diag([1.7, 2.0, 5.0]),
            brain=brain,
            keep_outside_brain=kept,
        )[0]
        for kept in (False, True)
    )
    assert plain.volume_ml > 30
    np.testing.assert_array_equal(found.lesion_mask, plain.lesion_mask)


def test_lobes_that_lie_apart_in_a_stack_through_the_skull_base_are_all_brain() -> None:
    points = points_of((44, 56, 10), centred_affine(np.diag([3.0] * 3), (44, 56, 10)))
    lobes = [ball((-38, 35, 0), 24), ball((38, 35, 0), 24), ball((0, -40, 0), 40)]
    tissue = np.any([lobe(points) for lobe in lobes], axis=0)
    region = brain_region(tissue.astype(np.float32), tissue.astype(np.float32), 3.0)
    assert region is not None
    assert all(region[lobe(points)].mean() > 0.95 for lobe in lobes)


def test_a_model_without_tissues_drops_nothing() -> None:
    names = ("background", "lesion")
    predictor = Predictor(make_spec(class_names=names, spacing_mm=3.0), BrightNetwork(), torch.device("cpu"))
    values = np.ones((30, 34, 28), np.float32) * np.linspace(0.9, 1.1, 28, dtype=np.float32)
    image = Image(np.pad(values, 6), np.diag([3.0, 3.0, 3.0, 1.0]), source="head")
    scan = predictor.show(image, predictor.options)
    lesion = np.zeros(scan.box.shape, np.float32)
    lesion[3:6, 3:6, 3:6] = 1
    scores = predictor.on_scan(np.stack([1 - lesion, lesion]), scan, image, predictor.options)
    assert scores.brain is None
    found = decide(scores, image.grid.voxel_volume_ml, predictor.spec, predictor.options)
    assert found.volume_ml > 0 and found.notes == ()


def test_with_too_little_parenchyma_it_is_not_known_where_the_brain_is() -> None:
    tissue = np.zeros((20, 24, 22), np.float32)
    assert brain_region(tissue, tissue, 3.0) is None
    tissue[5:12, 5:12, 5:12] = 1  # 9 ml
    assert brain_region(tissue, tissue, 3.0) is None


def test_a_lesion_that_reaches_into_the_brain_is_never_cut() -> None:
    brain = np.zeros((12, 14, 40), bool)
    brain[:, :, :20] = True
    mask = np.zeros_like(brain)
    mask[3:6, 3:6, 10:38] = True  # a third of it in the brain
    mask[9, 9, 30:34] = True
    dropped = outside_brain(mask, brain, voxel_volume_ml=0.001)
    assert dropped.sum() == 4 and not dropped[3:6].any()


def test_what_is_faint_around_a_dropped_lesion_goes_with_it_unless_it_leads_to_one_that_is_kept() -> None:
    brain = np.zeros((10, 12, 40), bool)
    brain[:, :, :20] = True
    probability = np.zeros(brain.shape, np.float32)
    probability[2:5, 2:5, 30:36] = 0.1
    probability[3, 3, 32:34] = 0.9
    mask = probability > 0.5
    dropped = outside_brain(mask, brain, 0.001)
    cleared = faint_surroundings(probability, dropped, mask & ~dropped, brain, 0.001)
    np.testing.assert_array_equal(cleared, probability > 0)
    probability[3, 3, 5:30] = np.linspace(0.9, 0.05, 25)
    mask = probability > 0.5
    dropped = outside_brain(mask, brain, 0.001)
    cleared = faint_surroundings(probability, dropped, mask & ~dropped, brain, 0.001)
    np.testing.assert_array_equal(cleared, dropped)


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.2, -0.1), (-0.15, 0.25)])
def test_the_midsagittal_plane_is_found_in_a_tilted_head_with_a_defect(tilt: tuple[float, float]) -> None:
    points = np.moveaxis(np.indices((40, 50, 36)), 0, -1) - np.array([21.0, 24.0, 17.0])
    normal = np.array([1.0, *tilt]) / np.linalg.norm([1.0, *tilt])
    across = points @ normal
    within = points - across[..., None] * normal
    forward, upward = within[..., 1], within[..., 2]
    head = (across / 10) ** 2 + (forward / 21) ** 2 + ((upward - forward / 5) / 16) ** 2 <= 1
    head &= ~(((points - [9.0, 8.0, 6.0]) ** 2).sum(axis=-1) < 36)
    plane = midsagittal_plane(head)
    assert np.degrees(np.arccos(plane.normal @ normal)) < 3
    assert abs(plane.normal @ [21.0, 24.0, 17.0] - plane.offset) < 1
    image = mirrored(head, plane)
    assert (image & head).sum() > 0.9 * head.sum()
    there = points.reshape(-1, 3)
    np.testing.assert_allclose(plane.reflect(plane.reflect(there)), there, atol=1e-9)


def test_an_image_with_two_values_is_noted_as_a_possible_mask() -> None:
    predictor = Predictor(make_spec(spacing_mm=3.0), BrightNetwork(), torch.device("cpu"))
    image = Image(np.pad(np.ones((30, 34, 28), np.float32), 6), np.diag([3.0, 3.0, 3.0, 1.0]), source="mask")
    assert "there are only two values, as in a mask" in predictor.predict(image).notes[0]
