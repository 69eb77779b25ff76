"""Real scans are prepared once, in the network's own space, and split by subject."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.data.annotated_scans.scans import RealConfig, prepare_real, split_subjects
from strokelabel.inference.network_input import prepare_intensities
from strokelabel.io import read_image
from strokelabel.synthesis.prepared.dataset import stable_split

SAMPLE_DATA = Path(__file__).parents[3] / "sample-data"
SPACING_MM = 4.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(cache):
    return prepare_real(RealConfig(folder=SAMPLE_DATA), SPACING_MM, cache)


def write_pair(folder: Path, name: str, values: np.ndarray, lesion: np.ndarray, affine: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values.astype(np.float32), affine).to_filename(folder / f"{name}_T1w.nii.gz")
    mask = nib.Nifti1Image(lesion.astype(np.uint8), affine)
    mask.to_filename(folder / f"{name}_label-L_desc-T1wlesion_mask.nii.gz")


def phantom(affine: np.ndarray, shape=(40, 48, 44)) -> tuple[np.ndarray, np.ndarray]:
    """A head about the world's origin with a ball at x = 24, y = -10, z = 6 mm."""
    mm = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    lesion = ((mm - [24, -10, 6]) ** 2).sum(-1) < 11**2
    head = ((mm / [52, 60, 50]) ** 2).sum(-1) < 1
    return head * 80.0 + 120.0 * lesion, lesion


def test_the_sample_data_become_three_scans_with_their_lesions(dataset):
    assert [scan.name for scan in dataset.scans] == ["sub-01_T1w", "sub-02_T2w", "sub-03_FLAIR"]
    assert dataset.subjects == ("sub-01", "sub-02", "sub-03") and dataset.refused == {}
    for scan in dataset.scans:
        image, lesion = scan.load()
        mask_file = next((SAMPLE_DATA / "derivatives").rglob(f"{scan.subject}*_mask.nii.gz"))
        truth = nib.load(mask_file)
        expected_ml = np.asarray(truth.dataobj).sum() * np.prod(truth.header.get_zooms()) / 1000
        assert image.shape == lesion.shape and image.dtype == torch.float32 and lesion.dtype == torch.bool
        assert float(lesion.sum()) * SPACING_MM**3 / 1000 == pytest.approx(expected_ml, rel=0.15)
        assert float(image.min()) == 0.0 and float(image.max()) == pytest.approx(1.0, abs=1e-3)


def test_prepared_scans_are_kept_and_made_again_only_when_damaged(dataset, cache):
    files = sorted(cache.glob("*.safetensors"))
    assert len(files) == 3
    times = [path.stat().st_mtime_ns for path in files]
    files[1].write_bytes(files[1].read_bytes()[:1000])

    again = prepare_real(RealConfig(folder=SAMPLE_DATA), SPACING_MM, cache)

    assert again == dataset
    assert sorted(cache.glob("*.safetensors")) == files
    kept = [path.stat().st_mtime_ns == time for path, time in zip(files, times, strict=True)]
    assert kept == [True, False, True]
    assert all(scan.load()[1].any() for scan in again.scans)


def test_a_scan_is_turned_to_anatomical_axes_and_its_mask_with_it(tmp_path):
    rotation = np.array([[0.0, 0, -2.6], [-2.4, 0.3, 0], [0.3, 2.4, 0]])  # axes P, S, L, a little oblique
    affine = np.eye(4)
    affine[:3, :3] = rotation
    affine[:3, 3] = -rotation @ (np.array((40, 48, 44)) - 1) / 2
    write_pair(tmp_path / "sub-1", "sub-1", *phantom(affine), affine)

    scan = prepare_real(RealConfig(folder=tmp_path), 3.0, tmp_path / "cache").scans[0]

    image, lesion = (tensor.numpy() for tensor in scan.load())
    center = np.argwhere(lesion).mean(axis=0) - (np.array(lesion.shape) - 1) / 2
    assert center[0] > 4 and center[1] < 0 < center[2]  # right, back and top of the head's middle
    assert lesion.sum() * 27 == pytest.approx(4 / 3 * np.pi * 11**3, rel=0.1)
    assert image[lesion].mean() > 2 * image[(image > 0.2) & ~lesion].mean()


