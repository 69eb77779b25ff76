"""NRRD headers as programs write them, and what they leave unsaid."""

from __future__ import annotations

import bz2
import gzip

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from strokelabel.errors import DimensionError, HeaderError, ImageError, UnreadableImageError
from strokelabel.io import read_image
from support.image_formats import rigid_affine
from support.label_data import RAS_TO_LPS, write_nrrd

NAMES = {"LPS": "left-posterior-superior", "RAS": "right-anterior-superior", "LAS": "left-anterior-superior"}
FROM_RAS = {"LPS": RAS_TO_LPS, "RAS": np.eye(3), "LAS": np.diag([-1.0, 1, 1])}


def header_of(space="left-posterior-superior", shape=(9, 12, 7), **fields):
    """The text of a header; a field of None is left out."""
    affine = rigid_affine()
    lps = RAS_TO_LPS @ affine[:3]
    vectors = [f"({','.join(map(repr, map(float, lps[:, axis])))})" for axis in range(4)]
    known = {
        "type": "short",
        "dimension": "3",
        "space": space,
        "sizes": " ".join(map(str, shape)),
        "space directions": " ".join(vectors[:3]),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": vectors[3],
    }
    known |= {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in known.items() if value is not None]
    return "\n".join(
        ["NRRD0005", "# a comment", *lines, "Segment_Note:=a text: with colons", "", ""]
    ).encode()


def write(folder, data, voxels=None, **fields):
    path = folder / "scan.nrrd"
    path.write_bytes(header_of(**fields) + (data.tobytes(order="F") if voxels is None else voxels))
    return path


def same(path, data, affine=None):
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, rigid_affine() if affine is None else affine, atol=1e-4)
    return image


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("space", NAMES)
def test_left_right_and_front_are_those_of_the_space_that_the_header_names(tmp_path, scan, space, short):
    flip = FROM_RAS[space]
    affine = rigid_affine()
    header = {
        "space": space if short else NAMES[space],
        "space directions": (flip @ affine[:3, :3]).T,
        "space origin": flip @ affine[:3, 3],
    }
    nrrd.write(str(tmp_path / "x.nrrd"), scan, header, index_order="F")
    same(tmp_path / "x.nrrd", scan)


@pytest.mark.parametrize(
    "space", [None, "scanner-xyz", "3D-right-handed", "right-up", "", "left-posterior-inferior"]
)
def test_a_space_that_is_missing_or_not_anatomical_is_refused_and_nothing_assumed(tmp_path, scan, space):
    with pytest.raises(HeaderError, match=r"space that say which way left.*nothing is assumed"):
        read_image(write(tmp_path, scan, space=space))


def test_spacings_without_directions_are_refused(tmp_path, scan):
    with pytest.raises(HeaderError, match=r"expected space directions .* found none; nothing is assumed"):
        read_image(write(tmp_path, scan, space_directions=None, spacings="1 1 1", space_origin=None))


def test_a_missing_origin_is_said_in_a_note(tmp_path, scan):
    affine = rigid_affine()
    affine[:3, 3] = 0
    image = same(write(tmp_path, scan, space_origin=None), scan, affine)
    assert len(image.notes) == 1 and "no origin" in image.notes[0]


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("raw", bytes), ("gzip", gzip.compress), ("gz", gzip.compress), ("bzip2", bz2.compress)],
)
def test_both_orders_of_bytes_and_all_encodings_are_read(tmp_path, scan, endian, encoding, pack):
    voxels = pack(scan.astype(">i2" if endian == "big" else "<i2").tobytes(order="F"))
    same(write(tmp_path, scan, voxels, endian=endian, encoding=encoding), scan)


def test_numbers_as_text_are_read(tmp_path, scan):
    text = " ".join(map(str, scan.ravel(order="F"))).encode()
    same(write(tmp_path, scan, text, encoding="ascii"), scan)
    with pytest.raises(ImageError, match=r"755 of 756 numbers"):
        read_image(write(tmp_path, scan, text.rpartition(b" ")[0], encoding="ascii"))


@pytest.mark.parametrize(
    "skip", [{"byte_skip": "10"}, {"byte_skip": "-1"}, {"line_skip": "1", "byteskip": "4"}]
)
def test_skipped_lines_and_bytes_are_skipped(tmp_path, scan, skip):
    voxels = b"a line\nskip" + scan.tobytes(order="F")
    if skip == {"byte_skip": "10"}:
        voxels = voxels[1:]
    same(write(tmp_path, scan, voxels, **skip), scan)


def test_what_simpleitk_says_of_a_header_is_what_we_say(tmp_path, scan):
    path = write(tmp_path, scan)
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(read_image(path).affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-5)


def test_sheared_directions_are_kept(tmp_path, scan):
    affine = rigid_affine()
    affine[:3, 2] += 0.3 * affine[:3, 1]
    same(write_nrrd(tmp_path / "tilted.nrrd", scan, affine), scan, affine)


