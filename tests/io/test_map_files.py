from pathlib import Path

import pytest

from strokelabel.errors import DataError
from strokelabel.inference.estimate import map_file_name
from strokelabel.inference.naming import ResultNames
from strokelabel.io.map_files import find_map_files, is_map_file
from strokelabel.networks.estimator import ESTIMATED_MAPS


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize("stem", ["scan", "sub-01_ses-2_T1w", "sub-01_space-MNI_T1w"])
def test_maps_tissues_and_lesions_that_we_write_are_found_together(tmp_path, stem):
    names = ResultNames(stem)
    touch(tmp_path / "a", *(map_file_name(stem, name) for name in ESTIMATED_MAPS), names.tissues, names.mask)
    (found,) = find_map_files(tmp_path)
    assert set(found.maps) == set(ESTIMATED_MAPS)
    assert found.tissues == tmp_path / "a" / names.tissues
    assert found.lesion == tmp_path / "a" / names.mask


def test_maps_of_the_hmri_toolbox_are_found_without_labels(tmp_path):
    touch(tmp_path, "s1_PD.nii", "s1_R1.nii", "s1_R2s.nii", "s1_MTsat.nii", "s1_T1w.nii")
    (found,) = find_map_files(tmp_path)
    assert found.name == "s1"
    assert found.maps["r2_star"].name == "s1_R2s.nii"
    assert found.tissues is found.lesion is None


def test_incomplete_sets_are_left_out_and_a_folder_without_a_whole_one_is_refused(tmp_path):
    touch(tmp_path, "a_PD.nii.gz", "a_R1.nii.gz")
    with pytest.raises(DataError, match="1 incomplete sets; make them with `strokelabel estimate`"):
        find_map_files(tmp_path)
    with pytest.raises(DataError, match="found none"):
        find_map_files(tmp_path / "missing")


def test_a_map_that_is_there_twice_is_refused(tmp_path):
    touch(tmp_path, "a_PD.nii.gz", "a_PDmap.nii.gz")
    with pytest.raises(DataError, match="expected one pd map of a"):
        find_map_files(tmp_path)


def test_maps_are_told_from_scans_by_name():
    assert is_map_file(Path("sub-01_desc-T1westimated_R2starmap.nii.gz"))
    assert not is_map_file(Path("sub-01_T1w.nii.gz"))
