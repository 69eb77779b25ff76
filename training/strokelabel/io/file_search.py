"""Search of folders for scans: no odd entry stops it, and what is left out is named.

Hidden files and folders, and those that archives leave behind (`__MACOSX`, `@eaDir`), are skipped. Links to folders
are followed once. An entry that cannot be read, or whose name is not valid text, becomes a problem of the search.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from strokelabel.errors import UnreadableImageError
from strokelabel.io.archives import ArchiveError, is_archive_name, split_archive, unpacked
from strokelabel.io.bids import NOT_RAW_FOLDERS, is_derived_name
from strokelabel.io.file_kinds import is_dicom_file
from strokelabel.io.nifti import pair_of
from strokelabel.io.volumes import is_scan_file

_ARCHIVE_LEFTOVERS = frozenset({"__MACOSX", "@eaDir", "DICOMDIR"})  # the last is the index of a medium


@dataclass(frozen=True)
class SearchProblem:
    """An entry of a folder that was left out.

    Attributes:
        path: the entry as text that can be printed; bytes that are no text are written as escapes.
        reason: why, and what to do.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class FileSearch:
    """Files below a folder.

    Attributes:
        files: in the order of their paths; links are files even where their target is missing.
        problems: entries that were left out.
    """

    files: list[Path] = field(default_factory=list)
    problems: list[SearchProblem] = field(default_factory=list)


@dataclass(frozen=True)
class ImageSearch:
    """Scans of the inputs.

    Attributes:
        images: paths for `read_image`, each once, in the order of the inputs and sorted within a folder.
        problems: entries of searched folders that were left out.
    """

    images: list[Path]
    problems: list[SearchProblem]


def absolute_path(path: str | Path) -> Path:
    """Return an absolute path as the user gave it: links stay, since results are named after them."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows links, Path.absolute keeps ".."


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is skipped: hidden, or left behind by an archive."""
    return name.startswith(".") or name in _ARCHIVE_LEFTOVERS


def search_files(root: Path, skipped_folders: Collection[str] = ()) -> FileSearch:
    """List the files below a folder.

    Args:
        root: a folder, or a link to one.
        skipped_folders: names of folders that are skipped.
    """
    found, seen = FileSearch(), set[tuple[int, int]]()
    folders, linked = [root], list[Path]()
    while folders or linked:  # links last, so that a folder is found under its own name first
        folder = folders.pop() if folders else linked.pop(0)
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.problems.append(
                _problem(folder, f"cannot be read ({error.strerror}); check its permissions")
            )
            continue
        for entry in listed:
            if not is_hidden(entry.name):
                _sort_in(entry, folder, skipped_folders, found, folders, linked)
    found.files.sort()
    return found


def _sort_in(
    entry: os.DirEntry[str],
    folder: Path,
    skipped: Collection[str],
    found: FileSearch,
    folders: list[Path],
    linked: list[Path],
) -> None:
    """Put an entry where it belongs: with the files, with the folders still to be searched, or with the problems."""
    path = folder / entry.name
    try:
        entry.name.encode("utf-8")
        if entry.is_dir():
            if entry.name not in skipped:
                (linked if entry.is_symlink() else folders).append(path)
        elif entry.is_file() or _is_dangling_link(entry):
            found.files.append(path)
        elif is_scan_file(path):
            found.problems.append(_problem(path, "is not a regular file"))
    except UnicodeEncodeError:
        found.problems.append(_problem(path, "has a name that is not UTF-8; rename it"))
    except OSError as error:
        found.problems.append(_problem(path, f"cannot be read ({error.strerror})"))


def _is_dangling_link(entry: os.DirEntry[str]) -> bool:
    """Return whether a link's target is missing, as of a file that datalad has not fetched yet."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - false for loops, too


def _problem(path: Path, reason: str) -> SearchProblem:
    return SearchProblem(printable(path), reason)


def printable(path: str | Path) -> str:
    """Return a path as text that any stream takes: bytes that are not UTF-8 become escapes such as \\xfc."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def search_images(inputs: Sequence[str | Path]) -> ImageSearch:
    """List the scans that inputs stand for.

    Args:
        inputs: files; folders, searched recursively for image files and for folders that hold DICOM files (such a
            folder is one scan; one of several series is a scan for each, named by its first file); archives, searched
            likewise; patterns with `*`, `?`, `[...]` or `**`. In folders, archives and patterns, masks and other
            derived files are skipped by their names, and so are BIDS's `derivatives`, `sourcedata` and `code`;
            archives in folders are skipped.

    Returns:
        An input that stands for nothing is among the images as it is, so that reading it says what is wrong while the
        others are still processed.
    """
    found: dict[str, Path] = {}
    problems: list[SearchProblem] = []
    for item in inputs:
        if (
            str(item) == ""
        ):  # as of a shell variable that is not set; Path would take it for the current folder
            problems.append(SearchProblem("", "expected a file or folder, found an empty name"))
            continue
        for path in _matches(item):
            for image in _images_of(path, problems):
                found.setdefault(_identity(image), image)
    return ImageSearch(list(found.values()), problems)


