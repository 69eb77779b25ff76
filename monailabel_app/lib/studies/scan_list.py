"""Scans of a studies folder, and their ids.

A flat folder and a BIDS data set are both understood. The id of a scan is its file name without .nii or
.nii.gz; a file in a sub-folder whose name does not itself name the subject (patient-3/T1.nii.gz) takes the
folders' names along (patient-3_T1), so that an id means the same scan whatever is added later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.refusals import InvalidRequestError

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".nii.gz", ".nii")
LABEL_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd")

_OTHER_FOLDERS = frozenset({"derivatives", "labels", "sourcedata", "code"})
_SEQUENCES = frozenset(
    {"T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "inplaneT1", "inplaneT2", "dwi", "ADC", "trace", "swi"}
)
"""BIDS suffixes of MR images that show a brain by themselves; not CT, which needs a window of its own."""
_MASK_ENDINGS = ("_mask", "_dseg", "_probseg")  # BIDS suffixes of what is derived from a scan


def find_studies(root: Path) -> dict[str, Path]:
    """Find the scans below a folder.

    Args:
        root: the studies folder.

    Returns:
        id -> path relative to `root`. Of two files with one id the first in alphabetical order is served.
    """
    found: dict[str, Path] = {}
    for relative in _walk(root):
        if not is_study(relative):
            continue
        kept = found.setdefault(study_id(relative), relative)
        if kept != relative:
            logger.warning(f"{relative} is not served: {kept} has the same id")
    return found


def is_study(relative: Path) -> bool:
    """Return whether a file of the studies folder (relative path) is a scan, to judge by its name and folders."""
    stem, suffix = split_suffix(relative.name, IMAGE_SUFFIXES)
    hidden = any(part.startswith(".") for part in relative.parts)
    return bool(suffix and stem) and not (
        hidden or stem.endswith(_MASK_ENDINGS) or _OTHER_FOLDERS.intersection(relative.parts[:-1])
    )


def study_id(relative: Path) -> str:
    """Return the id of the scan at a path relative to the studies folder."""
    stem, _ = split_suffix(relative.name, IMAGE_SUFFIXES)
    folders = relative.parts[:-1]
    names_subject = bool(folders) and stem.startswith(folders[0] + "_")
    return stem if names_subject else "_".join([*folders, stem])


def session_sequences(image_id: str, ids: Iterable[str]) -> list[str]:
    """Return the ids of the other sequences of a scan's BIDS subject and session, in alphabetical order.

    Args:
        image_id: of the scan; [] when it is no BIDS name of a sequence.
        ids: all ids of the datastore.
    """
    session = _bids_session(image_id)
    if session is None:
        return []
    return sorted(other for other in ids if other != image_id and _bids_session(other) == session)


def _bids_session(image_id: str) -> tuple[str, str, str] | None:
    """Return the subject, session and space of a magnitude MR sequence's BIDS name; None for any other name."""
    *parts, suffix = image_id.split("_")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    is_sequence = len(entities) == len(parts) and suffix in _SEQUENCES and "sub" in entities
    if not is_sequence or entities.get("part", "mag") != "mag":
        return None
    return entities["sub"], entities.get("ses", ""), entities.get("space", "")


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
    if not usable or any(char in "/\\" or not char.isprintable() for char in str(name)):
        shown = repr(name) if len(repr(name)) < 80 else repr(name)[:76] + "..."
        raise InvalidRequestError(
            f"{what}: expected a name of at most 200 bytes, without / or \\ and not beginning with a dot, "
            f"found {shown}."
        )
    return str(name)


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in _OTHER_FOLDERS and not name.startswith(".")
        )
        for name in sorted(files):
            yield (Path(folder) / name).relative_to(root)
