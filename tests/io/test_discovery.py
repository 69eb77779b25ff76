import os

import nibabel as nib
import numpy as np
import pytest

from strokelabel.errors import UnreadableImageError
from strokelabel.io import find_images, read_image


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
    return [os.path.relpath(path, study) for path in find_images(inputs)]


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
    assert find_images([path]) == [path]


def test_relative_paths_stay_relative(study, monkeypatch):
    monkeypatch.chdir(study)
    assert [str(path) for path in find_images(["a", "b/*.nii"])] == ["a/T1.NII.GZ", "b/scan-10.nii"]


def test_inputs_without_images_stay_in_the_list_so_that_reading_explains_them(study):
    (study / "empty").mkdir()
    inputs = [study / "missing.nii.gz", study / "empty", f"{study}/nothing*.nii", study / "b" / "notes.txt"]
    paths = find_images(inputs)
    assert [str(path) for path in paths] == [str(item) for item in inputs]
    for path in paths:
        with pytest.raises(UnreadableImageError, match="expected"):
            read_image(path)


def test_no_inputs_give_no_images():
    assert find_images([]) == []
