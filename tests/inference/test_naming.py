"""Result files have BIDS names where scans have, plain ones elsewhere, and never the same name twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.inference.naming import ResultNames, unique_stems
from strokelabel.io.bids import image_stem, is_derived_name


@pytest.mark.parametrize(
    ("stem", "mask"),
    [
        ("sub-01_T2w", "sub-01_space-orig_label-L_desc-T2wlesion_mask.nii.gz"),
        ("sub-01_ses-1_T2w", "sub-01_ses-1_space-orig_label-L_desc-T2wlesion_mask.nii.gz"),
        ("sub-01_acq-ax_run-2_FLAIR", "sub-01_acq-ax_run-2_space-orig_label-L_desc-FLAIRlesion_mask.nii.gz"),
        ("sub-01_space-MNI152NLin6Asym_res-1_desc-preproc_T1w",
         "sub-01_space-MNI152NLin6Asym_res-1_label-L_desc-preprocT1wlesion_mask.nii.gz"),
        ("chronic-stroke_T2w", "chronic-stroke_T2w_lesion_mask.nii.gz"),
        ("sub-01", "sub-01_lesion_mask.nii.gz"),
        ("DICOM 2024", "DICOM 2024_lesion_mask.nii.gz"),
    ],
)  # fmt: skip
def test_a_mask_is_named_after_its_scan(stem: str, mask: str) -> None:
    assert ResultNames(stem).mask == mask


def test_all_files_of_a_scan_have_names_of_their_own() -> None:
    bids, plain = ResultNames("sub-01_ses-1_T2w"), ResultNames("scan")
    assert bids.probability == "sub-01_ses-1_space-orig_label-L_desc-T2wlesion_probseg.nii.gz"
    assert bids.tissues == "sub-01_ses-1_space-orig_desc-T2wtissue_dseg.nii.gz"
    assert bids.tissue_probabilities == "sub-01_ses-1_space-orig_desc-T2wtissue_probseg.nii.gz"
    assert plain.probability == "scan_lesion_probseg.nii.gz"
    assert plain.tissues == "scan_tissue_dseg.nii.gz"
    assert plain.tissue_probabilities == "scan_tissue_probseg.nii.gz"


def test_two_contrasts_of_a_session_do_not_share_a_mask() -> None:
    assert ResultNames("sub-01_ses-1_T2w").mask != ResultNames("sub-01_ses-1_FLAIR").mask


def test_every_result_is_known_for_one_and_scans_are_not() -> None:
    for stem in ("sub-01_T2w", "scan"):
        names = ResultNames(stem)
        for name in (names.mask, names.probability, names.tissues, names.tissue_probabilities):
            assert is_derived_name(Path(name))
        assert not is_derived_name(Path(f"{stem}.nii.gz"))


def test_stems_lose_only_the_suffix_of_the_format() -> None:
    assert image_stem(Path("a/b.c.nii.gz")) == "b.c"
    assert image_stem(Path("a/b.NII")) == "b"
    assert image_stem(Path("a/series.1")) == "series.1"


def test_scans_that_share_a_name_get_their_folders_in_front() -> None:
    paths = [Path("/d/one/anat/T1.nii"), Path("/d/two/anat/T1.nii.gz"), Path("/d/two/anat/T2.nii")]
    assert unique_stems(paths) == ["one_anat_T1", "two_anat_T1", "T2"]


def test_scans_beside_each_other_with_one_stem_are_numbered() -> None:
    assert len(set(unique_stems([Path("/T1.nii"), Path("/T1.nii.gz"), Path("/t1_2.nii")]))) == 3


names = st.sampled_from(["a", "b", "A", "a_2", "b_a"])
scan_paths = st.builds(
    lambda folders, name, suffix: Path("/", *folders, name + suffix),
    st.lists(names, max_size=3),
    names,
    st.sampled_from([".nii", ".nii.gz"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(scan_paths, max_size=8, unique=True))
def test_no_two_scans_of_a_run_ever_share_a_name(paths: list[Path]) -> None:
    stems = [stem.lower() for stem in unique_stems(paths)]
    assert len(set(stems)) == len(paths)
