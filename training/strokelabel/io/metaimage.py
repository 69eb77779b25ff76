"""Reading MetaImage files (.mha, .mhd), the format of ITK: https://itk.org/Wiki/ITK/MetaIO/Documentation.

The world is ITK's (left, posterior, superior). A header without TransformMatrix does not say which side is left, and
is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelabel.errors import DimensionError, HeaderError
from strokelabel.geometry import LPS_TO_RAS, Grid
from strokelabel.io.checks import check_grid, check_shape
from strokelabel.io.stored_volume import (
    UNITS_IN_MM,
    StoredVoxels,
    VolumeHeader,
    affine_of,
    data_file,
)

_MOST_HEADER_LINES = 1000
_MOST_LINE_BYTES = 2**16

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip

_SPELLINGS = {
    "elementbyteordermsb": "binarydatabyteordermsb",
    "position": "offset",
    "origin": "offset",
    "rotation": "transformmatrix",
    "orientation": "transformmatrix",
}
"""Other names that MetaIO takes for a field, in lower case."""


@dataclass(frozen=True, eq=False)
class _Header:
    path: Path
    fields: Mapping[str, str]
    start: int

    def volume(self) -> VolumeHeader:
        sizes = [int(number) for number in self.numbers("DimSize", "number of voxels along each axis")]
        if len(sizes) != int(self.fields.get("ndims", "-1")):
            raise self.error("as many sizes (DimSize) as NDims says", f"{len(sizes)}")
        channels = int(self.fields.get("elementnumberofchannels", "1"))
        if channels != 1:
            raise DimensionError(
                f"expected one number per voxel, found {channels} (ElementNumberOfChannels); save one "
                "channel by itself.",
                source=self.path,
            )
        shape = check_shape(tuple(sizes), str(self.path))
        affine, notes = self.affine(len(sizes))
        check_grid(shape, affine, str(self.path))
        return VolumeHeader(Grid(shape, affine), self.voxels(shape), notes)

    def affine(self, axes: int) -> tuple[np.ndarray, tuple[str, ...]]:
        matrix = self.numbers(
            "TransformMatrix", "directions of its axes, without which no one knows left from right"
        )
        sizes = "ElementSpacing" if "elementspacing" in self.fields else "ElementSize"
        spacing = self.numbers(sizes, "mm from voxel to voxel (ElementSpacing)")
        origin = self.numbers("Offset", "place of the first voxel") if "offset" in self.fields else None
        if matrix.size != axes**2 or spacing.size != axes or (origin is not None and origin.size != axes):
            raise self.error(
                f"{axes**2} numbers in TransformMatrix, {axes} in {sizes} and in Offset", "others"
            )
        directions = matrix.reshape(axes, axes)[:3, :3].T  # an axis a row
        unit = self.fields.get("distanceunits", "mm").lower()
        if unit not in UNITS_IN_MM:
            raise self.error(f"DistanceUnits among {', '.join(UNITS_IN_MM)}", repr(unit))
        place = None if origin is None else origin[:3]
        return affine_of(directions * spacing[:3], place, LPS_TO_RAS, np.full(3, UNITS_IN_MM[unit]))

    def voxels(self, shape: tuple[int, int, int]) -> StoredVoxels:
        code = _TYPES.get(self.fields.get("elementtype", "").upper())
        if code is None:
            raise self.error("a known ElementType", repr(self.fields.get("elementtype", "none")))
        dtype = np.dtype(code).newbyteorder(">" if self.flag("binarydatabyteordermsb", "False") else "<")
        name = self.fields["elementdatafile"]
        if name.upper().startswith("LIST") or "%" in name:
            raise self.error("voxels in one file", f"{name!r}, several; save the scan as one .mha file")
        path, start = (self.path, self.start) if name.upper() == "LOCAL" else (data_file(self.path, name), 0)
        if not self.flag("binarydata", "True"):
            return StoredVoxels(path, shape, dtype, "text", start)
        if self.flag("compresseddata", "False"):
            return StoredVoxels(path, shape, dtype, "gzip", start)
        skip = int(self.fields.get("headersize", "0"))
        return StoredVoxels(path, shape, dtype, "raw", None if skip == -1 else start, max(skip, 0))

    def flag(self, name: str, default: str) -> bool:
        text = self.fields.get(name, default).lower()
        if text not in ("true", "false", "1", "0"):
            raise self.error(f"True or False as {name}", repr(text))
        return text in ("true", "1")

    def numbers(self, name: str, meaning: str) -> np.ndarray:
        text = self.fields.get(name.lower())
        try:
            if text is not None:
                return np.array([float(part) for part in text.split()])
        except ValueError:
            pass
        found = "none" if text is None else repr(text)
        raise self.error(f"{name}, the {meaning},", f"{found}; save the scan again with it")

    def error(self, expected: str, found: str) -> HeaderError:
        return HeaderError(f"expected {expected} in the MetaImage header, found {found}.", source=self.path)


def read_metaimage_header(path: Path) -> VolumeHeader:
    """Read the header of a MetaImage.

    Raises:
        DimensionError, HeaderError, UnreadableImageError: no 3-D volume, a field that is missing or impossible, or
            voxels in a file that is not there.
        OSError, ValueError: it cannot be read, or is no MetaImage.
    """
    fields = dict[str, str]()
    with path.open("rb") as file:
        for _ in range(_MOST_HEADER_LINES):
            line = file.readline(_MOST_LINE_BYTES).decode("utf-8", "backslashreplace")
            name, separator, text = line.partition("=")
            if line.strip() and not (separator and name.strip().isprintable()):
                break
            known = name.strip().lower()
            if known:
                fields[_SPELLINGS.get(known, known)] = text.strip()
            if known == "elementdatafile" or not line:
                break
        start = file.tell()
    if fields.get("objecttype", "Image").lower() != "image" or not fields.get("elementdatafile"):
        raise ValueError("it has no header of an image that ends with ElementDataFile")
    return _Header(path, fields, start).volume()
