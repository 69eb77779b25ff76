"""Scans: reading one, and what is known about all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.refusals import InvalidRequestError
from lib.studies.uploads import is_upload
from strokelabel.errors import ImageError, UnreadableImageError
from strokelabel.io.bids import NOT_RAW_FOLDERS, is_derived_name, session_of
from strokelabel.io.file_kinds import IMAGE_SUFFIXES, KNOWN_FORMATS, is_dicom_file, is_image_name
from strokelabel.io.file_search import is_hidden, printable, search_files
from strokelabel.io.images import Image, read_image
from strokelabel.io.nifti import is_nifti_name
from strokelabel.io.volumes import files_of, is_in_two_files, is_scan_file


def read_scan(path: str, name: str) -> Image:
    """Read a scan, or say why not in words that leave out where the server keeps it.

    Args:
        path: a file or a folder of DICOM files.
        name: what the client calls it.

    Raises:
        ImageError: of the same kind as `strokelabel.io.read_image` raises.
    """
    try:
        if is_upload(Path(path)) and is_image_name(Path(path)) and len(files_of(Path(path))) > 1:
            raise UnreadableImageError(TWO_FILES)
        return replace(read_image(path), source=name)
    except ImageError as error:
        raise error.with_source(name) from error


TWO_FILES = (
    "expected a file that holds its voxels, found a header whose voxels are in a second one; save it as one file "
    "(.nii.gz, .nrrd, .mha), or send both as a session."
)


def image_infos(datastore: Datastore) -> Mapping[str, Mapping[str, Any]]:
    """Return the information about each image of any datastore, by id; not to be changed."""
    if hasattr(datastore, "image_infos"):
        infos: Mapping[str, Mapping[str, Any]] = datastore.image_infos()
        return infos
    return {image: datastore.get_image_info(image) for image in datastore.list_images()}


LABEL_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".mgz", ".mgh")
"""Endings of label files, which come alone: none whose voxels are in a second file."""

NIFTI_SUFFIX = ".nii.gz"
"""Ending of the files that viewers download of scans in other formats."""

UPLOAD_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if not is_in_two_files(Path(f"scan{suffix}")))
"""Endings of scans that come as one file."""

_OTHER_FOLDERS = NOT_RAW_FOLDERS | {"labels"}
_TEXTS = (".json", ".tsv", ".csv", ".txt", ".md")
"""Endings of files that lie beside scans, or that the server itself writes."""

_LOOKED_AT = 200
"""Files whose first bytes are read where there is no scan, to say what is there instead."""


@dataclass(frozen=True)
class StudySearch:
    """Scans of a studies folder.

    Attributes:
        paths: id -> path relative to the folder, as it is there: links are not resolved.
        left_out: a sentence for each entry that is not served, and why.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def find_studies(root: Path) -> StudySearch:
    """Find the scans below a folder; no odd entry of it stops the search.

    Of two files with one id the first in alphabetical order is served.

    Args:
        root: the studies folder.
    """
    search, found = search_files(root, _OTHER_FOLDERS), StudySearch()
    prefix = f"{printable(root)}/"
    found.left_out.extend(str(problem).removeprefix(prefix) for problem in search.problems)
    start = len(str(root / "x")) - 1
    for path in search.files:
        if _is_scan_name(path):
            _enter(Path(str(path)[start:]), found)  # as relative_to, which takes long for thousands
    if not found.paths:
        found.left_out.append(
            f"No scans found: expected files of scans ({KNOWN_FORMATS}), {_instead(search.files)}"
        )
    return found


def _enter(relative: Path, found: StudySearch) -> None:
    image_id = study_id(relative)
    try:
        check_name(image_id, "its id")
    except InvalidRequestError as error:
        found.left_out.append(f"{printable(relative)!r}: {error} Rename it.")
        return
    kept = found.paths.setdefault(image_id, relative)
    if kept != relative:
        found.left_out.append(f"{printable(relative)}: {printable(kept)} has the same id; rename one")


def _instead(files: Sequence[Path]) -> str:
    """Describe a folder without scans, and what to do about it."""
    files = [path for path in files if path.suffix.lower() not in _TEXTS]
    if not files:
        return "found none; put scans there, or serve another folder."
    if any(is_dicom_file(path) for path in files[:_LOOKED_AT]):
        return "found DICOM files; convert each series with dcm2niix, or serve the PACS that holds them."
    if any(map(is_scan_file, files)):
        return "found masks and other derived files alone, by their names; rename those that are scans."
    kinds = Counter("".join(path.suffixes[-2:]) or "no ending" for path in files).most_common(4)
    return f"found files with {', '.join(printable(kind) for kind, _ in kinds)}; save scans as one of these."


def is_study(relative: Path) -> bool:
    """Return whether a file of the studies folder (relative path) is a scan, to judge by its name and folders."""
    return _is_scan_name(relative) and is_served_folder(relative.parent)


def _is_scan_name(path: Path) -> bool:
    stem, suffix = split_suffix(path.name, IMAGE_SUFFIXES)
    is_scan = bool(suffix and stem) and is_scan_file(path)
    return is_scan and not is_hidden(path.name) and not is_derived_name(path)


def is_served_folder(relative: Path) -> bool:
    """Return whether a folder (relative path) of the studies folder is searched for scans."""
    return not any(is_hidden(part) or part in _OTHER_FOLDERS for part in relative.parts)


def study_id(relative: Path) -> str:
    """Return the id of the scan at a path relative to the studies folder."""
    stem, _ = split_suffix(relative.name, IMAGE_SUFFIXES)
    folders = relative.parts[:-1]
    names_subject = bool(folders) and stem.startswith(folders[0] + "_")
    return stem if names_subject else "_".join([*folders, stem])


def served_suffix(path: Path) -> str:
    """Return the ending of what viewers download of a scan: its own, or that of its copy in NIfTI."""
    return split_suffix(path.name, IMAGE_SUFFIXES)[1] if is_nifti_name(path) else NIFTI_SUFFIX


def session_sequences(image_id: str, ids: Iterable[str]) -> list[str]:
    """Return the ids of the other sequences of a scan's BIDS subject and session, in alphabetical order.

    Args:
        image_id: of the scan; [] when it is no BIDS name of a sequence.
        ids: all ids of the datastore.
    """
    session = session_of(image_id)
    if session is None:
        return []
    return sorted(other for other in ids if other != image_id and session_of(other) == session)


def split_suffix(name: str, suffixes: tuple[str, ...]) -> tuple[str, str]:
    """Split a file name before the first of these suffixes that it ends with; "" when with none."""
    for suffix in suffixes:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def check_name(name: object, what: str) -> str:
    """Return an image id or label tag, if it is safe as part of a file name.

    Viewers name volumes freely: spaces, dots within and letters of any script are fine.

    Raises:
        InvalidRequestError: empty, hidden, too long, or with separators or control characters.
    """
    usable = (
        isinstance(name, str)
        and 0 < len(name.encode("utf-8", "surrogatepass")) <= 200
        and not name.startswith(".")
    )
    if not usable or not str(name).isprintable() or "/" in str(name) or "\\" in str(name):
        shown = repr(name) if len(repr(name)) < 80 else repr(name)[:76] + "..."
        raise InvalidRequestError(
            f"{what}: expected a name of at most 200 bytes, without / or \\ and not beginning with a dot, "
            f"found {shown}."
        )
    return str(name)