@contextmanager
def unpacked_scan(path: Path) -> Iterator[Path]:
    """Yield the path on the disk of the scan that a path into an archive means; any other path as it is.

    Raises:
        ArchiveError: it cannot be unpacked, or has no such scan.
        UnreadableImageError: several scans; they are named.
    """
    parts = split_archive(path)
    with unpacked(path) as place:
        if parts is None or parts[1].parts:
            yield place
            return
        found = search_images([place]).images
        if len(found) > 1:
            names = ", ".join(printable(path / scan.relative_to(place)) for scan in found[:5])
            raise UnreadableImageError(
                f"expected one scan in the archive, found {len(found)}: {names}; name one of them.",
                source=path,
            )
        yield found[0] if found else place


def _images_of(path: Path, problems: list[SearchProblem]) -> list[Path]:
    if _is_folder(path):
        return _images_in(path, problems)
    parts = split_archive(path) if is_archive_name(path) else None
    return [path] if parts is None else _images_in_archive(path, problems)


def _images_in_archive(archive: Path, problems: list[SearchProblem]) -> list[Path]:
    """Return the scans of an archive as paths that lead into it; the archive itself for its only series of DICOM."""
    try:
        with unpacked(archive) as place:
            found: list[SearchProblem] = []
            images = _images_in(place, found)
            only_series = len(images) == 1 and not is_scan_file(images[0])
    except ArchiveError:
        return [archive]  # reading it says what is wrong
    prefix = str(place)
    problems += [
        SearchProblem(problem.path.replace(prefix, printable(archive)), problem.reason) for problem in found
    ]
    return [archive] if only_series else [archive / image.relative_to(place) for image in images]


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):  # missing, a loop, too long a name: reading it says so
        return False


def _matches(item: str | Path) -> list[Path]:
    """Return the paths of a pattern; a path that exists is itself, even with brackets in its name."""
    path = Path(item).expanduser()
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    scans = [match for match in matches if match.is_dir() or _is_scan(match)]
    return [match for match in scans if not is_derived_name(match)] or scans or [path]


def _identity(image: Path) -> str:
    """Return a text that is the same for two paths to one scan, such as two files of a DICOM series."""
    if _is_folder(image) or is_scan_file(image) or not is_dicom_file(image):
        return str(absolute_path((pair_of(image) or (image,))[0]))
    from strokelabel.io.dicom.series import series_key  # pydicom is only needed where DICOM is

    return series_key(image)


def _images_in(folder: Path, problems: list[SearchProblem]) -> list[Path]:
    """Return the scans below a folder; the folder itself if there are none and no reason is known."""
    search = search_files(folder, NOT_RAW_FOLDERS)
    images, found = sorted(_scans_among(search.files)), search.problems
    if not images and any(map(is_scan_file, search.files)):
        reason = "expected scans, found only masks and other derived files; pass a file to use it"
        found = [*found, _problem(folder, reason)]
    problems += found
    return images or ([] if found else [folder])


def _scans_among(files: Sequence[Path]) -> Iterator[Path]:
    by_folder: dict[Path, list[Path]] = {}
    for path in files:
        if not is_scan_file(path):
            by_folder.setdefault(path.parent, []).append(path)
        elif not is_derived_name(path):
            yield path
    for others in by_folder.values():
        dicom = [path for path in others if _is_dicom_image(path)]
        if dicom:
            from strokelabel.io.dicom.series import dicom_images  # as above

            yield from dicom_images(dicom)


def _is_scan(path: Path) -> bool:
    return is_scan_file(path) or is_archive_name(path) or _is_dicom_image(path)


def _is_dicom_image(path: Path) -> bool:
    """Return whether a file is a DICOM image, not a result of an earlier run (SEG), a report or the like."""
    if not is_dicom_file(path):
        return False
    from strokelabel.io.dicom.header import announces_an_image  # pydicom is only needed where DICOM is

    return announces_an_image(path)
