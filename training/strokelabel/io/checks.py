"""Checks of an image before segmentation, from a file or an array that a server hands over."""

from __future__ import annotations

from math import prod

import numpy as np

from strokelabel.errors import (
    ConstantImageError,
    DimensionError,
    EmptyImageError,
    HeaderError,
    LabelMapError,
    NonFiniteImageError,
)
from strokelabel.geometry import Grid
from strokelabel.types import Affine

MAX_VOXELS = 1024**3
"""Voxels above which a header is taken for a lie: 30 times a usual 0.5 mm head scan, 4 GiB in float32."""

SPACING_LIMITS_MM = (0.01, 100.0)
"""Voxel sizes outside these are not millimetres."""

MAX_EXTENT_MM = 1000.0
"""Fields of view longer than this hold more than a head, or a wrong voxel size."""


def check_shape(shape: tuple[int, ...], source: str) -> tuple[int, int, int]:
    """Return the shape without trailing axes of one, if it is that of a volume.

    Args:
        shape: any shape.
        source: name of the image for messages.

    Raises:
        DimensionError: not three axes, or a single slice.
        EmptyImageError: an axis without voxels.
        HeaderError: more voxels than any head scan has.
    """
    if 0 in shape:
        raise EmptyImageError(f"expected voxels, found shape {shape}; export the scan again.", source=source)
    kept = tuple(int(size) for size in shape)
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) > 3:
        raise DimensionError(
            f"expected one 3-D volume, found {len(kept)}-D data of shape {shape}; "
            "choose one volume (a time point, a b-value, a channel) and save it by itself.",
            source=source,
        )
    if len(kept) < 3 or min(kept) < 2:
        raise DimensionError(
            f"expected a 3-D volume with two or more voxels along each axis, found {shape}, "
            "a single slice or less; pass the whole scan.",
            source=source,
        )
    if prod(kept) > MAX_VOXELS:
        raise HeaderError(
            f"expected at most {MAX_VOXELS:,} voxels, the header announces {prod(kept):,} "
            f"({shape}); repair the header or export the scan again.",
            source=source,
        )
    return kept[0], kept[1], kept[2]


def check_grid(shape: tuple[int, int, int], affine: Affine, source: str) -> None:
    """Refuse affines that cannot place a scan in space.

    Raises:
        HeaderError: singular, not finite, or with voxel sizes that are not millimetres.
    """
    try:
        spacing = Grid(shape, affine).spacing
    except HeaderError as error:
        raise error.with_source(source) from error
    low, high = SPACING_LIMITS_MM
    if min(spacing) < low or max(spacing) > high:
        sizes = " x ".join(f"{size:.4g}" for size in spacing)
        raise HeaderError(
            f"expected voxel sizes of {low} to {high} mm, found {sizes}; "
            "the header may be in metres or micrometres: convert it to millimetres.",
            source=source,
        )
    extent = max(size * step for size, step in zip(shape, spacing, strict=True))
    if extent > MAX_EXTENT_MM:
        raise HeaderError(
            f"expected a head within {MAX_EXTENT_MM:.0f} mm, found a field of view of {extent:.0f} mm; "
            "crop the scan to the head, or repair the voxel sizes.",
            source=source,
        )


def check_values(data: np.ndarray, source: str) -> None:
    """Refuse volumes that hold nothing to segment.

    Raises:
        DimensionError: the values are not real numbers (RGB, complex).
        EmptyImageError, ConstantImageError, NonFiniteImageError: see `strokelabel.errors`.
    """
    check_number_type(data.dtype, source)
    if data.size == 0:
        raise EmptyImageError(
            f"expected voxels, found shape {data.shape}; export the scan again.", source=source
        )
    low, high = float(data.min()), float(data.max())  # NaN anywhere makes both NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int((~np.isfinite(data)).sum())
        raise NonFiniteImageError(
            f"expected finite values, found {count:,} of {data.size:,} voxels NaN or infinite "
            "(in float32); replace them, with 0 outside the head.",
            source=source,
        )
    if low == high == 0:
        raise EmptyImageError(
            "expected a scan, found zero in every voxel; export the scan again.", source=source
        )
    if low == high:
        raise ConstantImageError(
            f"expected contrast, found {low:g} in every voxel; export the scan again.", source=source
        )


def check_number_type(dtype: np.dtype, source: str) -> None:
    """Refuse colour and complex voxels.

    Raises:
        DimensionError: naming what was found.
    """
    if dtype.fields is not None:
        raise DimensionError(
            "expected one number per voxel, found colour (RGB); convert it to gray values.", source=source
        )
    if dtype.kind == "c":
        raise DimensionError(
            "expected real values, found complex ones; save the magnitude by itself.", source=source
        )
    if dtype.kind not in "biuf":
        raise DimensionError(
            f"expected numbers, found values of type {dtype}; convert it to int16 or float32.", source=source
        )


def as_whole_numbers(values: np.ndarray, source: str) -> np.ndarray:
    """Return labels as int32; values that are not whole numbers, but for 1e-3, are refused.

    Raises:
        LabelMapError: naming a value.
    """
    limits = np.iinfo(np.int32)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & np.isclose(values, np.rint(values), rtol=0, atol=1e-3)
        if not whole.all():
            raise LabelMapError(
                "expected labels, which are whole numbers, found values such as "
                f"{values[~whole][0]:g}; pass a label map, or threshold it first.",
                source=source,
            )
        values = np.rint(values)
    if values.min() < limits.min or values.max() > limits.max:
        raise LabelMapError(
            f"expected labels below 2^31, found up to {values.max():g}; renumber them.", source=source
        )
    return values.astype(np.int32)


def has_two_values(data: np.ndarray) -> bool:
    """Return whether an image (i, j, k) has no values between the least and the greatest, as a mask has."""
    return not ((data > data.min()) & (data < data.max())).any()


def check_volume(data: np.ndarray, affine: Affine, source: str) -> None:
    """Check an array and its affine as strictly as a file: what `read_image` promises, promised for both.

    Args:
        data: (i, j, k).
        affine: (4, 4) voxel index to RAS mm.
        source: name of the image for messages.

    Raises:
        DimensionError, EmptyImageError, ConstantImageError, NonFiniteImageError, HeaderError: see
            `strokelabel.errors`.
    """
    shape = check_shape(data.shape, source)
    check_grid(shape, affine, source)
    check_values(data, source)
