"""Series among the DICOM files of a folder: the one to read, and the others beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.tag import Tag

from strokelabel.errors import HeaderError, UnreadableImageError
from strokelabel.io.dicom.header import (
    EXPORT_AGAIN,
    DicomFile,
    read_dicom_file,
    refusing_corruption,
    silent_pydicom,
    tag_name,
    text,
)
from strokelabel.io.file_kinds import is_dicom_file, is_without_content, known_format, what_it_is

_MOST_LISTED = 8


@silent_pydicom()
def series_of(path: Path) -> tuple[list[DicomFile], tuple[str, ...]]:
    """Find the files of the one series that a path stands for, each instance once, and notes on what was left out.

    Args:
        path: a folder that holds one series (its subfolders are not searched), or one file of the series that is
            meant, whose others lie beside it. A multi-frame file stands for itself.

    Raises:
        UnreadableImageError: no image, several series, or a corrupt file.
        HeaderError: files that do not say which series they are of.
    """
    if path.is_dir():
        files = _images_in(path)
        scans = [file for file in files if not file.is_aside] or files
        chosen = _only_series(scans, path)
    else:
        files = [_given_file(path)]
        if files[0].size[2] == 1:
            files = [file for file in _images_in(path.parent) if file.series == files[0].series]
        chosen = [file for file in files if not file.is_aside] or files
    notes = _left_out([file for file in files if file not in chosen])
    unique, copies = _without_copies(chosen)
    if copies:
        notes += (
            f"{copies} files are copies of others (the same SOPInstanceUID and pixels): they count once",
        )
    return unique, notes


def dicom_images(files: Sequence[Path]) -> list[Path]:
    """List what to read for the DICOM files of one folder: the folder, or the first file of each of several series.

    Args:
        files: DICOM files of one folder.
    """
    if not files:
        return []
    folder = files[0].parent
    try:
        images = [image for image in map(read_dicom_file, files) if image is not None]
    except (UnreadableImageError, HeaderError):
        return [folder]  # reading it says what is wrong
    scans = [file for file in images if not file.is_aside] or images
    series = _by_series(scans)
    if not series:
        return []
    if len(series) == 1 or all(len(s) == 1 and s[0].size[2] == 1 for s in series.values()):
        return [folder]
    return [s[0].path for s in series.values()]


def series_key(path: Path) -> str:
    """Return a text that is the same for the files of one series in one folder; the path of a file without series."""
    try:
        file = read_dicom_file(path)
    except (UnreadableImageError, HeaderError):
        return str(path)
    single = file is not None and file.series and file.size[2] == 1
    return f"{path.parent.resolve()} {file.series}" if file is not None and single else str(path.resolve())


def _images_in(folder: Path) -> list[DicomFile]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UnreadableImageError(
            f"expected a readable folder, but {error.strerror}; check its permissions.", source=folder
        ) from error
    marked = [path for path in paths if path.is_file() and is_dicom_file(path)]
    images = [file for file in map(read_dicom_file, marked) if file is not None]
    if images:
        _check_all_are_there(images, paths)
        return images
    about = (
        f"{len(marked)} DICOM files without images (reports, a DICOMDIR)" if marked else _what_is_in(paths)
    )
    raise UnreadableImageError(
        f"expected the DICOM files of one series, found no DICOM image but {about}; pass the folder that "
        "holds the files, or a NIfTI file (.nii, .nii.gz).",
        source=folder,
    )


def _check_all_are_there(images: Sequence[DicomFile], paths: Sequence[Path]) -> None:
    """Refuse a folder in which files named like its images have no content: slices may be among them."""
    suffixes = {image.path.suffix for image in images}
    gone = [
        path for path in paths if path.suffix in suffixes and not path.is_dir() and is_without_content(path)
    ]
    if gone:
        raise UnreadableImageError(
            f"expected a DICOM file as its {len(images)} neighbours are, found a file without content "
            f"(empty, not fetched or a link to nothing), {len(gone)} in all; copy or fetch the series again (git lfs "
            "pull, datalad get), or remove them.",
            source=gone[0],
        )


def _what_is_in(paths: Sequence[Path]) -> str:
    """Describe the content of a folder without DICOM, by its first entry."""
    if not paths:
        return "nothing"
    first = paths[0]
    kind = "a folder" if first.is_dir() else what_it_is(first) or known_format(first)
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{first.name} ({kind}){more}"


def _given_file(path: Path) -> DicomFile:
    file = read_dicom_file(path)
    if file is None:
        raise UnreadableImageError(
            f"expected a DICOM image, found another DICOM object (a report, a segmentation or the DICOMDIR of "
            f"a medium); pass a folder of images, such as one below {path.parent}.",
            source=path,
        )
    return file


def _only_series(files: Sequence[DicomFile], folder: Path) -> list[DicomFile]:
    series = _by_series(files)
    if len(series) == 1:
        return next(iter(series.values()))
    if "" in series:
        raise HeaderError(
            f"expected {tag_name('SeriesInstanceUID')} in every file, found {len(series[''])} files such as "
            f"{series[''][0].path.name} without it; {EXPORT_AGAIN}, or move them to a folder of their own.",
            source=folder,
        )
    raise UnreadableImageError(
        f"expected the DICOM files of one series, found {len(series)}: {_list(series)}; "
        "pass one file of the series to segment, or move each series to a folder of its own.",
        source=folder,
    )


def _by_series(files: Sequence[DicomFile]) -> dict[str, list[DicomFile]]:
    found: dict[str, list[DicomFile]] = {}
    for file in files:
        found.setdefault(file.series, []).append(file)
    return found


def _list(series: dict[str, list[DicomFile]]) -> str:
    names = [
        f"{s[0].description or 'unnamed'} ({len(s)} files such as {s[0].path.name}, series {uid})"
        for uid, s in list(series.items())[:_MOST_LISTED]
    ]
    more = len(series) - _MOST_LISTED
    return "; ".join(names) + (f"; and {more} more" if more > 0 else "")


def _left_out(files: Sequence[DicomFile]) -> tuple[str, ...]:
    if not files:
        return ()
    names = ", ".join(sorted({file.description or file.path.name for file in files}))
    return (f"left out {len(files)} files that are no scan (colour, a screenshot, a localizer): {names}",)


def _without_copies(files: Sequence[DicomFile]) -> tuple[list[DicomFile], int]:
    """Return the files without later copies of the same instance; equal identifiers of different pixels are
    no copies.
    """
    kept: dict[str, DicomFile] = {}
    unique = []
    for file in files:
        instance = text(file.header, "SOPInstanceUID")
        if instance and instance in kept and _pixels(file) == _pixels(kept[instance]):
            continue
        kept.setdefault(instance, file)
        unique.append(file)
    return unique, len(files) - len(unique)


def _pixels(file: DicomFile) -> tuple[bytes, ...]:
    """Return the place and pixels as they are in the file."""
    keywords = ["ImagePositionPatient", "PixelData"]
    with refusing_corruption(file.path):
        dataset = dcmread(file.path, force=True, specific_tags=keywords)
        elements = [dataset.get_item(Tag(keyword)) for keyword in keywords]
    return tuple(b"" if element is None else bytes(element.value or b"") for element in elements)
