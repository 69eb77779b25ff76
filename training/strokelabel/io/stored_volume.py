"""Volumes in files: where a header says that the voxels are, and reading them from there.

Headers come from anywhere. What they announce is checked against the size of the file before memory is allocated.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import nibabel as nib
import numpy as np

from strokelabel.errors import HeaderError, UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.io.checks import as_whole_numbers
from strokelabel.io.file_kinds import what_it_is
from strokelabel.types import Affine

Encoding = Literal["raw", "gzip", "bzip2", "text"]

BEST_COMPRESSION: dict[Encoding, int] = {"raw": 1, "gzip": 1040, "bzip2": 50_000, "text": 1}
"""Largest ratio of voxel bytes to stored bytes: deflate's is about 1032 (zlib's technical notes); of bzip2, runs of one
value reach 45,000; a number as text takes no fewer characters than `_LEAST_CHARACTERS`."""

READ_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    OverflowError,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.spatialimages.ImageDataError,
)
"""Errors that a broken file causes, beside those that say so themselves."""

UNITS_IN_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3}
"""Length in mm of the units that headers name."""

_CHUNK = 2**20
_MOST_FOOTER = 2**26
_LEAST_CHARACTERS = 2
_GZIP_MAGIC = b"\x1f\x8b"
_ZLIB_OR_GZIP = 47


class StoredVolume(NamedTuple):
    """Data (i, j, k), affine (4, 4) to RAS mm, the NIfTI header if the file has one, and notes for the user."""

    data: np.ndarray
    affine: Affine
    header: nib.Nifti1Header | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StoredVoxels:
    """Place and form of voxels, as a header announces them.

    Attributes:
        path: the file that holds them.
        shape: number of values along each axis, the one that varies fastest first.
        dtype: type of a value, byte order included.
        encoding: "gzip" stands for zlib's own format too.
        start: byte of the file at which the (encoded) voxels begin; None where they are its last bytes.
        skip: decoded bytes before them.
        skip_lines: lines of text after `start`, before them.
        may_continue: whether the file may go on after them.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    encoding: Encoding = "raw"
    start: int | None = 0
    skip: int = 0
    skip_lines: int = 0
    may_continue: bool = False

    def read(self) -> np.ndarray:
        """Read the voxels, in the shape and type announced.

        Raises:
            UnreadableImageError: the file cannot hold as many.
            OSError, EOFError, ValueError, zlib.error: it ends too early, continues after them, or is corrupt.
        """
        size, length = self.path.stat().st_size, self._bytes
        start = max(size - length, 0) if self.start is None else self.start
        self._check_size(size - start)
        with self.path.open("rb") as file:
            file.seek(start)
            for _ in range(self.skip_lines):
                file.readline()
            if self.encoding == "text":
                return self._from_text(file)
            most = None if self.may_continue else max(length // max(self.shape), 1)
            content = _filled(_DECODERS[self.encoding](file), self.skip, length, most)
        return np.frombuffer(content, self.dtype).reshape(self.shape, order="F")

    @property
    def _bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def _check_size(self, size: int) -> None:
        least = (
            prod(self.shape) * _LEAST_CHARACTERS - 1 if self.encoding == "text" else self._bytes + self.skip
        )
        if least > size * BEST_COMPRESSION[self.encoding]:
            raise UnreadableImageError(
                f"expected {self._bytes:,} bytes of voxels, found {max(size, 0):,} bytes"
                f"{'' if self.encoding == 'raw' else f' ({self.encoding})'}: the file is truncated or its header is "
                "wrong; copy or export it again.",
                source=self.path,
            )

    def _from_text(self, file: IO[bytes]) -> np.ndarray:
        values = np.array(file.read().split(), dtype=np.float64)
        if values.size != prod(self.shape):
            raise ValueError(f"it has {values.size:,} of {prod(self.shape):,} numbers")
        return values.astype(self.dtype).reshape(self.shape, order="F")


@dataclass(frozen=True)
class VolumeHeader:
    """Header of a file that holds one volume.

    Attributes:
        grid: of the volume.
        voxels: where they are; axes of one voxel that are no axes of the grid may be among theirs.
        notes: for the user.
    """

    grid: Grid
    voxels: StoredVoxels
    notes: tuple[str, ...] = ()

    def read(self, dtype: type[np.float32] | type[np.int32], source: Path) -> StoredVolume:
        """Read the volume.

        Args:
            dtype: float32 for scans; int32 for labels, which must then be whole numbers.
            source: the file that was named, for messages.

        Raises:
            UnreadableImageError, LabelMapError: and as `StoredVoxels.read`.
        """
        values = self.voxels.read().reshape(self.grid.shape, order="F")
        if dtype is np.int32:
            data = as_whole_numbers(values, str(source))
        else:
            with np.errstate(over="ignore"):  # becomes infinite, which the check of values reports
                data = values.astype(np.float32)
        return StoredVolume(data, self.grid.affine, None, self.notes)


def unreadable(path: Path, error: BaseException, kind: str) -> UnreadableImageError:
    """Return an error that says why a file could not be read.

    Args:
        path: the file.
        error: of a library or the system.
        kind: of file that was expected, such as "a NIfTI file".
    """
    noun = kind.partition(" ")[2]
    found = what_it_is(path)
    if found is not None and kind not in found:
        return UnreadableImageError(f"expected a readable {noun}, found {found}.", source=path)
    said = getattr(error, "strerror", None) or str(error)  # of the system, without the path
    reason = " ".join(said.split()) or type(error).__name__
    return UnreadableImageError(
        f"expected a readable {noun}, but reading failed: {reason}; it is truncated, corrupt or "
        "of another format: copy or export it again.",
        source=path,
    )


def data_file(header: Path, name: str) -> Path:
    """Return the file beside a header that holds its voxels.

    Raises:
        HeaderError: the name leads out of the header's folder: a header from anywhere must not open any file.
        UnreadableImageError: there is no such file.
    """
    parts = Path(name.replace("\\", "/")).parts
    if not parts or Path(name).is_absolute() or ".." in parts or ":" in parts[0]:
        raise HeaderError(
            f"expected the name of a file beside the header as the place of its voxels, found {name!r}; put both into "
            "one folder and name it so in the header, or save the scan as one file.",
            source=header,
        )
    path = header.parent.joinpath(*parts)
    if not path.is_file():
        raise UnreadableImageError(
            f"expected the voxels in {name!r} beside the header, found no such file; copy both, or save the scan "
            "as one file.",
            source=header,
        )
    return path


def affine_of(
    directions: np.ndarray, origin: np.ndarray | None, to_ras: np.ndarray, factors: np.ndarray
) -> tuple[Affine, tuple[str, ...]]:
    """Return the affine (4, 4) to RAS mm of a header, and a note where its unit is not mm or it has no origin.

    Args:
        directions: (3, 3), columns are the steps from voxel to voxel along i, j, k.
        origin: (3,) of the first voxel's centre; None where the header has none.
        to_ras: (4, 4) from the header's world to RAS.
        factors: (3,) length in mm of the unit of each axis of its world.
    """
    affine = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):  # the check of the grid reports what is not finite
        affine[:3, :3] = factors[:, None] * directions
        affine[:3, 3] = factors * (np.zeros(3) if origin is None else origin)
        affine = to_ras @ affine
    notes = [] if (factors == 1).all() else ["the header's unit is not mm: sizes were converted to mm"]
    if origin is None:
        notes.append("the header has no origin: where the scan is in the scanner is unknown, 0 was taken")
    return affine, tuple(notes)


