"""Choice among several DICOM series by what their headers call them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydicom import Dataset, dcmread

from strokelabel.errors import ImageError, OptionError
from strokelabel.io.archives import unpacked
from strokelabel.io.dicom.header import read_dicom_file, silent_pydicom, text
from strokelabel.io.file_kinds import is_dicom_file
from strokelabel.io.file_search import printable, unpacked_scan
from strokelabel.io.volumes import is_scan_file

_MOST_LISTED = 12


@dataclass(frozen=True)
class DicomSeries:
    """A series as its header describes it; what is missing there is "".

    Attributes:
        path: for `read_image`.
        number, description, modality, uid: of the series.
        files: number of its files in their folder.
    """

    path: Path
    number: str
    description: str
    modality: str
    uid: str
    files: int

    def __str__(self) -> str:
        name = f"{self.number or '-'}\t{self.description or 'unnamed'}\t{self.modality}"
        return (
            f"{name}\t{self.files} file{'s' if self.files != 1 else ''}\t{self.uid}\t{printable(self.path)}"
        )

    def is_called(self, name: str) -> bool:
        """Return whether a text is the number, the UID or the description, in which * and ? stand for others."""
        wanted = name.strip().lower()
        return wanted in (self.number, self.uid) or fnmatchcase(self.description.lower(), wanted)


def list_series(images: Sequence[Path]) -> list[DicomSeries]:
    """Return the DICOM series among scans, in their order; those that cannot be read are left out.

    Args:
        images: paths for `read_image`, as `search_images` finds them.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in images:
        if not is_scan_file(path):
            by_folder[path.parent].append(path)
    found: dict[Path, DicomSeries] = {}
    for folder, paths in by_folder.items():
        with (
            suppress(ImageError),
            unpacked(folder) as place,
        ):  # once for all series in one folder of an archive
            for path in paths:
                with suppress(ImageError), unpacked_scan(place / path.name) as scan:
                    if (series := _series_at(scan, path)) is not None:
                        found[path] = series
    return [found[path] for path in images if path in found]


def choose_series(images: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """Keep the series of some names, and all scans that are no DICOM series.

    Args:
        images: as for `list_series`.
        names: see `DicomSeries.is_called`.

    Raises:
        OptionError: no series is called so; the error lists those that are there.
    """
    if not names:
        return list(images)
    series = {one.path: one for one in list_series(images)}
    for name in names:
        if not any(one.is_called(name) for one in series.values()):
            listed = "; ".join(
                f"{one.number or '-'} {one.description or 'unnamed'}"
                for one in list(series.values())[:_MOST_LISTED]
            )
            more = "; and more" if len(series) > _MOST_LISTED else ""
            raise OptionError(
                f"expected the number, description or UID of a DICOM series, got {name!r}; there "
                f"{f'are {listed}{more}' if series else 'is none'}"
            )
    return [path for path in images if path not in series or any(map(series[path].is_called, names))]


@silent_pydicom()
def _series_at(scan: Path, path: Path) -> DicomSeries | None:
    """Return the series of a scan on the disk, under the path that names it; None for what is no DICOM image."""
    files = sorted(scan.iterdir() if scan.is_dir() else scan.parent.iterdir()) if scan.exists() else []
    marked = [file for file in files if file.is_file() and is_dicom_file(file)]
    first = next((file for file in map(read_dicom_file, marked if scan.is_dir() else [scan]) if file), None)
    if first is None or (not scan.is_dir() and not is_dicom_file(scan)):
        return None
    count = sum(_uid_of(file) == first.series for file in marked) if first.size[2] == 1 else 1
    number = text(first.header, "SeriesNumber")
    return DicomSeries(path, number, first.description, first.modality, first.series, count)


def _uid_of(file: Path) -> str:
    try:
        header: Dataset = dcmread(
            file, stop_before_pixels=True, force=True, specific_tags=["SeriesInstanceUID"]
        )
        return text(header, "SeriesInstanceUID")
    except Exception:  # pydicom has no common error for corrupt files
        return ""
