"""Scans and the lesion masks that were drawn on them, found in a folder.

BIDS data sets keep masks beside the scan or under `derivatives`, under names that differ from one data set to the
next. Two files belong together when, in this order,

1. the mask's sidecar names the scan (`Sources`, `SpatialReference`);
2. they are of one subject and session, no entity contradicts, and the mask's `desc` (`desc-T1wlesion`) or name
   (`..._T2w_desc-lesion_mask`) tells the scan's suffix;
3. they are of one subject and session and lie on the same grid (ISLES: one mask for several diffusion maps).

Any other `scan.nii.gz` belongs to `scan_lesion_mask.nii.gz`, `scan_lesion.nii.gz`, `scan_mask.nii.gz`,
`scan_msk.nii.gz`, `scan_seg.nii.gz` or 3D Slicer's `scan.seg.nrrd` in the same folder; `scan_dwi.nii.gz` and
`scan_adc.nii.gz` belong to `scan_lesion_mask.nii.gz` or `scan_lesion.nii.gz` on their grid. Scans and masks may be in
any format that is read.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.errors import DataError, ImageError, LabelMapError
from strokelabel.geometry import Grid, bring_to_grid, is_same_grid
from strokelabel.io.bids import (
    NOT_RAW_FOLDERS,
    entities_of,
    image_stem,
    is_derived_name,
    is_segmentation_name,
    sidecar_path,
    words_of,
)
from strokelabel.io.file_search import search_files
from strokelabel.io.images import Image, read_image
from strokelabel.io.label_files import LESION_NAME, lesion_mask, read_label_file
from strokelabel.io.volumes import is_scan_file, read_grid, read_volume
from strokelabel.types import Mask

_MASK = re.compile(
    r"_label-L(_|\b).*_mask$|lesion.*_(mask|msk|roi)$|_(msk|lesion|lesionmask|lesionroi)$", re.IGNORECASE
)
_PLAIN_ENDINGS = ("_lesion_mask", "_lesion", "_mask", "_msk", "_seg")
_LESION_ENDINGS = ("_lesion_mask", "_lesion")
_FREE_ENTITIES = ("space", "res", "den", "label", "desc")
"""Entities that say nothing about which scan of a session a mask belongs to."""


@dataclass(frozen=True)
class LesionPair:
    """A scan with a lesion mask on its grid.

    Attributes:
        name: the scan's file name without its ending; with folders in front where it is not unique.
        subject: who it is of, such as "sub-01"; the name itself where file names are not BIDS's.
        image: the scan's file.
        mask: the mask's file.
    """

    name: str
    subject: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class PairSearch:
    """Result of a search.

    Attributes:
        pairs: by name.
        images_alone: scans without a mask.
        masks_alone: masks whose scan was not found.
    """

    pairs: tuple[LesionPair, ...]
    images_alone: tuple[Path, ...]
    masks_alone: tuple[Path, ...]


def find_lesion_pairs(folder: Path, *, masks: Path | None = None, suffixes: Sequence[str] = ()) -> PairSearch:
    """Find the scans in a folder that have a lesion mask.

    Args and what is skipped: as `search_lesion_pairs`.

    Raises:
        DataError: no such folder, no pair in it, or two masks for one scan.
    """
    search = search_lesion_pairs(folder, masks=masks, suffixes=suffixes)
    if not search.pairs:
        raise DataError(
            "expected scans with lesion masks, such as sub-01_T1w.nii.gz and "
            f"sub-01_label-L_desc-T1wlesion_mask.nii.gz, found {len(search.images_alone)} scans and "
            f"{len(search.masks_alone)} masks, none of which belong together; see the BIDS names of derivatives",
            source=folder,
        )
    return search


def search_lesion_pairs(
    folder: Path, *, masks: Path | None = None, suffixes: Sequence[str] = ()
) -> PairSearch:
    """Find the scans in a folder, with their lesion masks where they have one.

    Hidden files, `sourcedata` and `code` are skipped, and so are masks that StrokeLabel predicted, unless
    `masks` points to them.

    Args:
        folder: a BIDS data set, or any folder of image files; searched recursively.
        masks: take masks from this folder alone, which may lie outside `folder`.
        suffixes: BIDS suffixes of the scans wanted, such as "T1w"; all if empty.

    Raises:
        DataError: no such folder, or two masks for one scan.
    """
    for place in (folder, *([masks] if masks else [])):
        if not place.is_dir():
            raise DataError("expected a folder of scans with lesion masks, found no folder", source=place)
    files = [_File.of(path, folder) for path in _image_files(folder)]
    candidates = files if masks is None else [_File.of(path, masks) for path in _image_files(masks)]
    mask_files = [f for f in candidates if f.is_mask and (masks is not None or not f.is_prediction)]
    images = [f for f in files if f.is_image]
    matches = _match(mask_files, images)
    wanted = [image for image in images if not suffixes or image.suffix in suffixes]
    found = _named(
        [(image, _only(image, matches[image.path])) for image in wanted if matches[image.path]], folder
    )
    used = {mask.path for masks_of_image in matches.values() for mask in masks_of_image}
    return PairSearch(
        pairs=tuple(sorted(found, key=lambda pair: pair.name)),
        images_alone=tuple(image.path for image in wanted if not matches[image.path]),
        masks_alone=tuple(mask.path for mask in mask_files if mask.path not in used),
    )


@dataclass(frozen=True)
class _File:
    """An image file and what its name says."""

    path: Path
    stem: str
    entities: dict[str, str]
    words: tuple[str, ...]
    is_derived: bool

    @classmethod
    def of(cls, path: Path, root: Path) -> _File:
        stem = image_stem(path) + ("_seg" if is_segmentation_name(path) else "")
        entities = entities_of(stem) if stem.startswith("sub-") else {}
        return cls(path, stem, entities, words_of(stem), "derivatives" in path.relative_to(root).parts)

    @property
    def session(self) -> tuple[str, ...]:
        """Files of different sessions (of different folders where names are not BIDS's) never belong together."""
        if "sub" in self.entities:
            return (self.entities["sub"], self.entities.get("ses", ""))
        return (str(self.path.parent),)

    @property
    def is_mask(self) -> bool:
        if is_segmentation_name(self.path):
            return True
        if "sub" in self.entities:
            return _MASK.search(self.stem) is not None
        return self.stem.lower().endswith(_PLAIN_ENDINGS)

    @property
    def is_image(self) -> bool:
        return not is_derived_name(self.path)

    @property
    def suffix(self) -> str:
        """BIDS suffix, such as "T1w"."""
        return self.words[-1] if self.words else ""

    @property
    def sidecar(self) -> dict[str, Any]:
        try:
            content = json.loads(sidecar_path(self.path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def is_prediction(self) -> bool:
        return "weights_sha256" in self.sidecar

    def hint(self) -> str:
        """Return the suffix of the scan that a mask's name contains; empty if none."""
        if len(self.words) > 1 and self.words[0].lower() != "lesion":
            return self.words[0]
        return re.sub(r"(stroke)?lesion.*$", "", self.entities.get("desc", ""), flags=re.IGNORECASE)

    def agrees_with(self, mask: _File) -> bool:
        """Return whether no entity of the two contradicts."""
        shared = [key for key in self.entities if key in mask.entities and key not in _FREE_ENTITIES]
        return all(self.entities[key] == mask.entities[key] for key in shared)

    def has_suffix(self, hint: str) -> bool:
        """Return whether a mask's hint means this scan: T1w, T1 or the scan's own `desc` before its suffix."""
        suffix = self.suffix.lower()
        named = {suffix, suffix.removesuffix("w"), f"{self.entities.get('desc', '')}{suffix}".lower()}
        return hint.lower() in named


def read_lesion_pair(pair: LesionPair) -> tuple[Image, Mask]:
    """Read a scan and its mask, true above 0.5 (NaN, which some tools write outside the brain, is not lesion).

    Raises:
        ImageError: a file cannot be read, or the two are not on one grid.
        LabelMapError: of the segments of a .seg.nrrd, none is the lesion.
    """
    image = read_image(pair.image)
    if is_segmentation_name(pair.mask):
        labels = read_label_file(pair.mask)
        names = labels.names or {}
        found = lesion_mask(labels.data, {"params": {"label_names": names}})
        if found is None:
            raise LabelMapError(
                f"expected one segment, or one named {LESION_NAME!r}, found {', '.join(sorted(names))}",
                source=pair.mask,
            )
        grid, values, may_be_part = labels.grid, found.astype(np.float32), labels.may_be_cropped
    else:
        mask = read_volume(pair.mask, np.float32)
        i, j, k = mask.data.shape
        grid, values, may_be_part = Grid((i, j, k), mask.affine), mask.data, False
    names_of = str(pair.mask), str(pair.image)
    return image, bring_to_grid(values, grid, image.grid, *names_of, may_be_part=may_be_part) > 0.5


def _image_files(folder: Path) -> Iterator[Path]:
    files = search_files(folder, NOT_RAW_FOLDERS - {"derivatives"}).files
    return (path for path in files if is_scan_file(path))


def _match(masks: list[_File], images: list[_File]) -> dict[Path, list[_File]]:
    """Return the masks of each scan; those that lie on its grid count only where no other names it."""
    of_session = defaultdict(list)
    for image in images:
        of_session[image.session].append(image)
    named: dict[Path, list[_File]] = defaultdict(list)
    on_grid: dict[Path, list[_File]] = defaultdict(list)
    for mask in masks:
        others = [image for image in of_session[mask.session] if image.path != mask.path]
        owners = _named_by(mask, others)
        for image in owners:
            named[image.path].append(mask)
        for image in [] if owners else _on_grid_of(mask, others):
            on_grid[image.path].append(mask)
    return {image.path: named[image.path] or on_grid[image.path] for image in images}


def _named_by(mask: _File, images: list[_File]) -> list[_File]:
    """Return the scans of its session that a mask's sidecar or name refers to."""
    if "sub" not in mask.entities:
        names = {mask.stem.lower().removesuffix(ending) for ending in _PLAIN_ENDINGS} - {""}
        return [image for image in images if image.stem.lower() in names]
    related = _related(mask, images)
    sources = _sources(mask)
    if told := [image for image in related if image.path.name in sources]:
        return told
    hinted = [image for image in related if image.has_suffix(mask.hint())]
    return hinted if len(hinted) == 1 else [image for image in hinted if _same_grid(image.path, mask.path)]


def _on_grid_of(mask: _File, images: list[_File]) -> list[_File]:
    """Return the scans of its session on whose grid a mask lies."""
    if "sub" in mask.entities:
        candidates = _related(mask, images)
    else:
        names = {mask.stem.lower().removesuffix(e) for e in _LESION_ENDINGS if mask.stem.lower().endswith(e)}
        names.discard("")  # a mask called "_lesion" names no scan
        candidates = [image for image in images if image.stem.lower().rpartition("_")[0] in names]
    return [image for image in candidates if _same_grid(image.path, mask.path)]


def _related(mask: _File, images: list[_File]) -> list[_File]:
    """Return the scans that a mask may be of; a derived one (registered, say) only if the mask lies beside it."""
    agreeing = [image for image in images if image.agrees_with(mask)]
    return [i for i in agreeing if i.path.parent == mask.path.parent or not i.is_derived]


def _sources(mask: _File) -> set[str]:
    """Return the file names of the scans that a mask's sidecar names."""
    content = mask.sidecar
    values = [content.get("Sources", []), content.get("SpatialReference", [])]
    listed = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return {str(value).rsplit("/", 1)[-1] for value in listed}


def _same_grid(first: Path, second: Path) -> bool:
    """Return whether two files have the same voxels, by their headers; false if one cannot be read."""
    try:
        return is_same_grid(read_grid(first), read_grid(second))
    except ImageError:
        return False


def _only(image: _File, masks: list[_File]) -> _File:
    if len(masks) > 1:
        names = ", ".join(str(mask.path) for mask in masks)
        raise DataError(
            f"expected one lesion mask, found {len(masks)} ({names}); name the folder of those meant",
            source=image.path,
        )
    return masks[0]


def _named(found: list[tuple[_File, _File]], folder: Path) -> list[LesionPair]:
    """Return the pairs with names that are unique among them."""
    stems = [image.stem for image, _ in found]
    pairs = []
    for image, mask in found:
        name = image.stem
        if stems.count(name) > 1:
            name = "_".join([*image.path.parent.relative_to(folder).parts, name])
        subject = f"sub-{image.entities['sub']}" if "sub" in image.entities else name
        pairs.append(LesionPair(name, subject, image.path, mask.path))
    return pairs