def test_intensities_go_the_way_of_a_prediction(tmp_path):
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = -1.5 * (np.array((40, 48, 44)) - 1)
    values, lesion = phantom(affine)
    write_pair(tmp_path / "sub-1", "sub-1", (values - 90) / 40, lesion, affine)  # z-scored: air is negative

    image = prepare_real(RealConfig(folder=tmp_path), 3.0, tmp_path / "cache").scans[0].load()[0].numpy()

    expected = prepare_intensities(read_image(tmp_path / "sub-1" / "sub-1_T1w.nii.gz").data, None)
    inner = image[image > 0.1]
    assert image.min() == 0
    assert np.unique(np.round(inner, 2)).tolist() == pytest.approx([80 / 200, 1.0], abs=0.01)
    assert expected.min() == 0


def test_a_lesion_smaller_than_a_voxel_is_not_lost(tmp_path):
    affine = np.diag([1.0, 1, 1, 1])
    shape = (60, 60, 60)
    values = np.zeros(shape)
    values[5:55, 5:55, 5:55] = 50
    lesion = np.zeros(shape)
    lesion[30:33, 30:33, 30:32] = 1
    write_pair(tmp_path / "sub-1", "sub-1", values + np.arange(60), lesion, affine)
    scan = prepare_real(RealConfig(folder=tmp_path), 4.0, tmp_path / "cache").scans[0]
    assert scan.load()[1].sum() >= 1


def test_a_scan_that_cannot_be_used_is_left_out_and_the_others_stay(tmp_path):
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = -1.5 * (np.array((40, 48, 44)) - 1)
    values, lesion = phantom(affine)
    write_pair(tmp_path / "sub-1", "sub-1", values, lesion, affine)
    write_pair(tmp_path / "sub-2", "sub-2", np.full(values.shape, 7.0), lesion, affine)
    dataset = prepare_real(RealConfig(folder=tmp_path), 3.0, tmp_path / "cache")
    assert [scan.name for scan in dataset.scans] == ["sub-1_T1w"]
    assert "sub-2_T1w" in dataset.refused

    with pytest.raises(DataError, match="all 1 were refused"):
        prepare_real(RealConfig(folder=tmp_path / "sub-2"), 3.0, tmp_path / "cache")


def test_a_recipe_without_a_folder_says_how_to_name_one(tmp_path):
    with pytest.raises(RecipeError, match="--real"):
        prepare_real(RealConfig(), 3.0, tmp_path)


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(1, 999), min_size=2, max_size=30))
def test_both_parts_have_subjects_that_no_other_part_has(numbers):
    subjects = tuple(sorted(f"sub-{number:03d}" for number in numbers))
    parts = split_subjects(RealConfig(), subjects)
    assert parts["train"] and parts["validation"]
    assert not set(parts["train"]) & set(parts["validation"])
    assert set(parts["train"]) | set(parts["validation"]) <= set(subjects)


def test_the_split_stays_when_subjects_are_added():
    some = tuple(f"sub-{number:03d}" for number in range(100))
    more = tuple(f"sub-{number:03d}" for number in range(200))
    before, after = split_subjects(RealConfig(), some), split_subjects(RealConfig(), more)
    for part in ("train", "validation"):
        assert set(before[part]) == set(after[part]) & set(some)
    left_out = set(some) - set(before["train"]) - set(before["validation"])
    assert left_out == {subject for subject in some if stable_split(subject) == "test"}


def test_a_recipe_may_name_its_subjects():
    config = RealConfig(train=("sub-a*",), validation=("sub-b1",))
    assert split_subjects(config, ("sub-a1", "sub-a2", "sub-b1", "sub-c")) == {
        "train": ["sub-a1", "sub-a2"], "validation": ["sub-b1"],
    }  # fmt: skip
    with pytest.raises(RecipeError, match=r"real\.train: 'sub-a\*' matches none"):
        split_subjects(config, ("sub-b1", "sub-c"))
    both = RealConfig(train=("sub-*",), validation=("sub-b1",))
    with pytest.raises(RecipeError, match=r"real\.validation: .*sub-b1"):
        split_subjects(both, ("sub-a1", "sub-b1"))


def test_one_subject_is_too_few():
    with pytest.raises(DataError, match="at least two subjects"):
        split_subjects(RealConfig(), ("sub-1",))
