"""Structures of a scan: on their own side, in whole pieces, with volumes, and never called a lesion."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.errors import OutputError, WeightsError
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import TOTAL_INTRACRANIAL, Parcellator
from strokelabel.inference.parcellate_batch import parcellate_scans
from strokelabel.inference.postprocessing import keep_largest_pieces
from strokelabel.inference.segment.predictor import Predictor
from support.bright_network import centred_affine, phantom, rotation
from support.sided_network import BALL, BRAIN, CLASS, STRUCTURES, SidedNetwork, save_sided_model, sided_spec

SHAPE = (36, 30, 26)
ORIENTATIONS = {
    "right, front, top": np.diag([2.0, 2.5, 2.2]),
    "left, back, top": np.diag([-2.0, -2.5, 2.2]),
    "front, top, left": np.array([[0, 0, -2.4], [2.0, 0, 0], [0, 2.5, 0]]),
    "oblique": rotation((6, -4, 10)) @ np.diag([-2.0, 2.5, 2.2]),
}


def parcellator(**options):
    return Parcellator(
        sided_spec(), SidedNetwork(), torch.device("cpu"), PredictionOptions(view="head", **options)
    )


def scan_of(matrix, ball_mm=(12.0, 3.0, 2.0)):
    """A phantom, its bright ball, and the x of each voxel in mm."""
    affine = centred_affine(matrix, SHAPE)
    image, ball = phantom(SHAPE, affine, ball_mm)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return image, ball, index @ affine[0, :3] + affine[0, 3]


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("tta", [False, True], ids=["once", "flips"])
def test_a_structure_on_the_patients_right_is_a_right_one_in_any_orientation(name, tta):
    image, ball, x = scan_of(ORIENTATIONS[name])

    labels = parcellator(tta=tta).parcellate(image).labels

    assert set(np.unique(labels)) == {0, BRAIN["left"], BRAIN["right"], BALL["right"]}
    assert (labels[ball] == BALL["right"]).mean() > 0.8
    # The phantom's network divides what it is shown in the middle, and that is not quite the middle of the head.
    assert (x[labels == BRAIN["right"]] > -6).all() and (x[labels == BRAIN["left"]] < 6).all()


def test_averaging_over_flips_agrees_with_a_network_that_knows_its_sides():
    image, _, _ = scan_of(ORIENTATIONS["oblique"])

    once, flips = (parcellator(tta=tta).parcellate(image).volumes_ml for tta in (False, True))

    for name, ml in once.items():
        assert flips[name] == pytest.approx(ml, abs=0.5, rel=0.05)


def test_volumes_are_sums_of_probabilities_with_all_structures_together_first():
    image, _, _ = scan_of(ORIENTATIONS["left, back, top"])

    found = parcellator().parcellate(image)

    names = list(found.volumes_ml)
    assert names == [TOTAL_INTRACRANIAL, *(structure.name for structure in STRUCTURES[1:])]
    total, *parts = found.volumes_ml.values()
    assert total == pytest.approx(sum(parts))
    voxel_ml = image.grid.voxel_volume_ml
    bright = (found.labels == BALL["right"]).sum()
    assert found.volumes_ml["right thalamus"] == pytest.approx(bright * voxel_ml, rel=0.1)
    assert total == pytest.approx((found.labels > 0).sum() * voxel_ml, rel=0.1)


def test_a_small_piece_of_a_structure_gives_way_to_what_is_next_likeliest():
    probabilities = np.zeros((33, 9, 8, 7), np.float32)
    white, thalamus = CLASS[2], CLASS[10]
    probabilities[0], probabilities[white] = 0.1, 0.9
    for corner, size in ((1, 3), (6, 1)):
        piece = (slice(corner, corner + size),) * 3
        probabilities[(slice(None), *piece)] = 0
        probabilities[(0, *piece)], probabilities[(white, *piece)] = 0.1, 0.2
        probabilities[(thalamus, *piece)] = 0.7

    keep_largest_pieces(probabilities, STRUCTURES)

    labels = probabilities.argmax(axis=0)
    assert (labels == thalamus).sum() == 27 and labels[6, 6, 6] == white
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-6)
    assert probabilities[white, 6, 6, 6] == pytest.approx(2 / 3)


def test_fluid_may_lie_in_several_pieces_and_where_nothing_is_left_there_is_background():
    probabilities = np.zeros((33, 6, 5, 9), np.float32)
    probabilities[0] = 1
    for structure, levels in ((24, (0, 2)), (16, (4, 8))):
        for level in levels:
            width = 2 if level != 8 else 1
            probabilities[:, :width, 0, level] = 0
            probabilities[CLASS[structure], :width, 0, level] = 1

    keep_largest_pieces(probabilities, STRUCTURES)

    labels = probabilities.argmax(axis=0)
    assert (labels == CLASS[24]).sum() == 4
    assert (labels == CLASS[16]).sum() == 2 and labels[0, 0, 8] == 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_sided_model(tmp_path_factory.mktemp("sided") / "sided.safetensors")


@pytest.fixture
def scan(tmp_path):
    image, _, _ = scan_of(ORIENTATIONS["oblique"])
    path = tmp_path / "sub-01_T2w.nii.gz"
    nib.save(nib.Nifti1Image(image.data, image.affine), path)
    return path


def test_a_scan_gets_a_segmentation_a_table_of_its_values_and_one_of_volumes(model, scan, tmp_path):
    out = tmp_path / "out"
    (row,) = parcellate_scans(Parcellator.from_model(model, "cpu"), [scan], out)

    stem = "sub-01_space-orig_desc-T2wparcellation"
    assert row.status == "done" and row.segmentation == f"{stem}_dseg.nii.gz"
    names = {path.name for path in out.iterdir() if path.suffix != ".lock"}
    assert names == {
        *(f"{stem}_dseg.{suffix}" for suffix in ("nii.gz", "json", "tsv")),
        f"{stem}_volumes.tsv",
        "dataset_description.json",
        "parcellations.csv",
        "volumes.csv",
    }
    segmentation = nib.load(out / row.segmentation)
    np.testing.assert_allclose(segmentation.affine, nib.load(scan).affine, atol=1e-6)
    assert set(np.unique(segmentation.dataobj)) == {0, 2, 10}
    with (out / f"{stem}_volumes.tsv").open() as file:
        (volumes,) = csv.DictReader(file, delimiter="\t")
    assert next(iter(volumes)) == "total intracranial" and len(volumes) == 33
    assert float(volumes["total intracranial"]) == pytest.approx(row.intracranial_ml, abs=1e-3)
    table = (out / f"{stem}_dseg.tsv").read_text().splitlines()
    assert table[0] == "index\tname\tcolor" and table[2].startswith("2\tleft cerebral white matter\t#")
    sidecar = json.loads((out / f"{stem}_dseg.json").read_text())
    assert sidecar["Sources"] == [str(scan)] and "threshold" not in sidecar["options"]


def test_results_are_kept_by_the_same_model_and_defended_against_another(model, scan, tmp_path):
    out, ours = tmp_path / "out", Parcellator.from_model(model, "cpu")
    (first,) = parcellate_scans(ours, [scan], out)
    (again,) = parcellate_scans(ours, [scan], out)
    assert (again.status, again.segmentation) == ("kept", first.segmentation)
    assert again.intracranial_ml == pytest.approx(first.intracranial_ml, abs=1e-3)

    other = Parcellator(replace(ours.spec, version="2"), ours.network, ours.device)
    (refused,) = parcellate_scans(other, [scan], out)
    assert refused.status == "failed" and "another model" in refused.reason
    (done,) = parcellate_scans(other, [scan], out, overwrite=True)
    assert done.status == "done"


def test_a_scan_that_cannot_be_read_does_not_take_the_others_with_it(model, scan, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not an image")
    rows = list(parcellate_scans(Parcellator.from_model(model, "cpu"), [broken, scan], tmp_path / "out"))
    assert [row.status for row in rows] == ["failed", "done"]
    assert rows[0].segmentation is None and "broken.nii.gz" in rows[0].reason


def test_a_table_of_something_else_is_not_overwritten(model, scan, tmp_path):
    (tmp_path / "parcellations.csv").write_text("my,notes\n1,2\n")
    with pytest.raises(OutputError, match="expected a table with the columns source, segmentation"):
        list(parcellate_scans(Parcellator.from_model(model, "cpu"), [scan], tmp_path))


def test_models_of_another_task_and_unknown_structures_are_refused(model, bright_model):
    with pytest.raises(WeightsError, match="expected a model that parcellates, this one is for segmentation"):
        Parcellator.from_model(bright_model, "cpu")
    with pytest.raises(WeightsError, match="use `strokelabel predict` with it"):
        Predictor.from_model(model, "cpu")
    with pytest.raises(WeightsError, match=r"found \[4711\]"):
        Parcellator(sided_spec(class_ids=(0, 4711)), SidedNetwork(), torch.device("cpu"))
