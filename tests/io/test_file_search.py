import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import UnreadableImageError
from strokelabel.io import read_image
from strokelabel.io.bids import is_derived_name
from strokelabel.io.file_search import search_files, search_images
from support.dicom_writer import write_series
from support.image_formats import WRITERS, rigid_affine


@pytest.fixture
def study(tmp_path):
    """A folder of scans as users have them: two subjects, one of them in DICOM, and other files."""
    for name in ("b/scan-2.nii.gz", "b/scan-10.nii", "a/T1.NII.GZ", "b/.hidden.nii.gz", ".cache/old.nii.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None), path)
    (tmp_path / "b" / "notes.txt").write_text("not a scan")
    series = tmp_path / "c" / "series 1"
    series.mkdir(parents=True)
    for name in ("IM0001", "IM0002.dcm"):
        (series / name).write_bytes(bytes(128) + b"DICM")
    return tmp_path


def found(study, *inputs):
    return [os.path.relpath(path, study) for path in search_images(inputs).images]


def test_a_folder_is_searched_for_nifti_files_and_dicom_folders(study):
    assert found(study, study) == ["a/T1.NII.GZ", "b/scan-10.nii", "b/scan-2.nii.gz", "c/series 1"]


def test_files_keep_the_order_in_which_they_were_given_and_appear_once(study):
    first, second = study / "b" / "scan-2.nii.gz", study / "a" / "T1.NII.GZ"
    assert found(study, first, second, str(first), study / "b") == [
        "b/scan-2.nii.gz",
        "a/T1.NII.GZ",
        "b/scan-10.nii",
    ]


def test_patterns_match_scans_in_any_depth(study):
    assert found(study, f"{study}/b/*") == ["b/scan-10.nii", "b/scan-2.nii.gz"]
    assert found(study, f"{study}/**/*.nii.gz") == ["b/scan-2.nii.gz"]
    assert found(study, f"{study}/?") == ["a/T1.NII.GZ", "b/scan-10.nii", "b/scan-2.nii.gz", "c/series 1"]


def test_brackets_in_an_existing_name_are_no_pattern(study):
    path = study / "scan[1].nii.gz"
    path.write_bytes(b"")
    assert search_images([path]).images == [path]


def test_relative_paths_stay_relative(study, monkeypatch):
    monkeypatch.chdir(study)
    assert [str(path) for path in search_images(["a", "b/*.nii"]).images] == ["a/T1.NII.GZ", "b/scan-10.nii"]


def test_inputs_without_images_stay_in_the_list_so_that_reading_explains_them(study):
    (study / "empty").mkdir()
    inputs = [study / "missing.nii.gz", study / "empty", f"{study}/nothing*.nii", study / "b" / "notes.txt"]
    paths = search_images(inputs).images
    assert [str(path) for path in paths] == [str(item) for item in inputs]
    for path in paths:
        with pytest.raises(UnreadableImageError, match="expected"):
            read_image(path)


def test_no_inputs_give_no_images():
    assert search_images([]).images == []


def test_a_link_to_a_folder_is_followed_once_and_a_loop_ends(study):
    (study / "z").symlink_to(study / "b", target_is_directory=True)  # the same folder again
    (study / "a" / "up").symlink_to(study, target_is_directory=True)
    outside = study.parent / f"{study.name}-elsewhere"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "T2.nii").write_bytes(b"")
    (study / "linked").symlink_to(outside, target_is_directory=True)
    assert found(study, study) == [
        "a/T1.NII.GZ",
        "b/scan-10.nii",
        "b/scan-2.nii.gz",
        "c/series 1",
        "linked/deep/T2.nii",
    ]


def test_entries_that_cannot_be_read_are_named_and_the_others_found(study):
    (study / "b" / "self.nii.gz").symlink_to("self.nii.gz")
    os.mkfifo(study / "b" / "pipe.nii")
    Path(os.fsdecode(os.fsencode(study) + b"/b/M\xfcller.nii.gz")).touch()
    (study / "b" / "not-fetched.nii.gz").symlink_to("../.git/annex/objects/x.nii.gz")
    search = search_images([study])
    names = [path.name for path in search.images]
    assert {"scan-10.nii", "scan-2.nii.gz", "not-fetched.nii.gz"} <= set(names)
    reasons = {problem.path.rsplit("/", 1)[-1]: problem.reason for problem in search.problems}
    assert "regular" in reasons["pipe.nii"]
    assert "UTF-8" in reasons["M\\xfcller.nii.gz"]
    assert "self.nii.gz" in {*reasons, *names}


