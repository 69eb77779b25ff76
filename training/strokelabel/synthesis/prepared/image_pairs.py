"""Images with the label maps that were drawn on them, found in a folder by their names.

A label map is a NIfTI file whose name ends in `_dseg`, `_seg`, `_synthseg`, `_segmentation`, `_label`, `_labels` or
`_labelmap`. It belongs to

1. the image of the same name without this ending, or with `_image` or `_img` in its place, in the same folder
   (`heart.nii.gz` with `heart_seg.nii.gz`; `mr_1001_image.nii.gz` with `mr_1001_label.nii.gz`);
2. with BIDS names, the image of the same subject and session whose entities do not contradict, wherever it lies
   (`sub-01_T1w.nii.gz` with `derivatives/sub-01_desc-manual_dseg.nii.gz`); of several, the only one on its grid.

Where label maps have a folder for themselves, each belongs to the image of the same name, or with `_0000` after it
(nnU-Net).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelabel.errors import DataError
from strokelabel.geometry import is_same_grid
from strokelabel.io.bids import NOT_RAW_FOLDERS, entities_of, image_stem, is_derived_name
from strokelabel.io.file_search import search_files
from strokelabel.io.nifti import is_nifti_name, read_grid
from strokelabel.synthesis.prepared.source_files import source_name

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
        labels: the label map's file.
    """

    name: str
    image: Path
    labels: Path


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
    if labels is None:
        maps = [path for path in files if _LABEL_ENDING.search(image_stem(path))]
    else:
        maps = list(_nifti_files(labels))
    images = [path for path in files if not is_derived_name(path) and path not in maps]
    if not maps:
        raise DataError(
            "expected label maps, such as heart_dseg.nii.gz beside heart.nii.gz, found none; name their folder with "
            "--em-labels if it is another one",
            source=root,
        )
    pairs: dict[str, ImagePair] = {}
    for path in maps:
        pair = ImagePair(source_name(path, root), _image_of(path, images, anywhere=labels is not None), path)
        if pair.name in pairs:
            raise DataError(
                f"{pairs[pair.name].labels} and {path} would both be named {pair.name!r}; rename one, or its folder"
            )
        pairs[pair.name] = pair
    return tuple(pairs[name] for name in sorted(pairs))


def _nifti_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise DataError("expected a folder of images with label maps, found no folder", source=folder)
    files = search_files(folder, NOT_RAW_FOLDERS - {"derivatives"}).files
    return (path for path in files if is_nifti_name(path))


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
