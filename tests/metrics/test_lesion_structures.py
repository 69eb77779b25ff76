"""Structures that a lesion touches: exact by a true parcellation, on any grid, and honest where the scan ends."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.errors import DimensionError
from strokelabel.geometry import Grid
from strokelabel.metrics.lesion_structures import REGIONS, SIDES, lesion_structures, region_of
from strokelabel.structures import parcellation_structures
from support.bright_network import centred_affine, rotation
from support.label_phantoms import ellipsoid
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered

STRUCTURES = parcellation_structures()
SHAPE = (74, 60, 46)
AFFINE = centred_affine(rotation((7, -5, 11)) @ np.diag([-2.5, 3.1, 4.2]), SHAPE)
BRAIN_MM = np.array([66.0, 80.0, 62.0])


def parcellated(affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Fluid, cortex, white matter and putamen on their sides, and a brainstem on the midline."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    left = (index @ affine[:3, :3].T + affine[:3, 3])[..., 0] < 0
    labels = np.zeros(shape, np.uint8)
    for ids, scale in (((24, 24), 1.0), ((3, 42), 0.94), ((2, 41), 0.8)):
        inside = ellipsoid(0, scale * BRAIN_MM, affine, shape)
        labels[inside] = np.where(left, *ids)[inside]
    for label, x in ((12, -26.0), (51, 26.0)):
        labels[ellipsoid((x, 5, 0), (9, 20, 14), affine, shape)] = label
    labels[ellipsoid((0, -20, -30), (13, 13, 22), affine, shape)] = 16
    return labels


def a_lesion(affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A stroke of the left putamen and the cortex beside it that sticks out of the brain."""
    return ellipsoid((-45, 8, 4), (24, 20, 17), affine, shape)