def test_units_other_than_mm_are_converted_and_said(tmp_path, scan):
    image = read_image(write(tmp_path, scan, space_units='"cm" "cm" "cm"'))
    np.testing.assert_allclose(image.affine[:3], 10 * rigid_affine()[:3], atol=1e-3)
    assert "converted to mm" in image.notes[0]
    same(write(tmp_path, scan, space_units='"mm" "mm" "mm"'), scan)
    with pytest.raises(HeaderError, match="space units among"):
        read_image(write(tmp_path, scan, space_units='"px" "px" "px"'))


@pytest.mark.parametrize("kind", ["vector", "RGB-color", "list"])
def test_vectors_colours_and_sequences_are_refused(tmp_path, scan, kind):
    data = np.stack([scan] * 3)
    path = write_nrrd(tmp_path / "x.nrrd", data, rigid_affine(), kinds=[kind, "domain", "domain", "domain"])
    with pytest.raises(DimensionError, match=rf"one 3-D volume, found data of shape \(3, 9, 12, 7\).*{kind}"):
        read_image(path)


def test_a_sequence_of_one_volume_is_read(tmp_path, scan):
    same(write_nrrd(tmp_path / "x.nrrd", scan[None], rigid_affine()), scan)


def test_a_single_slice_is_refused(tmp_path, scan):
    with pytest.raises(DimensionError, match="single slice"):
        read_image(write(tmp_path, scan[:, :, :1], shape=(9, 12, 1)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "block"}, "a known type"),
        ({"type": None}, "a known type .* found 'none'"),
        ({"encoding": "hex"}, "a known encoding"),
        ({"endian": None}, "the order of bytes"),
        ({"sizes": "9 12"}, "as many sizes"),
        ({"sizes": "nine 12 7"}, "whole numbers as sizes"),
        ({"dimension": None}, "whole numbers as dimension"),
        ({"sizes": "90000 90000 90000"}, "at most 1,073,741,824 voxels"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "a vector or none for each axis"),
        ({"space_directions": "(1,0,0) (0,1,0) none"}, "one 3-D volume|three axes"),
        ({"space_directions": "(1,0) (0,1) (0,0)"}, "directions of three numbers"),
        ({"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}, "three independent axes"),
        ({"space_directions": "(1,0,0) (0,inf,0) (0,0,1)"}, "finite"),
        ({"space_origin": "(1,2)"}, "space origin of three numbers"),
        ({"sizes ": "9 12 7"}, "a field once"),
        ({"byte_skip": "-2"}, "skipped lines and bytes"),
        ({"sizes": "9 12 70"}, "truncated"),
        ({"sizes": "9 12 3"}, "it continues after the"),
    ],
)
def test_broken_headers_are_refused_by_what_is_wrong(tmp_path, scan, fields, expected):
    with pytest.raises(ImageError, match=expected) as error:
        read_image(write(tmp_path, scan, **fields))
    assert str(tmp_path / "scan.nrrd") in str(error.value)


def test_voxels_that_are_corrupt_or_unpack_to_far_more_are_refused(tmp_path, scan):
    packed = bytearray(gzip.compress(scan.tobytes(order="F")))
    packed[-6] ^= 0xFF  # check sum
    with pytest.raises(UnreadableImageError, match="reading failed"):
        read_image(write(tmp_path, scan, bytes(packed), encoding="gzip"))
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(UnreadableImageError, match="it continues after"):
        read_image(write(tmp_path, scan, bomb, encoding="gzip"))


@pytest.mark.parametrize(
    "name", ["../secret.raw", "/etc/hostname", "sub/../../x.raw", "C:\\x.raw", "..\\secret.raw"]
)
def test_a_header_cannot_open_files_outside_its_folder(tmp_path, scan, name):
    (tmp_path / "secret.raw").write_bytes(scan.tobytes(order="F"))
    (tmp_path / "study").mkdir()
    path = tmp_path / "study" / "x.nhdr"
    path.write_bytes(header_of(data_file=name))
    with pytest.raises(HeaderError, match="a file beside the header"):
        read_image(path)


def test_voxels_in_a_file_beside_the_header_or_below_are_read_and_a_missing_one_is_named(tmp_path, scan):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.raw").write_bytes(scan.tobytes(order="F"))
    path = tmp_path / "x.nhdr"
    path.write_bytes(header_of(data_file="raw/x.raw"))
    same(path, scan)
    path.write_bytes(header_of(datafile="./raw/x.raw"))
    same(path, scan)
    path.write_bytes(header_of(data_file="other.raw"))
    with pytest.raises(UnreadableImageError, match=r"'other\.raw' beside the header, found no such file"):
        read_image(path)


@pytest.mark.parametrize("name", ["LIST", "slice%03d.raw 1 7 1"])
def test_voxels_in_several_files_are_refused(tmp_path, scan, name):
    with pytest.raises(HeaderError, match="voxels in one file"):
        read_image(write(tmp_path, scan, data_file=name))
