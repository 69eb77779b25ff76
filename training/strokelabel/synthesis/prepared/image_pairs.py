"""Images with the label maps that were drawn on them: found in a folder by their names, and read.

A label map is a NIfTI file whose name ends in `_dseg`, `_seg`, `_synthseg`, `_segmentation`, `_label`, `_labels` or
`_labelmap`. It belongs to

1. the image of the same name without this ending, or with `_image` or `_img` in its place, in the same folder
   (`heart.nii.gz` with `heart_seg.nii.gz`; `mr_1001_image.nii.gz` with `mr_1001_label.nii.gz`);
2. with BIDS names, the image of the same subject and session whose entities do not contradict, wherever it lies
   (`sub-01_T1w.nii.gz` with `derivatives/sub-01_desc-manual_dseg.nii.gz`); of several, the only one on its grid.

Where label maps have a folder for themselves, each belongs to the image of the same name, or with `_0000` after it
(nnU-Net).

Files of slices with lesion masks (`strokelabel.io.slice_files`) are images, too: each slice that shows 50 mm² of lesion
or more, with the lesion as its only label, 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from strokelabel.errors import DataError, LabelMapError
from strokelabel.geometry import bring_to_grid, is_same_grid
from strokelabel.io.bids import NOT_RAW_FOLDERS, entities_of, image_stem, is_derived_name
from strokelabel.io.file_search import search_files
from strokelabel.io.images import Image, read_image, read_label_image
from strokelabel.io.slice_files import PLANES, SliceFile, read_slices
from strokelabel.io.volumes import is_scan_file, read_grid
from strokelabel.structures import LARGEST_ID
from strokelabel.synthesis.prepared.source_files import source_name
from strokelabel.types import Volume

_LEAST_PIXELS = 50
"""Of lesion, 1 mm² each; a slice that shows less is left out."""

_LABEL_ENDING = re.compile(r"[_-](dseg|seg|synthseg|segmentation|labels?|labelmap)$", re.IGNORECASE)
_IMAGE_ENDINGS = ("", "_image", "_img", "_0000")
_FREE_ENTITIES = ("space", "res", "den", "label", "desc", "atlas", "seg")
"""Entities that say nothing about which image a label map was drawn on."""


@dataclass(frozen=True)
class ImagePair:
    """An image with its label map.

    Attributes:
        name: of the label map, from the path inside its folder, without ending; unique.
        image: the image's file.
        labels: the label map's file; the image's own for slices with lesion masks.
        slice: index of the slice in a file of slices; None for a volume.
    """

    name: str
    image: Path
    labels: Path
    slice: int | None = None


def find_image_pairs(folder: Path, labels: Path | None = None) -> tuple[ImagePair, ...]:
    """Find the images of all label maps, by the names that this module describes.

    Args:
        folder: of images, and of label maps unless these have another one; searched recursively.
        labels: folder of label maps alone.

    Returns:
        The pairs by name. Images without a label map are not among them.

    Raises:
        DataError: no such folder, no label map in it, a label map without an image or with several, or two label maps
            of the same name.
    """
    root = labels or folder
    files = list(_nifti_files(folder))
    slices = _slice_pairs(folder) if labels is None else {}
    if labels is None:
        maps = [path for path in files if _LABEL_ENDING.search(image_stem(path))]
    else:
        maps = list(_nifti_files(labels))
    images = [path for path in files if not is_derived_name(path) and path not in maps]
    if not maps and not slices:
        raise DataError(
            "expected label maps, such as heart_dseg.nii.gz beside heart.nii.gz, found none; name their folder with "
            "--em-labels if it is another one",
            source=root,
        )
    pairs: dict[str, ImagePair] = dict(slices)
    for path in maps:
        pair = ImagePair(source_name(path, root), _image_of(path, images, anywhere=labels is not None), path)
        if pair.name in pairs:
            raise DataError(
                f"{pairs[pair.name].labels} and {path} would both be named {pair.name!r}; rename one, or its folder"
            )
        pairs[pair.name] = pair
    return tuple(pairs[name] for name in sorted(pairs))


def _slice_pairs(folder: Path) -> dict[str, ImagePair]:
    """Return the slices that show a lesion in the files of slices of a folder, by name."""
    pairs = {}
    for path in search_files(folder, NOT_RAW_FOLDERS).files if folder.is_dir() else ():
        if path.suffix != ".npz":
            continue
        slices = _read_slices(path)
        for index in np.flatnonzero(slices.lesion.sum(axis=(1, 2)) >= _LEAST_PIXELS).tolist():
            name = f"{source_name(path.with_suffix('.nii'), folder)}_sub-{slices.subject[index]:04d}"
            pairs[name] = ImagePair(name, path, path, index)
    return pairs


def _nifti_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise DataError("expected a folder of images with label maps, found no folder", source=folder)
    files = search_files(folder, NOT_RAW_FOLDERS - {"derivatives"}).files
    return (path for path in files if is_scan_file(path))


def _image_of(labels: Path, images: Sequence[Path], *, anywhere: bool) -> Path:
    """Return the image that a label map was drawn on.

    Raises:
        DataError: there is none, or several.
    """
    stem = _LABEL_ENDING.sub("", image_stem(labels))
    near = [path for path in images if anywhere or path.parent == labels.parent]
    names = {f"{stem}{ending}".lower() for ending in _IMAGE_ENDINGS}
    found = [path for path in near if image_stem(path).lower() in names]
    if not found and stem.startswith("sub-"):
        found = [path for path in images if _agree(stem, image_stem(path))]
        if len(found) > 1:
            grid = read_grid(labels)
            found = [path for path in found if is_same_grid(read_grid(path), grid)]
    if len(found) != 1:
        listed = ", ".join(str(path) for path in found) or "none"
        raise DataError(
            f"expected the one image that this label map was drawn on, by its name ({stem}.nii.gz, or BIDS's), found "
            f"{listed}; rename the files, or leave the label map out",
            source=labels,
        )
    return found[0]


def _agree(labels: str, image: str) -> bool:
    """Return whether the names of a label map and an image are of one subject and session, without contradiction."""
    first, second = entities_of(labels), entities_of(image)
    shared = (first.keys() | {"sub", "ses"}) - set(_FREE_ENTITIES)
    return all(first.get(key) == second.get(key) for key in shared)


def read_labels(pair: ImagePair) -> Image:
    """Read the label map of an image, (i, j, k); that of a slice is one voxel thick.

    Raises:
        LabelMapError: no label in it, values below 0 or above 65535, or such that are not whole numbers.
    """
    if pair.slice is not None:
        return _slice_image(pair, _read_slices(pair.labels).lesion[pair.slice].astype(np.uint8))
    image = read_label_image(pair.labels)
    lowest, highest = int(image.data.min()), int(image.data.max())
    if lowest < 0 or not 0 < highest <= LARGEST_ID:
        raise LabelMapError(
            f"expected labels from 1 to {LARGEST_ID} and 0 for the background, found values from {lowest} to "
            f"{highest}; check that this is the label map",
            source=pair.labels,
        )
    return image


def read_intensities(pair: ImagePair, labels: Image) -> Volume:
    """Read an image on the grid of its label map, (i, j, k).

    Raises:
        ImageError: it cannot be read, or its grid is another one.
    """
    if pair.slice is not None:
        return _slice_image(pair, _read_slices(pair.image).image[pair.slice].astype(np.float32)).data
    image = read_image(pair.image)
    return bring_to_grid(image.data, image.grid, labels.grid, str(pair.image), str(pair.labels))


def _slice_image(pair: ImagePair, pixels: np.ndarray) -> Image:
    """Return a slice (rows, columns) as a volume of 1 mm voxels; where it lay in the head is not known."""
    across = ({0, 1, 2} - set(PLANES[_read_slices(pair.image).view])).pop()
    return Image(np.expand_dims(pixels, across), np.eye(4), source=f"{pair.image} ({pair.name})")


@lru_cache(maxsize=1)
def _read_slices(path: Path) -> SliceFile:
    return read_slices(path)