def test_a_folder_without_permission_is_a_problem_of_the_search(study, monkeypatch):
    scandir = os.scandir

    def refuse(path):  # root may read everything, so permissions alone would test nothing there
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    search = search_images([study])
    assert [problem.path for problem in search.problems] == [str(study / "b")]
    assert "Permission denied" in search.problems[0].reason
    assert [path.name for path in search.images] == ["T1.NII.GZ", "series 1"]


@pytest.mark.parametrize(
    "name", ["x_mask", "x_msk", "x-seg", "x_lesion", "x_synthseg", "sub-1_dseg", "sub-1_label-L_roi"]
)
def test_masks_of_any_data_set_are_passed_over_unless_they_are_named(study, name):
    mask = study / "b" / f"{name}.nii.gz"
    mask.write_bytes(b"")
    assert f"b/{name}.nii.gz" not in found(study, study)
    assert f"b/{name}.nii.gz" not in found(study, f"{study}/b/*.nii.gz")
    assert found(study, mask) == [f"b/{name}.nii.gz"]


def test_a_folder_of_masks_alone_is_explained(tmp_path):
    (tmp_path / "x_mask.nii.gz").write_bytes(b"")
    search = search_images([tmp_path])
    assert search.images == []
    assert "masks" in search.problems[0].reason


def test_derivatives_of_a_data_set_are_no_scans_and_what_archives_leave_is_passed_over(study):
    for folder in ("derivatives/preprocessing", "sourcedata", "__MACOSX"):
        (study / folder).mkdir(parents=True)
        (study / folder / "T1w.nii.gz").write_bytes(b"")
    assert found(study, study) == ["a/T1.NII.GZ", "b/scan-10.nii", "b/scan-2.nii.gz", "c/series 1"]
    assert found(study, study / "derivatives") == ["derivatives/preprocessing/T1w.nii.gz"]
    assert len(search_files(study).files) == 8


def test_what_one_input_lacks_hides_nothing_about_the_next(tmp_path):
    for name in ("masks", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "masks" / "x_mask.nii.gz").write_bytes(b"")
    search = search_images([tmp_path / "masks", tmp_path / "empty"])
    assert [problem.path for problem in search.problems] == [str(tmp_path / "masks")]
    assert search.images == [tmp_path / "empty"]


@pytest.mark.parametrize("name", ["a" * 300 + ".nii", "a" * 300, "x\0y.nii"])
def test_a_name_that_no_file_can_have_is_refused_when_it_is_read(name):
    assert [str(path) for path in search_images([name]).images] == [name]
    with pytest.raises(UnreadableImageError, match="expected"):
        read_image(name)


def test_an_empty_name_is_not_the_current_folder(study, monkeypatch):
    monkeypatch.chdir(study)
    search = search_images([""])
    assert search.images == [] and "empty name" in search.problems[0].reason


def test_scans_of_every_format_are_found_each_once(tmp_path, scan):
    for suffix, write in WRITERS.items():
        write(tmp_path / f"scan{suffix}", scan, rigid_affine())
    names = {f"scan{suffix}" for suffix in WRITERS} - {"scan.img"}  # its header stands for the pair
    assert {path.name for path in search_images([tmp_path]).images} == names
    both = [tmp_path / "scan.img", tmp_path / "scan.hdr", tmp_path / "scan.mhd"]
    assert search_images(both).images == [both[0], both[2]]
    assert {path.name for path in search_images([f"{tmp_path}/scan.*"]).images} == names


def test_dicom_files_that_end_like_the_voxels_of_a_pair_are_a_series(tmp_path, scan):
    for number, file in enumerate(write_series(tmp_path / "a", scan, rigid_affine())):
        file.rename(file.with_name(f"IM{number}.img"))
    assert search_images([tmp_path]).images == [tmp_path / "a"]
    found = read_image(tmp_path / "a" / "IM0.img").data
    np.testing.assert_array_equal(np.sort(found, None), np.sort(scan - scan % 2, None))


@pytest.mark.parametrize(
    ("name", "is_mask"),
    [
        ("brain.seg.nrrd", True), ("scan-label.nrrd", True), ("scan_lesion.mha", True), ("aseg.mgz", True),
        ("aparc+aseg.mgz", True), ("lh.ribbon.mgz", True), ("wm.mgz", True), ("aseg.presurf.mgz", True),
        ("orig.mgz", False), ("T1.mgz", False),
        ("wm-patient.nii.gz", False), ("seg.nrrd", False), ("scan.nrrd", False), ("label.nii.gz", False),
    ],
)  # fmt: skip
def test_masks_of_other_programs_are_told_from_scans_by_their_names(name, is_mask):
    assert is_derived_name(name) == is_mask
