"""Scans find their lesion masks under the names that published data sets use."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import DataError, GeometryError, LabelMapError
from strokelabel.io.lesion_pairs import find_lesion_pairs, read_lesion_pair
from support.image_formats import WRITERS, rigid_affine
from support.label_data import write_segmentation

SAMPLE_DATA = Path(__file__).parents[2] / "sample-data"
GRIDS = {"a": (5, 6, 7), "b": (7, 6, 5)}


def write(folder: Path, name: str, grid: str = "a", sidecar: dict | None = None) -> Path:
    path = folder / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(210, dtype=np.float32).reshape(GRIDS[grid])
    values = (values % 9 == 0).astype(np.float32) if "T1w.nii" not in path.name else values
    nib.Nifti1Image(values, np.diag([2, 3, 4, 1])).to_filename(path)
    if sidecar is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def found(folder: Path, **arguments) -> dict[str, str]:
    pairs = find_lesion_pairs(folder, **arguments).pairs
    return {pair.image.name.split(".")[0]: pair.mask.name.split(".")[0] for pair in pairs}


def test_the_sample_data_are_three_subjects_with_a_mask_each():
    search = find_lesion_pairs(SAMPLE_DATA)
    assert [(p.name, p.subject) for p in search.pairs] == [
        ("sub-01_T1w", "sub-01"), ("sub-02_T2w", "sub-02"), ("sub-03_FLAIR", "sub-03"),
    ]  # fmt: skip
    assert search.images_alone == search.masks_alone == ()
    for pair in search.pairs:
        assert f"desc-{pair.name.split('_')[1]}lesion" in pair.mask.name


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("sub-1/anat/sub-1_T1w", "derivatives/manual/sub-1/anat/sub-1_label-L_desc-T1wlesion_mask"),
        (
            "sub-r1/ses-1/anat/sub-r1_ses-1_space-MNI152NLin2009aSym_T1w",
            "sub-r1/ses-1/anat/sub-r1_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask",
        ),
        (
            "sub-M1/ses-2/anat/sub-M1_ses-2_acq-spc3p2_run-3_T2w",
            "derivatives/lesion_masks/sub-M1/ses-2/anat/sub-M1_ses-2_acq-spc3p2_run-3_T2w_desc-lesion_mask",
        ),
        ("sub-9/ses-1/dwi/sub-9_ses-1_dwi", "derivatives/sub-9/ses-1/sub-9_ses-1_msk"),
        ("sub-1/dwi/sub-1_rec-TRACE_dwi", "derivatives/lesion_masks/sub-1/dwi/sub-1_space-TRACE_desc-lesion_mask"),
        ("deep/scan", "deep/scan_lesion_mask"),
        ("scan 2", "scan 2_seg"),
    ],
    ids=["ours", "ATLAS", "ARC", "ISLES 2022", "SOOP", "plain", "segmentation"],
)  # fmt: skip
def test_the_names_of_published_data_sets_are_understood(tmp_path, image, mask):
    write(tmp_path, image)
    write(tmp_path, mask)
    assert found(tmp_path) == {Path(image).name: Path(mask).name}


def test_the_suffix_in_a_mask_s_name_decides_between_scans_of_a_session(tmp_path):
    for suffix in ("T1w", "T2w", "FLAIR"):
        write(tmp_path, f"sub-1/anat/sub-1_{suffix}")
        write(tmp_path, f"derivatives/truth/sub-1/anat/sub-1_space-orig_label-L_desc-{suffix}lesion_mask")
    assert len(found(tmp_path)) == 3
    assert all(f"desc-{image[6:]}lesion" in mask for image, mask in found(tmp_path).items())
    assert list(found(tmp_path, suffixes=("FLAIR",))) == ["sub-1_FLAIR"]


def test_runs_are_told_apart_by_their_entity(tmp_path):
    for run in "12":
        write(tmp_path, f"sub-1/anat/sub-1_run-{run}_T1w")
        write(tmp_path, f"derivatives/x/sub-1_run-{run}_label-L_desc-T1wlesion_mask")
    assert found(tmp_path) == {
        f"sub-1_run-{r}_T1w": f"sub-1_run-{r}_label-L_desc-T1wlesion_mask" for r in "12"
    }


def test_one_mask_serves_all_scans_of_its_session_on_its_grid_and_no_other(tmp_path):
    for name, grid in (("ses-1_dwi", "a"), ("ses-1_adc", "a"), ("ses-1_FLAIR", "b"), ("ses-2_dwi", "a")):
        write(tmp_path, f"sub-1/sub-1_{name}", grid)
    write(tmp_path, "derivatives/sub-1/sub-1_ses-1_msk")
    search = find_lesion_pairs(tmp_path)
    assert [p.name for p in search.pairs] == ["sub-1_ses-1_adc", "sub-1_ses-1_dwi"]
    assert len(search.images_alone) == 2


def test_a_sidecar_that_names_the_scan_comes_before_names(tmp_path):
    write(tmp_path, "sub-1/sub-1_acq-x_T1w")
    write(tmp_path, "sub-1/sub-1_acq-y_T1w")
    write(
        tmp_path,
        "derivatives/sub-1_desc-lesion_mask",
        sidecar={"Sources": ["bids::sub-1/sub-1_acq-y_T1w.nii.gz"]},
    )
    assert list(found(tmp_path)) == ["sub-1_acq-y_T1w"]


def test_predicted_masks_are_no_truth_unless_their_folder_is_named(tmp_path):
    write(tmp_path, "sub-1/sub-1_T1w")
    mask = "derivatives/predicted/sub-1_space-orig_label-L_desc-T1wlesion_mask"
    write(tmp_path, mask, sidecar={"weights_sha256": "ab"})
    with pytest.raises(DataError, match="found 1 scans and 0 masks"):
        find_lesion_pairs(tmp_path)
    assert list(found(tmp_path, masks=tmp_path / "derivatives")) == ["sub-1_T1w"]


def test_two_masks_for_a_scan_are_refused_until_one_folder_is_chosen(tmp_path):
    write(tmp_path, "sub-1/sub-1_T1w")
    for rater in ("anna", "ben"):
        write(tmp_path, f"derivatives/{rater}/sub-1_label-L_desc-T1wlesion_mask")
    with pytest.raises(DataError, match=r"expected one lesion mask, found 2 .*anna.*ben"):
        find_lesion_pairs(tmp_path)
    search = find_lesion_pairs(tmp_path, masks=tmp_path / "derivatives" / "ben")
    assert "ben" in search.pairs[0].mask.parts


def test_masks_whose_scan_is_missing_and_derived_scans_are_left_alone(tmp_path):
    write(tmp_path, "sub-1/sub-1_T1w")
    write(tmp_path, "derivatives/prep/sub-1/sub-1_desc-preproc_T1w")
    write(tmp_path, "derivatives/truth/sub-1_desc-T1wlesion_mask")
    write(tmp_path, "derivatives/truth/sub-2_desc-T1wlesion_mask")
    search = find_lesion_pairs(tmp_path)
    assert [p.name for p in search.pairs] == ["sub-1_T1w"]
    assert [p.name for p in search.masks_alone] == ["sub-2_desc-T1wlesion_mask.nii.gz"]


def test_scans_of_one_name_get_their_folders_in_front(tmp_path):
    for site in ("east", "west"):
        write(tmp_path, f"{site}/scan")
        write(tmp_path, f"{site}/scan_mask")
    assert [p.name for p in find_lesion_pairs(tmp_path).pairs] == ["east_scan", "west_scan"]


def test_a_folder_without_pairs_or_without_existence_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DataError, match="found no folder"):
        find_lesion_pairs(tmp_path / "nowhere")
    write(tmp_path, "sub-1/sub-1_T1w")
    with pytest.raises(DataError, match="expected scans with lesion masks"):
        find_lesion_pairs(tmp_path)


def test_a_pair_is_read_on_one_grid_or_refused(tmp_path):
    image = write(tmp_path, "sub-1/sub-1_T1w")
    mask = write(tmp_path, "derivatives/sub-1_label-L_desc-T1wlesion_mask")
    scan, lesion = read_lesion_pair(find_lesion_pairs(tmp_path).pairs[0])
    assert np.array_equal(scan.data, nib.load(image).get_fdata())
    assert np.array_equal(lesion, nib.load(mask).get_fdata() > 0.5) and lesion.dtype == bool

    write(tmp_path, "derivatives/sub-1_label-L_desc-T1wlesion_mask", "b")
    with pytest.raises(GeometryError, match="resample it to that grid"):
        read_lesion_pair(find_lesion_pairs(tmp_path).pairs[0])


@pytest.mark.parametrize("suffix", WRITERS)
def test_scans_and_masks_of_any_format_belong_together(tmp_path, scan, suffix):
    WRITERS[suffix](tmp_path / f"a{suffix}", scan, rigid_affine())
    WRITERS[suffix](tmp_path / f"a_lesion{suffix}", (scan > 900).astype(np.uint8), rigid_affine())
    (pair,) = find_lesion_pairs(tmp_path).pairs
    image, mask = read_lesion_pair(pair)
    assert pair.name == "a" and np.array_equal(image.data, scan) and np.array_equal(mask, scan > 900)


@pytest.mark.parametrize("name", ["sub-01_T1w", "brain 2"])
def test_a_segmentation_of_3d_slicer_belongs_to_the_scan_that_it_is_named_after(tmp_path, scan, name):
    mask = np.zeros(scan.shape, bool)
    mask[3:6, 4:9, 2:4] = True
    WRITERS[".nrrd"](tmp_path / f"{name}.nrrd", scan, rigid_affine())
    crop = (slice(3, 6), slice(4, 9), slice(2, 4))
    for segments in ({"lesion": mask, "edema": np.roll(mask, 1, axis=1)}, {"Segment_1": mask}):
        write_segmentation(tmp_path / f"{name}.seg.nrrd", segments, rigid_affine(), crop)
        (pair,) = find_lesion_pairs(tmp_path).pairs
        assert pair.name == name and np.array_equal(read_lesion_pair(pair)[1], mask)
    write_segmentation(tmp_path / f"{name}.seg.nrrd", {"one": mask, "two": mask}, rigid_affine())
    with pytest.raises(LabelMapError, match="one segment, or one named 'lesion', found one, two"):
        read_lesion_pair(pair)
