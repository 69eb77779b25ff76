"""MetaImage headers as programs write them, and what they leave unsaid."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from strokelabel.errors import DimensionError, HeaderError, ImageError, UnreadableImageError
from strokelabel.io import read_image
from support.image_formats import rigid_affine
from support.label_data import RAS_TO_LPS


def header_of(**fields):
    """The text of a header; a field of None is left out."""
    lps = RAS_TO_LPS @ rigid_affine()[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    known = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": False,
        "TransformMatrix": " ".join(map(repr, map(float, (lps[:, :3] / spacing).T.ravel()))),
        "Offset": " ".join(map(repr, map(float, lps[:, 3]))),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": " ".join(map(repr, map(float, spacing))),
        "DimSize": "9 12 7",
        "ElementType": "MET_SHORT",
        **fields,
    }
    known["ElementDataFile"] = known.pop("ElementDataFile", "LOCAL")
    return "".join(f"{name} = {value}\n" for name, value in known.items() if value is not None).encode()


def write(folder, data, voxels=None, **fields):
    path = folder / "scan.mha"
    path.write_bytes(header_of(**fields) + (data.tobytes(order="F") if voxels is None else voxels))
    return path


def same(path, data, affine=None):
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, rigid_affine() if affine is None else affine, atol=1e-4)
    return image


@pytest.mark.parametrize("msb", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_both_orders_of_bytes_compressed_or_not_are_read(tmp_path, scan, msb, packed):
    voxels = scan.astype(">i2" if msb else "<i2").tobytes(order="F")
    voxels = zlib.compress(voxels) if packed else voxels
    same(write(tmp_path, scan, voxels, CompressedData=packed, ElementByteOrderMSB=msb), scan)


def test_numbers_as_text_are_read(tmp_path, scan):
    text = " ".join(map(str, scan.ravel(order="F"))).encode()
    same(write(tmp_path, scan, text, BinaryData="False"), scan)


@pytest.mark.parametrize("size", [6, -1])
def test_a_header_before_the_voxels_is_skipped(tmp_path, scan, size):
    (tmp_path / "x.raw").write_bytes(b"header" + scan.tobytes(order="F"))
    path = tmp_path / "x.mhd"
    path.write_bytes(header_of(HeaderSize=size, ElementDataFile="x.raw"))
    same(path, scan)


def test_a_header_without_directions_is_refused_and_nothing_assumed(tmp_path, scan):
    with pytest.raises(HeaderError, match=r"TransformMatrix.* no one knows left from right"):
        read_image(write(tmp_path, scan, TransformMatrix=None, AnatomicalOrientation="RAI"))
    with pytest.raises(HeaderError, match="ElementSpacing"):
        read_image(write(tmp_path, scan, ElementSpacing=None))


def test_a_missing_origin_is_said_in_a_note(tmp_path, scan):
    affine = rigid_affine()
    affine[:3, 3] = 0
    image = same(write(tmp_path, scan, Offset=None), scan, affine)
    assert len(image.notes) == 1 and "no origin" in image.notes[0]


def test_other_names_of_fields_are_known(tmp_path, scan):
    header = header_of()
    names = {"TransformMatrix": "Orientation", "Offset": "Position", "ElementSpacing": "ElementSize"}
    for name, other in names.items():
        header = header.replace(name.encode(), other.encode())
    (tmp_path / "x.mha").write_bytes(header + scan.tobytes(order="F"))
    same(tmp_path / "x.mha", scan)


def test_vectors_and_several_volumes_are_refused_and_one_volume_of_four_axes_is_read(tmp_path, scan):
    with pytest.raises(DimensionError, match="one number per voxel, found 3"):
        read_image(write(tmp_path, scan, ElementNumberOfChannels=3))
    four = {"NDims": 4, "TransformMatrix": " ".join(map(str, np.eye(4).ravel())), "Offset": "0 0 0 0"}
    four["ElementSpacing"] = "1 1 1 1"
    with pytest.raises(DimensionError, match="one 3-D volume, found 4-D"):
        read_image(write(tmp_path, scan, DimSize="9 12 7 2", **four))
    same(write(tmp_path, scan, DimSize="9 12 7 1", **four), scan, np.diag([-1, -1, 1, 1]))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ElementType": "MET_STRING"}, "a known ElementType"),
        ({"DimSize": "9 12"}, "as many sizes"),
        ({"DimSize": "nine"}, "DimSize, the number of voxels"),
        ({"NDims": None}, "as many sizes"),
        ({"TransformMatrix": "1 0 0 0"}, "9 numbers in TransformMatrix"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "three independent axes"),
        ({"ElementSpacing": "0 0 0"}, "three independent axes"),
        ({"BinaryData": "perhaps"}, "True or False"),
        ({"ObjectType": "Tube"}, "no header of an image"),
        ({"DimSize": "9 12 70"}, "truncated"),
        ({"DimSize": "9 12 3"}, "it continues after"),
        ({"DimSize": "90000 90000 90000"}, "at most 1,073,741,824 voxels"),
        ({"ElementDataFile": "LIST"}, "voxels in one file"),
        ({"ElementDataFile": "slice%03d.raw 1 7 1"}, "voxels in one file"),
        ({"ElementDataFile": "../x.raw"}, "a file beside the header"),
        ({"DistanceUnits": "furlong"}, "DistanceUnits among"),
    ],
)
def test_broken_headers_are_refused_by_what_is_wrong(tmp_path, scan, fields, expected):
    with pytest.raises(ImageError, match=expected) as error:
        read_image(write(tmp_path, scan, **fields))
    assert str(tmp_path / "scan.mha") in str(error.value)


def test_voxels_that_are_not_there_are_named(tmp_path):
    (tmp_path / "x.mhd").write_bytes(header_of(ElementDataFile="x.zraw"))
    with pytest.raises(UnreadableImageError, match=r"'x\.zraw' beside the header, found no such file"):
        read_image(tmp_path / "x.mhd")
