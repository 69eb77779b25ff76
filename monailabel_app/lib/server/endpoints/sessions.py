"""Sessions: images that are segmented without being kept, uploaded as files or as an archive."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import File, HTTPException, UploadFile
from fastapi.responses import FileResponse
from monailabel.endpoints import session
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type
from monailabel.utils.sessions import SessionInfo, Sessions

from lib.refusals import InvalidRequestError, TooLargeError, UnknownNameError, UnsupportedFileError
from lib.studies.scan_list import check_name, read_scan
from strokelabel.io.archives import ArchiveError, ArchiveTooLargeError, UnknownArchiveError, unpack
from strokelabel.io.bids import image_stem
from strokelabel.io.file_search import printable, search_images
from strokelabel.io.images import write_nifti
from strokelabel.io.volumes import is_in_two_files, is_scan_file


def unpack_upload(archive: Path, folder: Path, most_bytes: int) -> None:
    """Unpack a client's archive into an empty folder; see `strokelabel.io.archives.unpack`.

    Raises:
        UnsupportedFileError: another kind of file.
        InvalidRequestError: corrupt, or with links, devices or paths that lead outside.
        TooLargeError: too many files or bytes.
        OSError: the server cannot write it.
    """
    try:
        unpack(archive, folder, most_bytes)
    except ArchiveError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        kind = next((ours for theirs, ours in _REFUSALS if isinstance(error, theirs)), InvalidRequestError)
        raise kind(f"files: {error.message}") from error


_REFUSALS = ((ArchiveTooLargeError, TooLargeError), (UnknownArchiveError, UnsupportedFileError))

logger = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ABANDONED_SECONDS = 3600


def create_session(
    files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0
) -> dict[str, Any]:
    """Keep files as a session: one image, the DICOM files of one series, or an archive of them."""
    sessions = _sessions()
    app = app_instance()
    with tempfile.TemporaryDirectory(prefix="strokelabel-session-") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        kept = [_keep(file, folder) for file in files]
        if uncompress:
            if len(kept) != 1:
                raise InvalidRequestError("files: expected one archive to unpack, found several files.")
            folder = Path(temporary) / "unpacked"
            folder.mkdir()
            unpack_upload(kept[0], folder, app.server_options.most_upload_bytes)
            image = _scan_in(folder)
        else:
            scans = kept if len(kept) == 1 else [file for file in kept if is_scan_file(file)]
            image = scans[0] if len(scans) == 1 else folder
        image = _in_one_file(image)
        session_id, info = sessions.add_session(str(image), max(0, min(expiry, 2**31)))
    return {"session_id": session_id, "session_info": info.to_json()}


def _scan_in(folder: Path) -> Path:
    """Return the scan of an unpacked archive, in whatever folder; files that macOS and CDs add are skipped.

    Raises:
        InvalidRequestError: there are several.
    """
    found = search_images([folder]).images
    if len(found) > 1:
        names = ", ".join(printable(path.relative_to(folder)) for path in found[:5])
        raise InvalidRequestError(
            f"files: expected one scan in the archive, found {len(found)}: {names}; send each by itself."
        )
    files = [path for path in folder.rglob("*") if path.is_file()]
    return found[0] if found else files[0] if len(files) == 1 else folder


def _in_one_file(image: Path) -> Path:
    """Return an image as one file: a session keeps no others, such as the voxels beside their header.

    Raises:
        ImageError: it cannot be read.
    """
    if not (image.is_file() and is_scan_file(image) and is_in_two_files(image)):
        return image
    scan = read_scan(str(image), image.name)
    whole = image.with_name(f"{image_stem(image)}.nii.gz")
    write_nifti(whole, scan.data, scan, np.float32)
    return whole


def get_session(session_id: str, update_ts: bool = False, image: bool = False) -> Any:  # noqa: ANN401
    """Return the description of a session, or its image."""
    info = _find(session_id, update_ts)
    if not image:
        return info.to_json()
    if not Path(info.image).is_file():
        raise InvalidRequestError(
            "image: this session holds several files, which cannot be downloaded as one."
        )
    return FileResponse(info.image, media_type=get_mime_type(info.image), filename=Path(info.image).name)


def remove_session(session_id: str) -> Any:  # noqa: ANN401
    """Delete a session and its files."""
    info = _find(session_id, update_ts=False)
    _sessions().remove_session(session_id)
    return info.to_json()


def check_session_id(session_id: str) -> None:
    """Refuse what cannot be the id of a session before it becomes part of a path.

    Raises:
        UnknownNameError: not of the form that the server gives.
    """
    if session_id and not _ID.fullmatch(session_id):
        raise UnknownNameError("No such session; PUT /session/ makes one.")


def remove_expired(sessions: Sessions) -> int:
    """Delete sessions that were not used for their time to live, and half of ones left by a crash.

    MONAI Label's own stops at the first that it cannot read.
    """
    root = Path(sessions.store_path)
    removed = 0
    for folder in root.iterdir() if root.is_dir() else ():
        if not _ID.fullmatch(folder.name):
            continue
        last, expiry = _lifetime(folder)
        if expiry > 0 and last + expiry < time.time():
            sessions.remove_session(folder.name)
            removed += 1
    return removed


def _lifetime(folder: Path) -> tuple[float, float]:
    try:
        info = json.loads((folder / "meta.info").read_text(encoding="utf-8"))
        return float(info["last_access_ts"]), float(info["expiry"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.stat().st_mtime, _ABANDONED_SECONDS


def _keep(file: UploadFile, folder: Path) -> Path:
    name = (file.filename or "image").replace("\\", "/").rpartition("/")[2]
    target = folder / check_name(name, "files")
    if target.exists():
        raise InvalidRequestError(
            f"files: expected each name once, found {name!r} twice; send files of several folders as an archive."
        )
    with target.open("wb") as kept:
        shutil.copyfileobj(file.file, kept)
    return target


def _sessions() -> Sessions:
    sessions = app_instance().sessions()
    if sessions is None:
        raise HTTPException(406, "This server was started without sessions.")
    return sessions


def _find(session_id: str, update_ts: bool) -> SessionInfo:
    check_session_id(session_id)
    try:
        info = _sessions().get_session(session_id, update_ts=update_ts)
    except ValueError:  # its record is half written
        info = None
    if info is None:
        raise UnknownNameError("No such session; PUT /session/ makes one.")
    return info


INSTEAD_OF: dict[Callable[..., Any], Callable[..., Any]] = {
    session.api_create_session: create_session,
    session.api_get_session: get_session,
    session.api_remove_session: remove_session,
}
"""Endpoint of MONAI Label that each replaces."""