def _raw(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """Decode zlib's format, or one or several gzip members; a check sum that is wrong raises zlib.error."""
    decoder, pending = zlib.decompressobj(_ZLIB_OR_GZIP), b""
    while pending := pending or file.read(_CHUNK):
        yield decoder.decompress(pending, _CHUNK)
        pending = decoder.unconsumed_tail
        if decoder.eof:
            pending = decoder.unused_data or file.read(_CHUNK)
            if not pending.startswith(_GZIP_MAGIC):
                return
            decoder = zlib.decompressobj(_ZLIB_OR_GZIP)
    yield decoder.flush()
    if not decoder.eof:
        raise EOFError("its compressed voxels end too early")


def _unpacked_bzip2(file: IO[bytes]) -> Iterator[bytes]:
    with bz2.BZ2File(file) as unpacked:
        yield from _raw(unpacked)  # type: ignore[arg-type]


_DECODERS: dict[str, Callable[[Any], Iterator[bytes]]] = {
    "raw": _raw,
    "gzip": _inflated,
    "bzip2": _unpacked_bzip2,
}


def _filled(pieces: Iterator[bytes], skip: int, length: int, most_trailing: int | None) -> bytearray:
    """Return that many bytes after those that are skipped.

    Fewer bytes after them than the smallest plane has are padding; more mean other sizes or another type, unless
    anything may follow (None), of which no more is read than where a check sum usually is.
    """
    content, filled, trailing = bytearray(length), 0, 0
    for piece in pieces:
        skipped, skip = piece[skip:], max(skip - len(piece), 0)
        taken = skipped[: length - filled]
        content[filled : filled + len(taken)] = taken
        filled += len(taken)
        trailing += len(skipped) - len(taken)
        if most_trailing is None and trailing > _MOST_FOOTER:
            break
        if most_trailing is not None and trailing >= most_trailing:
            raise ValueError(f"it continues after the {length:,} bytes of voxels that its header announces")
    if filled < length:
        raise EOFError(f"it ends after {filled:,} of {length:,} bytes of voxels")
    return content
