"""NIfTI-1 without nibabel, which 3D Slicer's Python does not have: what the server sends, and what it takes.

The place of a scan is that of its sform, else of its qform, else what nibabel takes without both: the same as the
server's, whatever another reader would prefer.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from .errors import FileFormatError
from .files import write_atomically
from .volume import Volume

HEADER_BYTES, DATA_OFFSET = 348, 352
SUFFIXES = (".nii.gz", ".nii")
_DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_CODES = {name: code for code, name in _DTYPES.items()}


class NiftiFiles:
    """Reader and writer of .nii and .nii.gz."""

    def read(self, path: Path) -> Volume:
        """Read a file.

        Raises:
            FileFormatError: no 3-D NIfTI-1 image.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FileFormatError(f"{path.name} cannot be read ({error.strerror or error}).") from error
        return decode_nifti(content, path.name)

    def write(self, path: Path, volume: Volume) -> None:
        """Write a file atomically.

        Raises:
            FileFormatError: another suffix, or no place to write to.
        """
        if not path.name.lower().endswith(SUFFIXES):
            raise FileFormatError(f"{path.name}: expected a name that ends in .nii.gz or .nii.")
        write_atomically(path, encode_nifti(volume, compress=path.name.lower().endswith(".gz")))


def decode_nifti(content: bytes, name: str) -> Volume:
    """Read the bytes of a .nii or .nii.gz file.

    Args:
        content: the file.
        name: what to call it in messages.

    Returns:
        Voxels (i, j, k) in the file's order and type (float32 if they are scaled or float64), and RAS affine.

    Raises:
        FileFormatError: no 3-D NIfTI-1 image.
    """
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise FileFormatError(f"{name}: expected a gzip file, found a damaged one ({error}).") from error
    if len(content) < DATA_OFFSET or content[344:347] not in (b"n+1",):
        raise FileFormatError(f"{name}: expected a NIfTI-1 file (.nii or .nii.gz), found something else.")
    order = "<" if struct.unpack("<i", content[:4])[0] == HEADER_BYTES else ">"
    shape = _shape(struct.unpack(f"{order}8h", content[40:56]), name)
    affine = _affine(content, order, shape)
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9 or not np.isfinite(affine).all():
        raise FileFormatError(f"{name}: expected three independent axes, found a singular affine.")
    return Volume(_voxels(content, order, shape, name), affine)


def encode_nifti(volume: Volume, *, compress: bool = True, level: int = 4) -> bytes:
    """Return the bytes of a .nii.gz (or .nii) file; booleans become uint8. Level 1 is fastest, 9 smallest."""
    data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    dtype = data.dtype.newbyteorder("<")
    code = _CODES.get(dtype.str[1:])
    if code is None:
        raise FileFormatError(f"Voxels of type {data.dtype} can't be written as NIfTI.")
    header = _header(volume, code, dtype.itemsize)
    content = header + b"\0" * 4 + np.asarray(data, dtype).tobytes(order="F")
    return gzip.compress(content, level, mtime=0) if compress else content


def _shape(dim: tuple[int, ...], name: str) -> tuple[int, int, int]:
    sizes = [max(n, 1) for n in dim[1 : 1 + min(max(dim[0], 0), 7)]]
    if len(sizes) < 3 or any(n > 1 for n in sizes[3:]):
        raise FileFormatError(
            f"{name}: expected one 3-D volume, found {' x '.join(map(str, sizes))}; split it into 3-D files."
        )
    return sizes[0], sizes[1], sizes[2]


def _voxels(content: bytes, order: str, shape: tuple[int, int, int], name: str) -> np.ndarray:
    code = struct.unpack(f"{order}h", content[70:72])[0]
    if code not in _DTYPES:
        raise FileFormatError(f"{name}: expected scalar voxels, found NIfTI type {code}.")
    offset, slope, intercept = struct.unpack(f"{order}3f", content[108:120])
    dtype = np.dtype(order + _DTYPES[code])
    start, count = max(int(offset), DATA_OFFSET), int(np.prod(shape))
    if len(content) - start < count * dtype.itemsize:
        raise FileFormatError(f"{name}: expected {count} voxels, found a file that ends before them.")
    data = np.frombuffer(content, dtype, count, start).reshape(shape, order="F")
    scaled = np.isfinite(slope) and slope != 0 and (slope, intercept) != (1.0, 0.0)
    if scaled:
        return (data * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    return data.astype(np.float32 if dtype.str[1:] == "f8" else dtype.newbyteorder("="))


def _affine(content: bytes, order: str, shape: tuple[int, int, int]) -> np.ndarray:
    qform, sform = struct.unpack(f"{order}2h", content[252:256])
    pixdim = struct.unpack(f"{order}8f", content[76:108])
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.reshape(struct.unpack(f"{order}12f", content[280:328]), (3, 4))
    elif qform > 0:
        b, c, d, *origin = struct.unpack(f"{order}6f", content[256:280])
        a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        turn = Rotation.from_quat([b, c, d, a]).as_matrix()
        affine[:3, :3] = turn * np.array(pixdim[1:4]) * [1, 1, -1 if pixdim[0] < 0 else 1]
        affine[:3, 3] = origin
    else:
        affine[:3, :3] = np.diag([-pixdim[1], pixdim[2], pixdim[3]])
        affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def _header(volume: Volume, code: int, itemsize: int) -> bytes:
    spacing, qfac, quaternion = _qform(volume.affine)
    header = bytearray(HEADER_BYTES)
    struct.pack_into("<i", header, 0, HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, *volume.data.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * itemsize)
    struct.pack_into("<8f", header, 76, qfac, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, DATA_OFFSET, 1.0, 0.0)
    struct.pack_into("<B", header, 123, 2)  # mm
    header[148:159] = b"StrokeLabel"
    struct.pack_into("<2h", header, 252, 0 if quaternion is None else 1, 1)
    if quaternion is not None:
        struct.pack_into("<6f", header, 256, *quaternion, *volume.affine[:3, 3])
    struct.pack_into("<12f", header, 280, *volume.affine[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)


def _qform(affine: np.ndarray) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Return the spacing, handedness and quaternion (b, c, d); no quaternion for sheared axes, which it
    can't express.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    qfac = 1.0 if np.linalg.det(axes) > 0 else -1.0
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        return spacing, qfac, None
    quaternion = Rotation.from_matrix(axes * [1, 1, qfac]).as_quat()
    return spacing, qfac, quaternion[:3] * (1 if quaternion[3] >= 0 else -1)
