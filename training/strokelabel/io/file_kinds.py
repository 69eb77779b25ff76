"""Kinds of files, by their content: DICOM files, and what a file is that cannot be read as an image."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

IMAGE_SUFFIXES = (
    ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh.gz", ".mgh",
    ".hdr.gz", ".img.gz", ".hdr", ".img",
)  # fmt: skip
"""Endings of the names of files that hold one volume."""

KNOWN_FORMATS = ".nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .mgz, .hdr with .img"
"""The same in messages."""

_PREAMBLE_BYTES = 128
_MARK = b"DICM"
_FIRST_GROUPS = (2, 8)
_FIRST_ELEMENTS = (0x0, 0x1, 0x5, 0x8, 0x12, 0x16, 0x18)
"""Elements that a data set without preamble can begin with, in either group."""
_MOST_BYTES_OF_FIRST_ELEMENT = 256


def without_suffix(name: str) -> tuple[str, str]:
    """Split a file name before the ending of an image, as it is spelt; "" when it has none."""
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def is_image_name(path: Path) -> bool:
    """Return whether a file name ends as that of a file that holds one volume."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is DICOM: by the mark after its preamble, or by its first element where it has
    no preamble.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_PREAMBLE_BYTES + len(_MARK))
    except OSError:
        return False
    return start[_PREAMBLE_BYTES:] == _MARK or begins_with_an_element(start)


def begins_with_an_element(start: bytes) -> bool:
    """Return whether bytes begin with the first element of a DICOM data set: files without preamble do."""
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if len(start) < 12 or group not in _FIRST_GROUPS or element not in _FIRST_ELEMENTS:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") <= _MOST_BYTES_OF_FIRST_ELEMENT


_START = 1024
_GZIP = b"\x1f\x8b"

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, whose content was not downloaded", "run git lfs pull"),
    (
        b"/annex/objects/",
        "a git-annex pointer, whose content was not fetched",
        "run datalad get or git annex get",
    ),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"\xfd7zXZ", "an xz file", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it first"),
    (b"\0\0\0\x01\0\0", "a FreeSurfer file", "rename it to end in .mgz"),
    (b"NRRD000", "an NRRD file", "rename it to end in .nrrd"),
    (b"\x89HDF", "an HDF5 file (MINC, MATLAB 7.3)", "convert it to NIfTI"),
    (b"MATLAB", "a MATLAB file", "convert it to NIfTI"),
    (b"CDF", "a MINC file", "convert it to NIfTI (mnc2nii)"),
    (b"ObjectType", "a MetaImage header", "rename it to end in .mhd, or .mha if the voxels are in it"),
    (b"%PDF", "a PDF document", "pass the scan itself"),
    (b"\x89PNG", "a PNG picture", "pass the scan itself"),
    (b"\xff\xd8\xff", "a JPEG picture", "pass the scan itself"),
)
_POINTERS = 2
"""Number of pointers, which are the first."""
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
_ANALYZE = (348).to_bytes(4, "little"), (348).to_bytes(4, "big")
_MAGIC_AT = 344
_SHORTEST_TEXT = 4
_FORMATS = {
    ".mnc": "a MINC file; convert it to NIfTI (mnc2nii)",
    ".7z": "an archive; unpack it first",
    ".rar": "an archive; unpack it first",
}


def what_it_is(path: Path) -> str | None:
    """Return what a file is that cannot be read as its name says, and what to do; None when it cannot be told."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return None
    if size == 0:
        return "an empty file: copy or export it again"
    if is_dicom_file(path):
        return "a DICOM file: rename it to end in .dcm, or pass its folder without such names"
    return _compressed_or_not(path, start) or _of_start(start)


def missing_or_link(path: Path) -> str:
    """Return what a path without a file behind it is, and what to do."""
    if path.is_symlink():
        return (
            "a link whose target is not there (git-annex and datalad keep files so until they are fetched); "
            "run datalad get or git annex get, or repair the link"
        )
    return "none; check the path"


def is_without_content(path: Path) -> bool:
    """Return whether a file has no content: empty, a pointer whose content was not fetched, or a link to nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return path.is_symlink()
    return not start or any(start.startswith(magic) for magic, *_ in _STARTS[:_POINTERS])


def known_format(path: Path) -> str:
    """Return what a file is by a name that is not an image's, and what to do."""
    suffix = path.suffix.lower()
    if suffix in _FORMATS:
        return f"{path.suffix}, {_FORMATS[suffix]}"
    return f"{path.suffix or 'no suffix'}; convert it to NIfTI"


def _compressed_or_not(path: Path, start: bytes) -> str | None:
    """Return the kind of a NIfTI file whose name contradicts its compression, or the content of a compressed file."""
    zipped = path.name.lower().endswith(".gz")
    if not start.startswith(_GZIP):
        wrong_name = zipped and _is_nifti(start)
        return "a file that is not compressed but named so: rename it to end in .nii" if wrong_name else None
    inside = _unpacked(path)
    if inside is None:
        return None
    if not zipped and _is_nifti(inside):
        return "a compressed file that is not named so: rename it to end in .nii.gz"
    known = "a compressed file once more: unpack it once" if inside.startswith(_GZIP) else _of_start(inside)
    return f"compressed, and inside it {known}" if known else None


def _of_start(start: bytes) -> str | None:
    known = [f"{name}: {advice}" for magic, name, advice in _STARTS if start.startswith(magic)]
    if known:
        return known[0]
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "a web page, as servers answer when a download fails or needs a login: download the file again"
    marked = start[_MAGIC_AT : _MAGIC_AT + 3] in (b"n+1", b"ni1")
    if start.startswith(_ANALYZE) and len(start) > _MAGIC_AT + 3 and not marked:
        return "an Analyze 7.5 header without NIfTI's mark (n+1): convert it to NIfTI, minding left and right"
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)
    if not printable == len(start) >= _SHORTEST_TEXT:
        return None
    line = start.split(b"\n", 1)[0][:60].decode("ascii")
    return f"a text file that begins with {line!r}: copy or download the scan again"


def _is_nifti(start: bytes) -> bool:
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    return bool(sizes & {348, 540})


def _unpacked(path: Path) -> bytes | None:
    try:
        with gzip.open(path) as file:
            return file.read(_START)
    except (OSError, EOFError, zlib.error):
        return None
