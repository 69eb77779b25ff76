"""Files that real images are prepared from; validation data are never among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelabel.errors import DataError
from strokelabel.io.bids import image_stem
from strokelabel.io.file_kinds import KNOWN_FORMATS
from strokelabel.io.lesion_pairs import search_lesion_pairs

VALIDATION = "validation"
"""Files and folders with this word in their name are for validation alone."""

_FOR_VALIDATION = "its name says that it is for validation"


@dataclass(frozen=True)
class ScanSource:
    """A scan, and the mask of its lesion.

    Attributes:
        name: unique among those found together.
        image: the scan's file.
        mask: of the expert's mask; None for a scan without a stroke.
    """

    name: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class Found:
    """Files of one kind.

    Attributes:
        slices: files of slices.
        scans: by name.
        skipped: path → why it was left out.
    """

    slices: tuple[Path, ...] = ()
    scans: tuple[ScanSource, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)


def find_slices(folders: Sequence[Path]) -> Found:
    """List the .npz files of slices in folders; a file is taken as it is.

    Raises:
        DataError: a folder does not exist, or all there is is for validation.
    """
    found: list[Path] = []
    skipped: dict[str, str] = {}
    for folder in folders:
        paths = sorted(folder.rglob("*.npz")) if folder.is_dir() else [folder] * folder.is_file()
        usable = list(_not_for_validation(paths, folder, skipped))
        if not usable:
            raise DataError(_nothing_there(folder, "slices (.npz)", len(paths)))
        found += usable
    _refuse_same_names([(path.name, path) for path in found])
    return Found(slices=tuple(found), skipped=skipped)


def find_scans(folders: Sequence[Path]) -> Found:
    """List the scans in folders with their lesion masks; a file is taken as it is, with the mask beside it.

    Raises:
        DataError: a folder does not exist or all there is is for validation, two scans have one name, or a lesion mask
            belongs to none of the scans, so that one of them may show a stroke that is not annotated.
    """
    found: list[ScanSource] = []
    skipped: dict[str, str] = {}
    for path in folders:
        scans = _scans_at(path)
        kept = set(_not_for_validation([scan.image for scan in scans], path, skipped))
        if not kept:
            raise DataError(_nothing_there(path, f"scans ({KNOWN_FORMATS})", len(scans)))
        found += [scan for scan in scans if scan.image in kept]
    _refuse_same_names([(scan.name, scan.image) for scan in found])
    return Found(scans=tuple(sorted(found, key=lambda scan: scan.name)), skipped=skipped)


def _scans_at(path: Path) -> list[ScanSource]:
    """Return the scans of a folder, or the one scan."""
    if not path.exists():
        raise DataError(f"{path}: expected a scan or a folder of scans, found none")
    search = search_lesion_pairs(path if path.is_dir() else path.parent)
    masks = {pair.image: pair.mask for pair in search.pairs}
    images = sorted([*masks, *search.images_alone])
    if path.is_file():
        images = [path]
    elif search.masks_alone:
        raise DataError(
            f"{search.masks_alone[0]}: expected lesion masks that belong to a scan of the folder, this one belongs to "
            "none; name it after its scan (scan_lesion_mask.nii.gz), or name the scans one by one"
        )
    return [ScanSource(image_stem(image), image, masks.get(image)) for image in images]


def _not_for_validation(paths: Iterable[Path], root: Path, skipped: dict[str, str]) -> Iterator[Path]:
    """Yield the paths without the word in their name or in that of a folder up to the root; the others are noted."""
    folder = root if root.is_dir() else root.parent
    for path in paths:
        parts = (folder.resolve().name, *path.relative_to(folder).parts)
        if any(VALIDATION in part.lower() for part in parts):
            skipped[str(path)] = _FOR_VALIDATION
        else:
            yield path


def _nothing_there(folder: Path, what: str, unusable: int) -> str:
    reason = f"found {unusable} whose names say that they are for validation" if unusable else "found none"
    return f"{folder}: expected {what} to train on, {reason}"


def _refuse_same_names(named: Sequence[tuple[str, Path]]) -> None:
    first: dict[str, Path] = {}
    for name, path in named:
        if name in first:
            raise DataError(f"{first[name]} and {path} would both be named {name!r}; rename one of them")
        first[name] = path
