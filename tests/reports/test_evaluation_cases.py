"""Cases are found in the layouts of published data sets, or listed in a table; predictions by the scans' names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strokelabel.errors import DataError, OptionError
from strokelabel.inference.batch import parse_part, take_part
from strokelabel.reports.evaluation.cases import find_cases, read_pairs
from strokelabel.reports.evaluation.methods import FolderMethod
from support.bright_network import centred_affine
from support.evaluation_data import write_dataset, write_mask, write_predictions, write_scan

OTHER_SHAPE = (18, 22, 26)
OTHER_AFFINE = centred_affine(np.diag([3.0, 3.0, 2.0]), OTHER_SHAPE)


def groups(folder: Path, **options: object) -> dict[str, str]:
    return {case.name: case.group for case in find_cases(folder, **options).cases}


def test_atlas_has_its_mask_beside_the_t1(tmp_path: Path) -> None:
    anat = tmp_path / "Training/R001/sub-r001s001/ses-1/anat"
    stem = "sub-r001s001_ses-1_space-MNI152NLin2009aSym"
    write_scan(anat / f"{stem}_T1w.nii.gz")
    mask = write_mask(anat / f"{stem}_label-L_desc-T1lesion_mask.nii.gz")
    write_scan(tmp_path / "Testing/R002/sub-r002s001/ses-1/anat/sub-r002s001_ses-1_T1w.nii.gz")
    search = find_cases(tmp_path)
    assert [(case.name, case.group, case.reference) for case in search.cases] == [
        (f"{stem}_T1w", "T1w", mask)
    ]
    assert search.without_mask == 1
    assert search.problems == ()


def write_arc(folder: Path) -> Path:
    """A session as in ARC: the mask was drawn on the T2w, the others have grids of their own."""
    stem = "sub-M2001_ses-1253"
    anat = folder / "sub-M2001/ses-1253/anat"
    write_scan(anat / f"{stem}_acq-spc3_run-3_T2w.nii.gz")
    for name in ("acq-tfl3_run-4_T1w", "acq-tfl3_run-5_FLAIR"):
        write_mask(anat / f"{stem}_{name}.nii.gz", shape=OTHER_SHAPE, affine=OTHER_AFFINE)
    return write_mask(
        folder
        / f"derivatives/lesion_masks/sub-M2001/ses-1253/anat/{stem}_acq-spc3_run-3_T2w_desc-lesion_mask.nii.gz"
    )


def test_arc_has_a_mask_for_the_t2_that_other_scans_share_only_when_told_so(tmp_path: Path) -> None:
    mask = write_arc(tmp_path)
    stem = "sub-M2001_ses-1253_acq"
    assert groups(tmp_path) == {f"{stem}-spc3_run-3_T2w": "T2w"}
    search = find_cases(tmp_path, suffixes=["T1w", "T2w", "FLAIR"], share_masks=True)
    assert [case.group for case in search.cases] == ["T2w", "T1w", "FLAIR"]
    assert {case.reference for case in search.cases} == {mask}
    assert search.without_mask == 0
    assert groups(tmp_path, suffixes=["T1w"], share_masks=True) == {f"{stem}-tfl3_run-4_T1w": "T1w"}


def test_isles_22_has_one_mask_for_the_diffusion_maps_on_its_grid(tmp_path: Path) -> None:
    stem, folder = "sub-strokecase0001_ses-0001", tmp_path / "sub-strokecase0001/ses-0001"
    for name in ("dwi", "adc"):
        write_scan(folder / "dwi" / f"{stem}_{name}.nii.gz")
    write_mask(folder / "anat" / f"{stem}_FLAIR.nii.gz", shape=OTHER_SHAPE, affine=OTHER_AFFINE)
    write_mask(tmp_path / "derivatives/sub-strokecase0001/ses-0001" / f"{stem}_msk.nii.gz")
    assert groups(tmp_path) == {f"{stem}_adc": "adc", f"{stem}_dwi": "dwi"}
    assert groups(tmp_path, suffixes=["dwi"]) == {f"{stem}_dwi": "dwi"}
    shared = groups(tmp_path, suffixes=["dwi", "FLAIR"], share_masks=True)
    assert shared == {f"{stem}_dwi": "dwi", f"{stem}_FLAIR": "FLAIR"}


def test_a_mask_without_a_scan_is_a_problem_and_a_wrong_contrast_an_error(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, subjects=1)
    write_mask(data / "derivatives/truth/sub-09/anat/sub-09_label-L_desc-T1wlesion_mask.nii.gz")
    (problem,) = find_cases(data).problems
    assert "sub-09_label-L" in problem and "--pairs" in problem
    with pytest.raises(OptionError, match="expected scans of dwi with lesion masks, found FLAIR, T1w"):
        find_cases(data, suffixes=["dwi"])
    with pytest.raises(OptionError, match="--suffix"):
        find_cases(data, share_masks=True)


def test_a_table_gives_paths_groups_names_and_predictions_of_several_methods(tmp_path: Path) -> None:
    table = tmp_path / "cases.tsv"
    table.write_text(
        "image\treference\tprediction_ours\tprediction_theirs\tgroup\tname\n"
        "a/T2.nii\ta/mask.nii\ta/one.nii\ta/two.nii\tT2\tpatient 1\n"
        "sub-1_FLAIR.nii.gz\tb.nii\tc.nii\t\t\t\n"
    )
    first, second = read_pairs(table)
    assert (first.name, first.group, first.reference) == ("patient 1", "T2", tmp_path / "a/mask.nii")
    assert first.predictions == {"ours": tmp_path / "a/one.nii", "theirs": tmp_path / "a/two.nii"}
    assert (second.name, second.group) == ("sub-1_FLAIR", "FLAIR")
    assert list(second.predictions) == ["ours"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image\tmask\na\tb\n", "found image, mask"),
        ("image\treference\n", "a row for each case, found none"),
        ("image\treference\na.nii\t\n", "in line 2"),
        ("reference\tname\na.nii\tx\nb.nii\tx\n", "found x more than once"),
        ("", "found none"),
    ],
)
def test_a_malformed_table_is_an_error_that_says_where(tmp_path: Path, content: str, message: str) -> None:
    table = tmp_path / "cases.tsv"
    table.write_text(content)
    with pytest.raises(OptionError, match=message):
        read_pairs(table)


def test_parts_are_disjoint_and_together_all(tmp_path: Path) -> None:
    cases = find_cases(write_dataset(tmp_path, subjects=3)).cases
    parts = [take_part(cases, parse_part(f"{i}/4")) for i in range(1, 5)]
    assert sorted(case.name for part in parts for case in part) == [case.name for case in cases]
    assert take_part(cases, parse_part(None)) == list(cases)
    for wrong in ("0/2", "3/2", "two", "1/0", "-1/2"):
        with pytest.raises(OptionError, match="such as 2/8"):
            parse_part(wrong)


@pytest.mark.parametrize("ending", ["_pred", "", "_lesion", "_LESION_mask", "_by-somebody_v2"])
def test_predictions_are_found_by_the_names_of_the_scans(tmp_path: Path, ending: str) -> None:
    case = find_cases(write_dataset(tmp_path, subjects=1)).cases[0]
    folder = write_predictions(tmp_path / "found", subjects=1, ending=ending)
    write_mask(folder / f"{case.name}_lesion_probability.nii.gz")
    assert FolderMethod("m", folder).find(case).name == f"{case.name}{ending}.nii.gz"


def test_the_name_of_our_own_predictions_comes_first_and_doubt_is_an_error(tmp_path: Path) -> None:
    case = find_cases(write_dataset(tmp_path, subjects=1)).cases[0]
    folder = tmp_path / "found"
    write_mask(folder / "one" / f"{case.name}_x.nii.gz")
    write_mask(folder / "two" / f"{case.name}_y.nii.gz")
    with pytest.raises(DataError, match=r"found 2 \(.*_x.nii.gz, .*_y.nii.gz\)"):
        FolderMethod("m", folder).find(case)
    ours = write_mask(folder / "sub-01_space-orig_label-L_desc-FLAIRlesion_mask.nii.gz")
    assert FolderMethod("m", folder).find(case) == ours
    with pytest.raises(OptionError, match="expected a folder of predictions"):
        FolderMethod("m", tmp_path / "nowhere")


def test_the_scans_own_folder_holds_no_predictions(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, subjects=1)
    with pytest.raises(DataError, match="found none"):
        FolderMethod("m", data).find(find_cases(data).cases[0])
