"""A label comes back onto its scan's grid from every order of axes, voxel for voxel, or is refused."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.refusals import InvalidRequestError
from lib.studies.label_grid import QFORM_NOTE, check_label, read_on_grid, read_reference
from strokelabel.io.images import write_nifti
from support.app_scans import SHAPE, head, lesion, oblique_affine, save
from support.label_data import write_nrrd, write_segmentation
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered, shifted


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("scan") / "scan.nii.gz", head())


def truth() -> np.ndarray:
    """A lesion that no flip or swap of axes leaves as it is."""
    mask = lesion().astype(np.uint8)
    mask[2:9, 3, 1:4] = 1
    return mask


@pytest.mark.parametrize("kind", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("turn", ORIENTATIONS, ids=ORIENTATION_IDS)
def test_a_label_comes_back_from_all_48_orders_of_axes(
    scan: Path, tmp_path: Path, turn: np.ndarray, kind: str
) -> None:
    data, affine = reordered(truth(), oblique_affine(), turn)
    path = tmp_path / f"label{kind}"
    if kind == ".nrrd":
        write_nrrd(path, data, affine)
    else:
        nib.Nifti1Image(data, affine).to_filename(path)
    label = check_label(path, scan, "scan", {})
    assert np.array_equal(label.data, truth())
    write_nifti(tmp_path / "kept.nii.gz", label.data, label.like, np.uint8)
    assert np.array_equal(nib.load(tmp_path / "kept.nii.gz").affine, nib.load(scan).affine)


def test_a_rounded_label_is_kept_on_the_scans_exact_grid(scan: Path, tmp_path: Path) -> None:
    affine = np.round(oblique_affine(), 4)
    assert not np.array_equal(affine, oblique_affine())
    label = check_label(save(tmp_path / "x.nii.gz", truth(), affine), scan, "scan", {})
    assert np.array_equal(label.data, truth())
    assert np.array_equal(label.like.affine, read_reference(scan, "scan").affine)


@pytest.mark.parametrize("voxels", [(4, 0, 0), (0, -1, 0), (0, 0, 1)])
def test_a_label_of_the_scans_size_that_is_moved_by_whole_voxels_is_refused(
    scan: Path, tmp_path: Path, voxels: tuple[int, int, int]
) -> None:
    path = save(tmp_path / "x.nii.gz", truth(), shifted(oblique_affine(), *voxels))
    with pytest.raises(InvalidRequestError, match=re.escape(f"begins {voxels} voxels away")):
        check_label(path, scan, "scan", {})


def left_handed(folder: Path) -> tuple[Path, np.ndarray]:
    """An LAS scan, as dcm2niix writes it, and its affine."""
    affine = np.diag([-1.9, 1.6, 3.4, 1.0])
    affine[:3, 3] = (30, -40, -20)
    return save(folder / "las.nii.gz", head(), affine), affine


def test_a_mask_of_a_left_handed_scan_comes_back_as_slicer_flips_it(tmp_path: Path) -> None:
    scan, affine = left_handed(tmp_path)
    data, flipped = reordered(truth(), affine, np.array([[0, 1], [1, 1], [2, -1]]))
    assert np.linalg.det(affine[:3, :3]) < 0 < np.linalg.det(flipped[:3, :3])
    path = write_segmentation(tmp_path / "label.seg.nrrd", {"lesion": data > 0}, flipped)
    assert np.array_equal(check_label(path, scan, "las", {}).data, truth())


@pytest.mark.parametrize(
    "names", [{}, {"label_info": [{"name": "lesion", "idx": 5}, {"name": "CSF", "idx": 4}]}]
)
def test_a_cropped_segmentation_of_two_layers_is_pasted_where_it_belongs(
    scan: Path, tmp_path: Path, names: dict
) -> None:
    mask = truth() > 0
    other = np.roll(mask, 2, axis=1)
    places = np.argwhere(mask | other)
    crop = tuple(slice(a, b + 1) for a, b in zip(places.min(0), places.max(0), strict=True))
    path = write_segmentation(tmp_path / "x.seg.nrrd", {"lesion": mask, "CSF": other}, oblique_affine(), crop)
    label = check_label(path, scan, "scan", names)
    values = {entry["name"].lower(): entry["idx"] for entry in label.info["label_info"]}
    assert np.array_equal(label.data == values["lesion"], mask)
    assert np.array_equal(label.data == values["csf"], other & ~mask)


def test_an_empty_segmentation_is_an_empty_label(scan: Path, tmp_path: Path) -> None:
    path = write_segmentation(tmp_path / "x.seg.nrrd", {"lesion": np.zeros(SHAPE, bool)}, oblique_affine())
    assert not check_label(path, scan, "scan", {}).data.any()


def test_a_segmentation_beyond_the_scan_is_refused_with_how_much_is_outside(
    scan: Path, tmp_path: Path
) -> None:
    moved = oblique_affine()
    moved[:3, 3] += moved[:3, :3] @ [0, 0, -4]
    mask = np.zeros(SHAPE, bool)
    mask[3, 4, 2:6] = True
    path = write_segmentation(tmp_path / "x.seg.nrrd", {"lesion": mask}, moved)
    with pytest.raises(InvalidRequestError, match="found 2 voxels of them outside"):
        check_label(path, scan, "scan", {})


@pytest.mark.parametrize("shift", [0.5, 0.1])
def test_a_segmentation_between_the_voxels_is_refused(scan: Path, tmp_path: Path, shift: float) -> None:
    moved = oblique_affine()
    moved[:3, 3] += moved[:3, :3] @ [0, shift, 0]
    path = write_segmentation(tmp_path / "x.seg.nrrd", {"lesion": truth() > 0}, moved)
    with pytest.raises(InvalidRequestError, match=r"with voxels at other positions .* export it again"):
        check_label(path, scan, "scan", {})


def test_a_plain_label_of_another_size_is_refused_and_not_pasted(scan: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "small.nii.gz", truth()[:5, :6, :7])
    with pytest.raises(InvalidRequestError, match=r"\(34, 45, 18\).*different size .*\(5, 6, 7\)"):
        check_label(path, scan, "scan", {})


@pytest.mark.parametrize("code", [2, 4])
def test_a_label_on_the_grid_of_the_qform_is_brought_to_the_sforms_and_says_so(
    tmp_path: Path, code: int
) -> None:
    image = nib.Nifti1Image(head(), oblique_affine())
    qform = np.diag([1.9, 1.6, 3.4, 1.0])
    image.header.set_sform(oblique_affine(), code)
    image.header.set_qform(qform, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    data, affine = reordered(truth(), qform, np.array([[0, -1], [1, 1], [2, 1]]))
    label = check_label(
        write_nrrd(tmp_path / "label.nrrd", data, affine), tmp_path / "scan.nii.gz", "scan", {}
    )
    assert np.array_equal(label.data, truth()) and label.info["notes"] == [QFORM_NOTE]


TWO = {"label_info": [{"name": "lesion", "idx": 7}, {"name": "x", "id": 9}]}


@pytest.mark.parametrize(
    ("values", "info", "kept", "names"),
    [
        ({1: 255}, {}, {1: 1}, None),
        ({1: 5}, {}, {1: 5}, None),
        ({1: 255}, {"label_info": [{"name": "lesion", "idx": 3}]}, {1: 3}, ["lesion"]),
        ({1: 7, 2: 9}, TWO, {1: 7, 2: 9}, ["lesion", "x"]),
    ],
)  # fmt: skip
def test_values_that_are_named_are_kept_and_those_of_a_single_mask_made_so(
    scan: Path,
    tmp_path: Path,
    values: dict[int, int],
    info: dict,
    kept: dict[int, int],
    names: list[str] | None,
) -> None:
    where = {1: (slice(2, 5), slice(3, 9), 4), 2: (slice(7, 9), 4, slice(2, 7))}
    data, expected = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    for part, value in values.items():
        data[where[part]], expected[where[part]] = value, kept[part]
    label = check_label(save(tmp_path / "x.nii.gz", data), scan, "scan", info)
    assert label.data.dtype == np.uint8 and np.array_equal(label.data, expected)
    assert (
        [entry["name"] for entry in label.info["label_info"]] == names
        if names
        else "label_info" not in label.info
    )


@pytest.mark.parametrize(
    ("values", "info"),
    [
        ([1, 7], {}),
        ([1, 2], {}),
        ([4, 5], {}),
        ([-1, 0], {}),
        ([2, 0], {"label_info": [{"name": "lesion", "idx": 1}, {"name": "edema", "idx": 3}]}),
        ([300, 0], {"label_info": [{"name": "lesion", "idx": 300}]}),
        ([0.5, 0], {}),
        ([np.nan, 0], {}),
        ([np.inf, 0], {}),
    ],
)
@pytest.mark.parametrize("kind", [".nii", ".nrrd"])
def test_values_that_nobody_named_are_refused(
    scan: Path, tmp_path: Path, values: list, info: dict, kind: str
) -> None:
    data = np.zeros(SHAPE, np.float32)
    data[1, 2, 3:5] = values
    path = tmp_path / f"x{kind}"
    path = write_nrrd(path, data, oblique_affine()) if kind == ".nrrd" else save(path, data)
    with pytest.raises(InvalidRequestError, match=r"label.*: expected .* found"):
        check_label(path, scan, "scan", info)


def test_a_nrrd_that_names_another_file_is_never_followed(scan: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(truth().tobytes(order="F"))
    text = write_nrrd(tmp_path / "x.nrrd", truth(), oblique_affine(), encoding="raw").read_bytes()
    header = text[: text.index(b"\n\n")]
    (tmp_path / "x.nrrd").write_bytes(header + b"\ndata file: secret.raw\n\n")
    with pytest.raises(InvalidRequestError, match="found one with a detached data file"):
        read_on_grid(tmp_path / "x.nrrd", read_reference(scan, "scan"))


@pytest.mark.parametrize("content", [b"", b"NRRD0004\n", b"text", bytes(range(256)) * 3])
@pytest.mark.parametrize("kind", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd"])
def test_a_file_that_is_no_label_is_refused_in_a_sentence(
    scan: Path, tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / f"x{kind}"
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match="the label file") as refused:
        check_label(path, scan, "scan", {})
    assert str(tmp_path) not in str(refused.value) and "\n" not in str(refused.value)
