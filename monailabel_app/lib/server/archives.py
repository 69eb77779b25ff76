"""Unpacking what clients send: nothing lands outside the folder, and nothing grows beyond a limit."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from lib.refusals import InvalidRequestError, TooLargeError, UnsupportedFileError

MOST_FILES = 20_000
_CHUNK = 2**20


def unpack(archive: Path, folder: Path, most_bytes: int) -> list[Path]:
    """Unpack a .zip or a (compressed) .tar.

    Args:
        archive: the file.
        folder: an empty folder.
        most_bytes: of all files together, counted while they are written, whatever the archive says.

    Returns:
        The files.

    Raises:
        UnsupportedFileError: another kind of file.
        InvalidRequestError: corrupt, or with links, devices or paths that lead outside.
        TooLargeError: too many files or bytes.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(_zip_members(opened), folder, most_bytes)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                return _write(_tar_members(tar), folder, most_bytes)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise InvalidRequestError(
            f"files: expected an archive that can be unpacked, found a corrupt or encrypted one "
            f"({type(error).__name__}); pack it again."
        ) from error
    raise UnsupportedFileError("files: expected a .zip, .tar or .tar.gz to unpack, found another kind.")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes]]]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        if kind not in (0, stat.S_IFREG):
            raise InvalidRequestError("files: expected plain files in the archive, found a link or device.")
        with archive.open(info) as content:
            yield info.filename, content


def _tar_members(archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for info in archive:
        if info.isdir():
            continue
        content = archive.extractfile(info) if info.isreg() else None
        if content is None:
            raise InvalidRequestError("files: expected plain files in the archive, found a link or device.")
        yield info.name, content


def _write(members: Iterator[tuple[str, IO[bytes]]], folder: Path, most_bytes: int) -> list[Path]:
    written: list[Path] = []
    left = most_bytes
    for name, content in members:
        if len(written) >= MOST_FILES:
            raise TooLargeError(f"files: expected at most {MOST_FILES} files in the archive, found more.")
        target = _inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while chunk := content.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise TooLargeError(
                        f"files: expected at most {most_bytes / 2**20:,.0f} MB unpacked, found more."
                    )
                file.write(chunk)
        written.append(target)
    if not written:
        raise InvalidRequestError("files: expected files in the archive, found none.")
    return written


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    usable = parts and not path.is_absolute() and ".." not in parts and ":" not in parts[0]
    target = folder.joinpath(*parts) if usable and name.isprintable() and len(name.encode()) < 1000 else None
    if target is None or max(len(part.encode()) for part in parts) > 200 or target.exists():
        raise InvalidRequestError(
            "files: expected names inside the archive that are relative, plain and there once, found another."
        )
    return target
