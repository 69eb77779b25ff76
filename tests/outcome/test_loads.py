"""Loads of lesions: the right side, the right cell, whatever the mask's orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strokelabel.outcome.loads import (
    FINE_MM,
    TISSUES,
    StructureMap,
    coarse_loads,
    fine_shape,
    lesion_loads,
    read_loads,
    structure_map,
)
from strokelabel.outcome.predictors import Cohort, make_predictors
from strokelabel.outcome.regions import RegionMap
from strokelabel.structures import parcellation_structures
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.prepared.icbm import icbm_template
from support.outcome_patients import random_box, region_fractions, write_mask

BOX = np.ones((9, 14, 11), dtype=bool)


def test_a_lesion_left_of_the_midline_counts_as_left() -> None:
    left = lesion_loads((60, 100, 80), BOX)  # x from -38 to -30 mm
    right = lesion_loads((98 + 30, 100, 80), BOX)

    assert left.ml == pytest.approx(BOX.size / 1000)
    assert left.tissue_ml[TISSUES.index("left")] == pytest.approx(left.ml)
    assert left.tissue_ml[TISSUES.index("gray, right")] == 0
    assert right.tissue_ml[TISSUES.index("right")] == pytest.approx(left.ml)
    assert 0 < sum(left.tissue_ml[:4]) <= left.ml * 1.01


def test_only_lesion_below_the_tentorium_counts_there() -> None:
    low = lesion_loads((80, 70, 20), BOX)  # z from -52 to -42 mm
    high = lesion_loads((80, 100, 100), BOX)

    assert low.tissue_ml[-1] == pytest.approx(low.ml)
    assert high.tissue_ml[-1] == 0


@pytest.mark.parametrize("flipped", [False, True])
def test_loads_do_not_depend_on_the_orientation_of_the_file(tmp_path: Path, flipped: bool) -> None:
    mask = BOX.copy()
    mask[:4, :3, 2:] = False
    write_mask(tmp_path / "a.nii.gz", (61, 90, 70), mask, flipped=flipped)

    found, expected = read_loads(tmp_path / "a.nii.gz"), lesion_loads((61, 90, 70), mask)

    assert np.array_equal(found.cells, expected.cells)
    assert np.array_equal(found.tissue_ml, expected.tissue_ml)


def test_cells_hold_every_voxel_once_at_its_place() -> None:
    loads = lesion_loads((61, 90, 70), BOX)
    cells = loads.cells.reshape(fine_shape())

    assert cells.sum() == BOX.sum()
    first = np.argwhere(cells).min(axis=0)
    assert first.tolist() == [61 // FINE_MM, 90 // FINE_MM, 70 // FINE_MM]


def test_neighbouring_lesions_share_coarse_loads_and_distant_ones_do_not() -> None:
    boxes = [lesion_loads(place, BOX) for place in ((60, 90, 70), (64, 92, 72), (130, 150, 110))]
    near, next_to, far = coarse_loads(np.stack([one.cells for one in boxes]))

    assert np.corrcoef(near, next_to)[0, 1] > 0.8
    assert np.corrcoef(near, far)[0, 1] < 0.1


def test_the_fraction_of_a_structure_is_that_of_its_voxels() -> None:
    classes = np.zeros(icbm_template().shape, dtype=np.uint8)
    classes[60:80, 90:110, 70:90] = 3
    structures = StructureMap(classes, parcellation_structures())

    loads = lesion_loads((70, 90, 70), np.ones((20, 20, 10), dtype=bool), structures)

    assert loads.structures[3 - 1] == pytest.approx(0.25)
    assert loads.structures.sum() == pytest.approx(0.25)


def test_structures_are_those_of_most_prepared_brains(prepared_folder: Path) -> None:
    found = structure_map(PreparedData.load(prepared_folder))

    inside = found.classes[icbm_template().brain]
    assert found.classes.shape == icbm_template().shape
    assert (inside > 0).mean() > 0.5
    assert set(np.unique(found.classes)) <= set(range(len(found.structures)))


def test_arterial_regions_of_unseen_lesions_are_estimated_from_the_mask(acute: Cohort) -> None:
    assert acute.arteries is not None
    regions = RegionMap.fit(acute.cells, acute.arteries)
    rng = np.random.default_rng(99)
    boxes = [random_box(rng) for _ in range(30)]
    cells = np.stack([lesion_loads(*box).cells for box in boxes])
    true = np.stack([region_fractions(*box) for box in boxes])

    found = regions.fractions(cells)

    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.95
    again = RegionMap.from_arrays(regions.arrays())
    assert np.array_equal(again.fractions(cells), found)


def test_predictors_without_facts_have_no_such_blocks(acute: Cohort) -> None:
    predictors = make_predictors(acute.loads)

    assert not predictors.has(["age"])
    assert predictors.has(["volume", "size", "tissues", "voxels", "root voxels"])
    assert all(np.isfinite(block).all() for block in acute.predictors().blocks.values())
