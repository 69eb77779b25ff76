"""Source files of prepared training data: found, named and fingerprinted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelabel.errors import DataError
from strokelabel.io.nifti import NIFTI_SUFFIXES, is_nifti_name

_KIND_ENDING = re.compile(r"[_-](dseg|labels?|seg|lesion|mask|lesion_mask)$")


@dataclass(frozen=True)
class SourceFile:
    """A file with a name that is unique among those found together.

    Attributes:
        name: from the path inside the folder, without ending ("sub-01_anat_sub-01").
        source: the data set: its folder's name.
        path: the file.
    """

    name: str
    source: str
    path: Path


def find_sources(folders: Sequence[Path], prefix_source: bool) -> list[SourceFile]:
    """List the image files in folders and their subfolders, by name.

    Names come from the path inside the folder alone, so that adding files renames none.

    Args:
        folders: searched recursively; a file is taken as it is.
        prefix_source: put the folder's name before each name ("soop_sub-0001").

    Raises:
        DataError: a folder does not exist or holds no image, or two files come to the same name.
    """
    found: dict[str, SourceFile] = {}
    for folder in folders:
        for path in _images_in(folder):
            file = _source_file(path, folder, prefix_source)
            if file.name in found:
                raise DataError(
                    f"{found[file.name].path} and {path} would both be named {file.name!r}; rename a file or its folder"
                )
            found[file.name] = file
    return [found[name] for name in sorted(found)]


def fingerprint(path: Path, *more: str) -> str:
    """Return the SHA-256 of a file's content and of further texts."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    for text in more:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()


def _images_in(folder: Path) -> list[Path]:
    if folder.is_file() and is_nifti_name(folder):
        return [folder]
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of image files, found none")
    paths = [path for path in folder.rglob("*") if is_nifti_name(path) and path.name[0] != "."]
    if not paths:
        raise DataError(f"{folder}: expected image files ({', '.join(NIFTI_SUFFIXES)}), found none")
    return sorted(paths)


def _source_file(path: Path, folder: Path, prefix_source: bool) -> SourceFile:
    root = folder.parent if folder.is_file() else folder
    name = "_".join(path.relative_to(root).parts)
    name = re.sub(r"\.nii(\.gz)?$", "", name, flags=re.IGNORECASE)
    name = _KIND_ENDING.sub("", name) or name
    source = root.resolve().name
    return SourceFile(f"{source}_{name}" if prefix_source else name, source, path)
