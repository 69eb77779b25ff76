"""Submitted labels are checked against their scans, turned onto their grid, and split by subject."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from strokelabel.errors import DataError, GeometryError, LabelMapError
from strokelabel.fit.fine_tuning.cases import SubmittedLabel, prepare_cases, read_submitted, split_cases
from support.bright_network import centred_affine, phantom, rotation
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered, shifted

SHAPE = (30, 38, 20)
AFFINE = centred_affine(rotation((9, 4, 0)) @ np.diag([2.0, 1.7, 3.1]), SHAPE)


@pytest.fixture
def scan(tmp_path: Path) -> tuple[SubmittedLabel, np.ndarray]:
    """A scan with its label, and the lesion."""
    return write(tmp_path, "sub-01_dwi")


def write(folder: Path, name: str, values: dict[str, int] | None = None) -> tuple[SubmittedLabel, np.ndarray]:
    image, ball = phantom(SHAPE, AFFINE, (5.0, -7.0, 3.0))
    nib.Nifti1Image(image.data, AFFINE).to_filename(folder / f"{name}.nii.gz")
    labels = ball.astype(np.uint8) * (values or {}).get("lesion", 1)
    labels[0, 0, 0] = (values or {}).get("other", 0)
    nib.Nifti1Image(labels, AFFINE).to_filename(folder / f"{name}-label.nii.gz")
    label = SubmittedLabel(name, name[:6], folder / f"{name}.nii.gz", folder / f"{name}-label.nii.gz")
    return label, ball


def relabelled(submitted: SubmittedLabel, data: np.ndarray, affine: np.ndarray) -> SubmittedLabel:
    """The same scan with another label."""
    path = submitted.label.with_name("other.nii.gz")
    nib.Nifti1Image(data.astype(np.uint8), affine).to_filename(path)
    return replace(submitted, label=path)


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=ORIENTATION_IDS)
def test_a_label_comes_back_from_all_48_orders_of_axes(
    scan: tuple[SubmittedLabel, np.ndarray], turn: np.ndarray
) -> None:
    submitted, ball = scan
    ball[2:9, 3, 1:4] = True  # no flip or swap of axes leaves it as it is
    image, mask = read_submitted(relabelled(submitted, *reordered(ball, AFFINE, turn)))
    assert np.array_equal(mask, ball) and image.data.shape == ball.shape


@pytest.mark.parametrize("voxels", [(4, 0, 0), (0, -1, 0), (0, 0, 0.5)])
def test_a_label_that_is_moved_is_refused_and_both_grids_are_named(
    scan: tuple[SubmittedLabel, np.ndarray], voxels: tuple[float, float, float]
) -> None:
    submitted, ball = scan
    with pytest.raises(GeometryError, match=r"shape \(30, 38, 20\).*found.*shape \(30, 38, 20\)"):
        read_submitted(relabelled(submitted, ball, shifted(AFFINE, *voxels)))


def test_a_label_whose_axes_are_swapped_without_its_affine_is_refused(
    scan: tuple[SubmittedLabel, np.ndarray],
) -> None:
    submitted, ball = scan
    with pytest.raises(GeometryError, match=r"found one of a different size \(shape \(38, 30, 20\)"):
        read_submitted(relabelled(submitted, ball.transpose(1, 0, 2), AFFINE))


def test_a_rounded_label_is_on_the_scans_exact_grid(scan: tuple[SubmittedLabel, np.ndarray]) -> None:
    submitted, ball = scan
    image, mask = read_submitted(relabelled(submitted, ball, np.round(AFFINE, 4)))
    assert np.array_equal(mask, ball) and np.allclose(image.affine, AFFINE, rtol=0, atol=1e-5)


def test_a_cropped_segmentation_is_pasted_where_it_belongs(scan: tuple[SubmittedLabel, np.ndarray]) -> None:
    submitted, ball = scan
    crop = ball[3:, 5:, 2:]
    path = submitted.label.with_name("x.seg.nrrd")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ shifted(AFFINE, 3, 5, 2)
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "Segment0_ID": "Segment_1",
        "Segment0_Name": "lesion",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
    }
    nrrd.write(str(path), crop.astype(np.uint8), header, index_order="F")
    assert np.array_equal(read_submitted(replace(submitted, label=path))[1], ball)


def test_a_nrrd_of_a_viewer_is_read_like_nifti(
    scan: tuple[SubmittedLabel, np.ndarray], tmp_path: Path
) -> None:
    submitted, ball = scan
    lps = np.diag([-1.0, -1.0, 1.0]) @ AFFINE[:3]
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:, :3].T,
        "space origin": lps[:, 3],
        "kinds": ["domain"] * 3,
    }
    nrrd.write(str(tmp_path / "label.seg.nrrd"), ball.astype(np.uint8), header, index_order="F")
    other = SubmittedLabel("a", "a", submitted.image, tmp_path / "label.seg.nrrd")
    assert np.array_equal(read_submitted(other)[1], ball)


def test_the_value_of_the_lesion_counts_where_it_is_known(tmp_path: Path) -> None:
    submitted, ball = write(tmp_path, "sub-02_dwi", {"lesion": 5, "other": 2})
    known = SubmittedLabel("a", "a", submitted.image, submitted.label, lesion_value=5)
    assert np.array_equal(read_submitted(known)[1], ball)
    with pytest.raises(LabelMapError, match="found 2, 5 without names; submit it with label_info"):
        read_submitted(submitted)


def test_a_label_of_another_grid_is_left_out_and_the_others_are_used(tmp_path: Path) -> None:
    good, _ = write(tmp_path, "sub-03_dwi")
    bad, _ = write(tmp_path, "sub-04_dwi")
    nib.Nifti1Image(np.ones((5, 6, 7), np.uint8), AFFINE).to_filename(bad.label)
    text, _ = write(tmp_path, "sub-05_dwi")
    text.label.write_text("not a label")
    with pytest.raises(GeometryError, match="expected the grid of its scan"):
        read_submitted(bad)
    cases, refused = prepare_cases([text, bad, good], 6.0, tmp_path / "cache")
    assert [case.submitted for case in cases] == [good]
    assert set(refused) == {bad.name, text.name} and all(len(reason) > 20 for reason in refused.values())
    with pytest.raises(DataError, match="none that can be used"):
        prepare_cases([bad], 6.0, tmp_path / "cache")


def test_nobody_is_held_out_who_was_trained_on(tmp_path: Path) -> None:
    labels = [write(tmp_path, f"sub-{number:02d}_dwi")[0] for number in range(1, 9)]
    cases, _ = prepare_cases(labels, 6.0, tmp_path / "cache")
    trained: set[str] = set()
    held_out_at_last: set[str] = set()
    for count in range(1, len(cases) + 1):
        split = split_cases(cases[:count], 0.3, trained)
        held_out_at_last = {case.submitted.subject for case in split.validation}
        assert split.train and not held_out_at_last & trained
        trained |= {case.submitted.subject for case in split.train}
    assert held_out_at_last


def test_scans_of_one_subject_stay_together(tmp_path: Path) -> None:
    names = [f"sub-{number:02d}_{kind}" for number in range(1, 6) for kind in ("dwi", "T2w")]
    cases, _ = prepare_cases([write(tmp_path, name)[0] for name in names], 6.0, tmp_path / "cache")
    split = split_cases(cases, 0.4)
    subjects = [{case.submitted.subject for case in part} for part in (split.train, split.validation)]
    assert (
        subjects[1]
        and not subjects[0] & subjects[1]
        and len(split.train) + len(split.validation) == len(names)
    )
