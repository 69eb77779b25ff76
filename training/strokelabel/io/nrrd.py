"""Reading NRRD files (.nrrd, .nhdr), the format of 3D Slicer: http://teem.sourceforge.net/nrrd/format.html.

Nothing is taken for fact that a header does not say: without `space` and `space directions` no one knows which side is
left, and the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from strokelabel.errors import DimensionError, HeaderError
from strokelabel.geometry import LPS_TO_RAS, Grid
from strokelabel.io.checks import MAX_VOXELS, check_grid, check_shape
from strokelabel.io.stored_volume import (
    UNITS_IN_MM,
    Encoding,
    StoredVoxels,
    VolumeHeader,
    affine_of,
    data_file,
)

_MOST_HEADER_BYTES = 2**24
_MAGIC = re.compile(r"NRRD000[1-5]")

_TO_RAS = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
}
"""Matrix from each anatomical space to RAS."""

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
"""Names of each type of voxel, by numpy's code without the byte order."""

_CODES = {name: code for code, names in _TYPES.items() for name in names}
_ORDERS = {"little": "<", "big": ">"}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
    "txt": "text", "text": "text", "ascii": "text",
}  # fmt: skip
_VECTOR = re.compile(r"none|\([^()]*\)", re.IGNORECASE)
_UNITS = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, eq=False)
class NrrdHeader:
    """Header of a NRRD file.

    Attributes:
        path: the file.
        fields: name in lower case -> text of the fields that the format defines.
        texts: further names and texts (`name:=text`), such as those of 3D Slicer about segments.
        start: byte after the header.
    """

    path: Path
    fields: Mapping[str, str]
    texts: Mapping[str, str]
    start: int

    @property
    def is_detached(self) -> bool:
        """True if the voxels are in another file."""
        return "data file" in self.fields

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values along each axis, the fastest first.

        Raises:
            HeaderError: missing, or more than any head scan has.
        """
        sizes = self._numbers("sizes", int)
        dimension = self._numbers("dimension", int)
        if len(dimension) != 1 or len(sizes) != dimension[0] or min(sizes) < 0:
            raise self._error("as many sizes as its dimension says", f"{len(sizes)} of {dimension}")
        if prod(sizes) > MAX_VOXELS:
            raise self._error(f"at most {MAX_VOXELS:,} voxels", f"{prod(sizes):,} {tuple(sizes)}")
        return tuple(sizes)

    @property
    def spatial(self) -> tuple[bool, ...]:
        """True for each axis that has a direction in space.

        Raises:
            HeaderError: the header does not say how the axes lie in space.
        """
        if self.to_ras is None or "space directions" not in self.fields:
            what = "space directions" if self.to_ras is not None else "space"
            found = repr(self.fields[what]) if what in self.fields else "none"
            raise self._error(
                f"{what} that say which way left, front and top are (space: left-posterior-superior, "
                "right-anterior-superior or left-anterior-superior, with space directions)",
                f"{found}; nothing is assumed for it: save the scan again with its orientation, as 3D Slicer does",
            )
        found_axes = _vectors(self.fields["space directions"])
        if found_axes is None or len(found_axes) != len(self.sizes):
            raise self._error(
                "space directions with a vector or none for each axis", repr(self.fields["space directions"])
            )
        return tuple(vector is not None for vector in found_axes)

    @property
    def to_ras(self) -> np.ndarray | None:
        """Matrix (4, 4) from the header's space to RAS; None where the header names no anatomical space."""
        return _TO_RAS.get(self.fields.get("space", "").lower())

    def affine(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the affine (4, 4) of the three axes in space to RAS mm, and notes.

        Raises:
            HeaderError: the header does not say, or not three axes of three numbers.
        """
        axes = np.flatnonzero(self.spatial)
        vectors = _vectors(self.fields["space directions"]) or []
        found = [vector for vector in vectors if vector is not None]
        origin = _vectors(self.fields["space origin"]) if "space origin" in self.fields else None
        if len(axes) != 3 or any(len(vector) != 3 for vector in found):
            raise self._error("three axes with directions of three numbers", f"{found}")
        if origin is not None and (len(origin) != 1 or origin[0] is None or len(origin[0]) != 3):
            raise self._error("space origin of three numbers", repr(self.fields["space origin"]))
        assert self.to_ras is not None  # `spatial` has refused
        place = None if origin is None else np.array(origin[0])
        return affine_of(np.array(found).T, place, self.to_ras, self._unit_factors())

    def voxels(self) -> StoredVoxels:
        """Return the place and form of the voxels.

        Raises:
            HeaderError: an unknown type or encoding, or voxels in several files or outside the header's folder.
            UnreadableImageError: the file that holds them is not there.
        """
        code = _CODES.get(" ".join(self.fields.get("type", "").lower().split()))
        encoding = _ENCODINGS.get(self.fields.get("encoding", "").lower())
        order = _ORDERS.get(self.fields.get("endian", "").lower())
        if code is None or encoding is None:
            what = "type" if code is None else "encoding"
            raise self._error(f"a known {what} of voxels", repr(self.fields.get(what, "none")))
        if order is None and code[1] != "1" and encoding != "text":
            raise self._error(
                "the order of bytes (endian: little or big)", repr(self.fields.get("endian", "none"))
            )
        lines, skip = (self._skip(name) for name in ("line skip", "byte skip"))
        if skip < -1 or lines < 0 or (skip == -1 and encoding != "raw"):
            raise self._error("a number of skipped lines and bytes", f"{lines} and {skip}")
        path, start = self._place()
        dtype = np.dtype(f"{order or '<'}{code}")
        if skip == -1:
            return StoredVoxels(path, self.sizes, dtype, encoding, None)
        return StoredVoxels(path, self.sizes, dtype, encoding, start, skip, lines)

    def volume(self) -> VolumeHeader:
        """Return the header of one 3-D volume.

        Raises:
            DimensionError: vectors, colours or several volumes.
            HeaderError, UnreadableImageError: and as `affine` and `voxels`.
        """
        source = str(self.path)
        sizes = self.sizes
        if "space directions" not in self.fields and len(sizes) != 3:
            check_shape(sizes, source)
        spatial = self.spatial if len(sizes) > 3 or "space" in self.fields else (True,) * len(sizes)
        beside = [size for size, in_space in zip(sizes, spatial, strict=True) if not in_space]
        if max(beside, default=1) > 1 or len(beside) + 3 < len(sizes):
            raise DimensionError(
                f"expected one 3-D volume, found data of shape {sizes}{self._kinds()}; "
                "choose one volume (a time point, a b-value, a channel) and save it by itself.",
                source=source,
            )
        shape = check_shape(tuple(s for s, in_space in zip(sizes, spatial, strict=True) if in_space), source)
        affine, notes = self.affine()
        check_grid(shape, affine, source)
        return VolumeHeader(Grid(shape, affine), self.voxels(), notes)

    def _place(self) -> tuple[Path, int]:
        if not self.is_detached:
            return self.path, self.start
        name = self.fields["data file"]
        if name.startswith("LIST") or re.search(r"%[-+0-9]*d", name):
            raise self._error("voxels in one file", f"{name!r}, several; save the scan as one .nrrd file")
        return data_file(self.path, name), 0

    def _skip(self, name: str) -> int:
        return self._numbers(name, int)[0] if name in self.fields else 0

    def _numbers(self, name: str, kind: Callable[[str], int]) -> list[int]:
        try:
            return [kind(part) for part in self.fields[name].split()]
        except (KeyError, ValueError) as error:
            found = repr(self.fields[name]) if name in self.fields else "none"
            raise self._error(f"whole numbers as {name}", found) from error

    def _unit_factors(self) -> np.ndarray:
        names = _UNITS.findall(self.fields.get("space units", ""))
        if not names or not any(names):
            return np.ones(3)
        if len(names) != 3 or any(name not in UNITS_IN_MM for name in names):
            raise self._error(f"space units among {', '.join(UNITS_IN_MM)}", repr(self.fields["space units"]))
        return np.array([UNITS_IN_MM[name] for name in names])

    def _kinds(self) -> str:
        return f" (kinds: {self.fields['kinds']})" if "kinds" in self.fields else ""

    def _error(self, expected: str, found: str) -> HeaderError:
        return HeaderError(f"expected {expected} in the NRRD header, found {found}.", source=self.path)


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read the header of a NRRD file.

    Raises:
        HeaderError: a field that is there twice.
        OSError, ValueError: it cannot be read, or is no NRRD.
    """
    fields, texts = dict[str, str](), dict[str, str]()
    with path.open("rb") as file:
        if _MAGIC.fullmatch(_line(file)) is None:
            raise ValueError("it does not begin with NRRD and the number of a version from 1 to 5")
        while line := _line(file):
            if line.startswith("#"):
                continue
            name, separator, text = line.partition(":=")
            if separator and ": " not in name:
                texts[name] = text
                continue
            name, separator, text = line.partition(":")
            name = _SPELLINGS.get(name.strip().lower(), name.strip().lower())
            if not separator or name in fields:
                what = "a field once" if separator else "fields (name: value)"
                raise HeaderError(f"expected {what} in the NRRD header, found {line[:60]!r}.", source=path)
            fields[name] = text.strip()
            if name == "data file" and text.strip().startswith("LIST"):
                break
        return NrrdHeader(path, fields, texts, file.tell())


_SPELLINGS = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}


def _line(file: IO[bytes]) -> str:
    """Return the next line of a header without its end; "" at the empty line or the file's end, which end it.

    3D Slicer writes UTF-8 where the format has ASCII.
    """
    line = file.readline(_MOST_HEADER_BYTES)
    if file.tell() > _MOST_HEADER_BYTES:
        raise ValueError(f"its header does not end within {_MOST_HEADER_BYTES:,} bytes")
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")


def _vectors(text: str) -> list[list[float] | None] | None:
    """Return the vectors of a text such as "none (1,0,0) (0,1,0)"; None for any other text."""
    found: list[list[float] | None] = []
    if _VECTOR.sub("", text).strip():
        return None
    for vector in _VECTOR.findall(text):
        if vector.lower() == "none":
            found.append(None)
            continue
        try:
            numbers = [float(part) for part in vector[1:-1].split(",")]
        except ValueError:
            return None
        found.append(None if all(np.isnan(numbers)) else numbers)
    return found