def truth_ml(lesion: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Volume of the lesion in each structure, counted voxel by voxel without the code under test."""
    voxel_ml = 2.5 * 3.1 * 4.2 / 1000
    names = {structure.id: structure.name for structure in STRUCTURES}
    return {
        names[int(label)]: float(((labels == label) & lesion).sum()) * voxel_ml
        for label in np.unique(labels[lesion])
    }


@pytest.mark.parametrize("turn", ORIENTATIONS[::5], ids=ORIENTATION_IDS[::5])
def test_by_a_true_parcellation_every_structure_has_its_ml_and_its_share_on_any_grid(
    turn: np.ndarray,
) -> None:
    labels, lesion = parcellated(), a_lesion()
    expected = truth_ml(lesion, labels)
    turned_labels, affine = reordered(labels, AFFINE, turn)
    turned_lesion, _ = reordered(lesion, AFFINE, turn)

    found = lesion_structures(turned_lesion, turned_labels, STRUCTURES, Grid(turned_labels.shape, affine))

    ml = {one.structure.name: one.lesion_ml for one in found.structures}
    assert found.outside_ml == pytest.approx(expected.pop("background")) and found.outside_ml > 0.5
    assert ml == pytest.approx(expected)
    assert list(ml) == sorted(ml, key=ml.__getitem__, reverse=True)
    assert {"left putamen", "left cerebral cortex", "left cerebral white matter"} <= ml.keys()
    shares = {one.structure.name: one.lesion_percent for one in found.structures}
    assert shares["left putamen"] == pytest.approx(100 * lesion[labels == 12].mean())
    assert found.lesion_percent == pytest.approx(100 * lesion.sum() / (labels > 0).sum())
    assert not found.cut_off and found.notes == ()


def test_ml_of_sides_and_of_regions_each_sum_to_the_lesion() -> None:
    lesion = ellipsoid((4, -18, -22), (34, 16, 20), AFFINE, SHAPE)

    found = lesion_structures(lesion, parcellated(), STRUCTURES, Grid(SHAPE, AFFINE))

    voxel_ml = 2.5 * 3.1 * 4.2 / 1000
    assert found.lesion_ml == pytest.approx(lesion.sum() * voxel_ml)
    for parts in (found.side_ml, found.region_ml):
        assert sum(parts.values()) + found.outside_ml == pytest.approx(found.lesion_ml)
    assert min(found.side_ml.values()) > 1 and found.side_ml["right"] > found.side_ml["left"]
    assert found.region_ml["brainstem"] == pytest.approx(found.side_ml["midline"])
    described = found.describe()
    assert described[1].startswith(f"both sides: left {found.side_ml['left']:.1f} ml, right ")
    assert f"brainstem {found.region_ml['brainstem']:.1f} ml" in described[2]


def test_every_structure_has_a_side_and_a_region() -> None:
    named = {one.name: region_of(one) for one in STRUCTURES[1:]}
    assert set(named.values()) == set(REGIONS) and {one.side for one in STRUCTURES} == set(SIDES)
    assert named["left thalamus"] == named["right cerebral white matter"] == "subcortical"
    assert named["right cerebellum cortex"] == "cerebellar" and named["4th ventricle"] == "fluid"


@pytest.mark.parametrize("axis", range(3))
def test_where_the_field_of_view_cuts_the_brain_no_share_is_claimed(axis: int) -> None:
    labels, lesion = parcellated(), ellipsoid((-30, 8, 4), (30, 22, 20), AFFINE, SHAPE)
    middle = SHAPE[axis] // 2
    slab = tuple(slice(middle - 8, middle + 8) if one == axis else slice(None) for one in range(3))
    grid = Grid(labels[slab].shape, AFFINE)

    found = lesion_structures(lesion[slab], labels[slab], STRUCTURES, grid)

    assert found.cut_off and found.lesion_percent is None
    assert "cut off by the field of view" in found.describe()[0] and "not known" in found.notes[0]
    cut = {one.structure.name for one in found.structures if one.lesion_percent is None}
    assert "left cerebral white matter" in cut
    assert found.as_json()["intracranial_ml"] is None
    assert found.lesion_ml == pytest.approx(lesion[slab].sum() * grid.voxel_volume_ml)


def test_a_structure_inside_a_slab_keeps_its_share() -> None:
    labels, lesion = parcellated(), a_lesion()
    putamen = np.nonzero((labels == 12).any(axis=(0, 1)))[0]
    slab = (slice(None), slice(None), slice(putamen[0] - 1, putamen[-1] + 2))

    found = lesion_structures(
        lesion[slab], labels[slab], STRUCTURES, Grid(labels[slab].shape, AFFINE)
    ).structures

    (share,) = [one.lesion_percent for one in found if one.structure.name == "left putamen"]
    assert share == pytest.approx(100 * lesion[labels == 12].mean())


def test_a_scan_that_ends_at_the_vertex_is_not_cut_off() -> None:
    labels = parcellated()
    top = int(np.nonzero((labels > 0).any(axis=(0, 1)))[0][-1])
    part = labels[:, :, : top + 1]

    found = lesion_structures(part == 12, part, STRUCTURES, Grid(part.shape, AFFINE))

    assert (part[:, :, -1] > 0).any() and not found.cut_off


def test_no_lesion_is_an_empty_table_with_an_intracranial_volume() -> None:
    labels = parcellated()
    found = lesion_structures(np.zeros(SHAPE), labels, STRUCTURES, Grid(SHAPE, AFFINE))
    assert found.structures == () and found.lesion_percent == 0
    assert found.intracranial_ml == pytest.approx((labels > 0).sum() * 2.5 * 3.1 * 4.2 / 1000)
    nothing = lesion_structures(a_lesion(), np.zeros_like(labels), STRUCTURES, Grid(SHAPE, AFFINE))
    assert nothing.lesion_percent is None and nothing.outside_ml == nothing.lesion_ml
    assert nothing.describe()[0] == "no brain was found" and "only 0.0 ml of brain" in nothing.notes[0]


def test_masks_of_another_grid_are_refused() -> None:
    with pytest.raises(DimensionError, match="same grid"):
        lesion_structures(
            np.zeros((3, 4, 5)), np.zeros((3, 4, 6), np.uint8), STRUCTURES, Grid((3, 4, 6), AFFINE)
        )
