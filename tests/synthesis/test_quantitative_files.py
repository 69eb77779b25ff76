from dataclasses import fields, replace

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.errors import DataError, GeometryError, ImageError
from strokelabel.io.map_files import find_map_files
from strokelabel.physics.maps import MAP_NAMES
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.quantitative.files import (
    load_quantitative_heads,
    make_quantitative_head,
    read_map_volumes,
)
from support.map_phantoms import template_maps, world_from_icbm, write_maps

SPACING_MM = 4.0


KNOWN = np.linalg.inv(world_from_icbm())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    write_maps(folder)
    return folder


@pytest.fixture(scope="module")
def volumes(folder):
    (files,) = find_map_files(folder)
    return read_map_volumes(files)


@pytest.fixture(scope="module")
def unlabelled(folder):
    (head,) = load_quantitative_heads(folder, SPACING_MM, folder / "cache")
    return head


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    maps, brain, _ = template_maps()
    classes = np.where(maps["R1"] > 0.8, 3, np.where(maps["R1"] > 0.45, 1, 4)) * brain
    lesion = np.zeros(brain.shape, dtype=bool)
    lesion[20:26, 40:46, 34:40] = True
    write_maps(folder, tissue_dseg=classes.astype(np.uint8), lesion_mask=lesion)
    (files,) = find_map_files(folder)
    return make_quantitative_head(read_map_volumes(files), SPACING_MM, "test", KNOWN), lesion


def test_a_head_without_labels_is_found_in_icbm_space(unlabelled):
    icbm = icbm_template()
    expected = world_from_icbm()
    points = np.array([[0, -18, 22, 1], [40, 30, 10, 1], [-40, -60, 40, 1]]).T
    found = unlabelled.to_icbm.numpy() @ expected @ points
    np.testing.assert_allclose(found, points, atol=3)
    middle = expected @ icbm.affine @ np.append(np.argwhere(icbm.brain).mean(axis=0), 1)
    np.testing.assert_allclose(unlabelled.center_mm, middle[:3], atol=3)


def test_its_brain_is_found_without_the_scalp(unlabelled):
    volume_ml = float(unlabelled.brain.float().sum()) / 255 * SPACING_MM**3 / 1000
    true_ml = icbm_template().brain.sum() / 1000
    assert volume_ml == pytest.approx(true_ml, rel=0.08)
    assert bool((unlabelled.lesion_allowed <= unlabelled.brain).all())
    assert not unlabelled.tissues.any()
    assert not unlabelled.labelled


def test_values_keep_their_units_and_r2_follows_from_r2_star(unlabelled):
    named = dict(zip(MAP_NAMES, unlabelled.maps.float(), strict=True))
    core = (unlabelled.brain == 255) & (named["r1"] > 0.85)
    assert named["pd"][core].median() == pytest.approx(72, abs=2)
    assert named["mt"][core].median() == pytest.approx(1.4, abs=0.2)
    torch.testing.assert_close(named["r2"][core], 0.55 * named["r2_star"][core], rtol=0.02, atol=0.1)
    fluid = (unlabelled.brain == 255) & (named["r1"] < 0.3)
    assert fluid.any()
    assert named["r2"][fluid].max() < 2


def test_labels_beside_the_maps_become_tissues_and_the_heads_own_lesion(labelled):
    head, lesion = labelled
    assert head.labelled
    volumes = head.tissues.float().sum(dim=(1, 2, 3)) / 255 * SPACING_MM**3
    assert volumes[4] == pytest.approx(lesion.sum() * 27, rel=0.05)
    assert (volumes[[0, 2, 3]] > 50_000).all()
    inside = head.tissues[4] == 255
    assert inside.any()
    assert not head.lesion_allowed[inside].any()


def test_files_on_another_grid_or_in_another_unit_are_refused_or_left_out(tmp_path, caplog):
    write_maps(tmp_path)
    affine = nib.load(tmp_path / "scan_PD.nii.gz").affine
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.float32), affine), tmp_path / "scan_MT.nii.gz")
    (files,) = find_map_files(tmp_path)
    with pytest.raises(GeometryError, match=r"scan_MT\.nii\.gz: expected the grid of"):
        read_map_volumes(files)
    write_maps(tmp_path, R1=1000 * template_maps()[0]["R1"])
    with pytest.raises(ImageError, match=r"R1: expected 0.1 to 20 s\^-1"):
        read_map_volumes(files)
    with pytest.raises(DataError, match="none of those there can be used"):
        load_quantitative_heads(tmp_path, SPACING_MM, tmp_path / "cache")
    assert "this head is left out" in caplog.text


def test_maps_without_a_brain_are_refused(volumes):
    with pytest.raises(DataError, match="found no brain"):
        make_quantitative_head(replace(volumes, maps=0.2 * volumes.maps), SPACING_MM, "test")


def test_a_head_is_registered_once_and_kept(folder, unlabelled):
    (kept,) = (folder / "cache").iterdir()
    written = kept.stat().st_mtime_ns
    (again,) = load_quantitative_heads(folder, SPACING_MM, folder / "cache")
    assert kept.stat().st_mtime_ns == written
    for field in fields(again):
        assert torch.equal(getattr(again, field.name), getattr(unlabelled, field.name)), field.name
