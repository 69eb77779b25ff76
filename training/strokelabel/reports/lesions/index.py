"""Index of the pages of a folder of results: all scans, to be sorted and filtered."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import quote

from strokelabel import __version__
from strokelabel.io import atomic_write_text
from strokelabel.io.file_search import printable
from strokelabel.reports.lesions.page import FOLDER, INDEX_NAME, templates


@dataclass(frozen=True)
class IndexedScan:
    """Line of the index.

    Attributes:
        name: of the scan's file or folder, with the folder that it is in where several have one name.
        kind: "lesion", "none" or "failed".
        volume_ml, lesion_count, reason: cells of the table.
        page: address of its page; "" where it has none.
        picture: address of its small picture; "" where it has none.
    """

    name: str
    kind: str
    volume_ml: str
    lesion_count: str
    reason: str
    page: str
    picture: str


def write_index(folder: Path, tables: Iterable[str]) -> Path | None:
    """Write the index of a folder of results.

    Args:
        folder: with tables and the folder of pages.
        tables: file names of the tables of scans; those that are not there are left out.

    Returns:
        The page; None where no scan was done.

    Raises:
        OutputError: it cannot be written.
    """
    rows = [row for name in tables if (folder / name).exists() for row in _rows(folder / name)]
    names = Counter(Path(row["source"]).name for row in rows)
    scans = [_indexed(row, folder, names[Path(row["source"]).name] > 1) for row in rows]
    if not scans:
        return None
    path = folder / INDEX_NAME
    kinds = [scan.kind for scan in scans]
    page = (
        templates()
        .get_template("index.html.j2")
        .render(
            scans=scans,
            found=kinds.count("lesion"),
            empty=kinds.count("none"),
            failed=kinds.count("failed"),
            volumes=_described([float(scan.volume_ml) for scan in scans if scan.kind == "lesion"]),
            version=__version__,
        )
    )
    atomic_write_text(path, page)
    return path


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _indexed(row: Mapping[str, str], folder: Path, with_folder: bool) -> IndexedScan:
    source = Path(row["source"])
    stem = row["mask"].removesuffix(".nii.gz")
    page, picture = (f"{FOLDER}/{stem}.{suffix}" for suffix in ("html", "webp"))
    failed = row["status"] == "failed"
    kind = "failed" if failed else "lesion" if row["lesion_count"] not in ("", "0") else "none"
    return IndexedScan(
        name=printable(f"{source.parent.name}/{source.name}" if with_folder else source.name),
        kind=kind,
        volume_ml="" if failed else f"{float(row['volume_ml']):.1f}",
        lesion_count=row["lesion_count"],
        reason=row["reason"],
        page=quote(page) if stem and (folder / page).exists() else "",
        picture=quote(picture) if stem and (folder / picture).exists() else "",
    )


def _described(volumes_ml: list[float]) -> str:
    """Return the median and the range of volumes."""
    if not volumes_ml:
        return "none"
    return f"median {median(volumes_ml):.1f} ml, {min(volumes_ml):.1f} to {max(volumes_ml):.1f} ml"
