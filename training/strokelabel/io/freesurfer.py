"""Reading FreeSurfer's files (.mgz, .mgh): https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.errors import HeaderError
from strokelabel.geometry import Grid
from strokelabel.io.checks import check_grid, check_shape
from strokelabel.io.stored_volume import Encoding, StoredVoxels, VolumeHeader

_GZIP_MAGIC = b"\x1f\x8b"
_LAYOUT = nib.MGHImage.header_class.template_dtype
_VOXELS_AT = 284
_KINDS = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}
"""Type of a voxel by its number in the header."""


def read_freesurfer_header(path: Path) -> VolumeHeader:
    """Read the header of a .mgz or .mgh file, compressed or not, whatever its name says.

    Raises:
        DimensionError, HeaderError: no 3-D volume; no directions, or impossible ones.
        OSError, EOFError, ValueError, zlib.error: it cannot be read, or is of another format.
    """
    with path.open("rb") as file:
        encoding: Encoding = "gzip" if file.read(2) == _GZIP_MAGIC else "raw"
    with gzip.open(path) if encoding == "gzip" else path.open("rb") as content:
        block = content.read(_VOXELS_AT)
    if len(block) < _VOXELS_AT:
        raise ValueError(f"its header ends after {len(block)} of {_VOXELS_AT} bytes")
    fields = np.frombuffer(block, _LAYOUT, count=1)[0]
    kind = _KINDS.get(int(fields["type"]))
    if int(fields["version"]) != 1 or kind is None:
        raise ValueError(
            f"its header has version {int(fields['version'])} and voxels of type {int(fields['type'])}"
        )
    shape = check_shape(tuple(int(size) for size in fields["dims"]), str(path))
    if int(fields["goodRASFlag"]) != 1:
        raise HeaderError(
            "expected a header that says how the scan lies in space (goodRASFlag 1), found that it does not; "
            "nothing is assumed for it: convert the scan again from its source.",
            source=path,
        )
    affine = _affine(fields, shape)
    check_grid(shape, affine, str(path))
    voxels = StoredVoxels(
        path, shape, np.dtype(f">{kind}"), encoding, skip=_VOXELS_AT, may_continue=True
    )  # with the sequence's parameters, colours and the history of commands
    return VolumeHeader(Grid(shape, affine), voxels)


def _affine(fields: np.void, shape: tuple[int, int, int]) -> np.ndarray:
    """Return voxel index to RAS mm: directions, sizes, and the place of the centre of the volume."""
    affine = np.eye(4)
    affine[:3, :3] = fields["Mdc"].astype(float).T * fields["delta"].astype(float)
    affine[:3, 3] = fields["Pxyz_c"].astype(float) - affine[:3, :3] @ (np.array(shape) / 2)
    return affine
