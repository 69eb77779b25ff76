"""Archives of scans (.zip, .tar, .tar.gz): unpacked within limits, and never outside the folder that is meant for it.

A path may lead on into an archive: `study.zip/series/IM0001` is that file of it. So results, tables and errors can name
a scan that is not on the disk by itself.
"""

from __future__ import annotations

import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from strokelabel.errors import ImageError, UnreadableImageError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

MOST_FILES = 20_000
MOST_BYTES = 8 * 2**30
"""Of all unpacked files together: several times a study of a head with all its series."""

_CHUNK = 2**20
_MOST_NAME_BYTES, _MOST_PATH_BYTES = 200, 1000
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


class ArchiveError(UnreadableImageError):
    """Archive that is corrupt, encrypted, or holds links, devices or paths that lead outside."""


class ArchiveTooLargeError(ArchiveError):
    """Archive with more files or bytes than are unpacked."""


class UnknownArchiveError(ArchiveError):
    """File that is no archive of a known kind."""


def is_archive_name(path: Path) -> bool:
    """Return whether a file name ends as that of an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def split_archive(path: Path) -> tuple[Path, PurePosixPath] | None:
    """Split a path into that of an archive and the one within it ("." for all of it); None for any other path."""
    for place in (path, *path.parents):
        if is_archive_name(place) and place.is_file():
            return place, PurePosixPath(path.relative_to(place).as_posix())
    return None


def is_in_archive(path: Path) -> bool:
    """Return whether a path is an archive, or leads on into one."""
    return split_archive(path) is not None


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the path on the disk of what a path into an archive means, with its neighbours; any other path as it is.

    The unpacked files are removed afterwards.

    Raises:
        ArchiveError: it cannot be unpacked, or has no such file.
    """
    parts = split_archive(path)
    if parts is None:
        yield path
        return
    archive, inside = parts
    with tempfile.TemporaryDirectory(prefix="strokelabel-unpacked-") as temporary:
        root = Path(temporary)
        near = (inside.parent, inside) if inside.parts else None
        unpack(archive, root, wanted=None if near is None else lambda each: _is_near(each, *near))
        if not (root / inside).exists():
            raise ArchiveError(f"expected {inside.as_posix()!r} in the archive, found none", source=archive)
        yield root / inside


def unpack(
    archive: Path,
    folder: Path,
    most_bytes: int = MOST_BYTES,
    wanted: Callable[[PurePosixPath], bool] | None = None,
) -> list[Path]:
    """Unpack a .zip or a (compressed) .tar.

    Args:
        archive: the file.
        folder: an empty folder.
        most_bytes: of all files together, counted while they are written, whatever the archive says.
        wanted: whether to unpack the file of a path; all by default.

    Returns:
        The files.

    Raises:
        UnknownArchiveError: another kind of file.
        ArchiveTooLargeError: too many files or bytes.
        ArchiveError: corrupt, encrypted, or with links, devices or paths that lead outside.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(_zip_members(opened), folder, most_bytes, wanted)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                return _write(_tar_members(tar), folder, most_bytes, wanted)
    except ImageError as error:
        raise error.with_source(archive) from error
    except _BROKEN as error:
        raise ArchiveError(
            "expected an archive that can be unpacked, found a corrupt or encrypted one "
            f"({type(error).__name__}); pack it again.",
            source=archive,
        ) from error
    except OSError as error:
        raise ArchiveError(
            f"expected an archive that can be read and space to unpack it in {tempfile.gettempdir()}, but "
            f"{error.strerror or error}; unpack it by hand and pass the folder.",
            source=archive,
        ) from error
    raise UnknownArchiveError(
        "expected a .zip, .tar or .tar.gz to unpack, found another kind; pack it again.", source=archive
    )


_Members = Iterator[tuple[str, Callable[[], IO[bytes]]]]


def _zip_members(archive: zipfile.ZipFile) -> _Members:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        if kind not in (0, stat.S_IFREG):
            raise ArchiveError("expected plain files in the archive, found a link or device.")
        yield info.filename, lambda info=info: archive.open(info)  # type: ignore[misc]


def _tar_members(archive: tarfile.TarFile) -> _Members:
    for info in archive:
        if info.isdir():
            continue
        content = archive.extractfile(info) if info.isreg() else None
        if content is None:
            raise ArchiveError("expected plain files in the archive, found a link or device.")
        yield info.name, lambda content=content: content  # type: ignore[misc]


def _write(
    members: _Members, folder: Path, most_bytes: int, wanted: Callable[[PurePosixPath], bool] | None
) -> list[Path]:
    written: list[Path] = []
    left = most_bytes
    for name, open_member in members:
        target = _inside(folder, name)
        if wanted is not None and not wanted(PurePosixPath(target.relative_to(folder).as_posix())):
            continue
        if len(written) >= MOST_FILES:
            raise ArchiveTooLargeError(f"expected at most {MOST_FILES} files in the archive, found more.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as content, target.open("xb") as file:
            while chunk := content.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise ArchiveTooLargeError(
                        f"expected at most {most_bytes / 2**20:,.0f} MB unpacked, found more."
                    )
                file.write(chunk)
        written.append(target)
    if not written:
        raise ArchiveError("expected files in the archive, found none.")
    return written


def _inside(folder: Path, name: str) -> Path:
    """Return the place of a member of an archive, if its name is a plain path below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    usable = parts and not path.is_absolute() and ".." not in parts and ":" not in parts[0]
    usable = usable and name.isprintable() and len(name.encode()) < _MOST_PATH_BYTES
    target = folder.joinpath(*parts) if usable else None
    if (
        target is None
        or max(len(part.encode()) for part in parts) > _MOST_NAME_BYTES
        or any(place.is_file() for place in (target, *target.parents))
    ):
        raise ArchiveError("expected unique, plain, relative names in the archive, found another.")
    return target


def _is_near(path: PurePosixPath, folder: PurePosixPath, inside: PurePosixPath) -> bool:
    """Return whether a file belongs to a scan: what lies in a folder of slices, and beside a file."""
    return path.is_relative_to(inside) or path.parent == folder
