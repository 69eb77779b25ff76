"""Names of the files that hold quantitative maps.

The maps of `sub-01_T1w.nii.gz` are `sub-01_space-orig_desc-T1westimated_PDmap.nii.gz`, `..._R1map.nii.gz`,
`..._R2starmap.nii.gz` and `..._MTsat.nii.gz` (the suffixes of BIDS); those of any other `scan.nii.gz` are
`scan_PD.nii.gz`, `scan_R1.nii.gz`, `scan_R2star.nii.gz` and `scan_MT.nii.gz`. Maps made elsewhere are found under
either kind of ending, and under the hMRI toolbox's `R2s`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelabel.errors import DataError
from strokelabel.io.file_kinds import without_suffix
from strokelabel.io.volumes import is_scan_file

MAP_UNITS: dict[str, str] = {"pd": "p.u.", "r1": "1/s", "r2": "1/s", "r2_star": "1/s", "mt": "p.u."}
"""Unit of each map; p.u. are percentage units: 100 is pure water for PD, all magnetisation for MT."""

BIDS_SUFFIXES: dict[str, str] = {
    "pd": "PDmap",
    "r1": "R1map",
    "r2": "R2map",
    "r2_star": "R2starmap",
    "mt": "MTsat",
}
"""BIDS suffix of each map."""

PLAIN_SUFFIXES: dict[str, str] = {"pd": "PD", "r1": "R1", "r2": "R2", "r2_star": "R2star", "mt": "MT"}
"""Ending of each map's name where names are not BIDS's."""

_ENDING = re.compile(r"^(.+)_(PD|R1|R2star|R2s|R2|MT)(?:map|sat)?$", re.IGNORECASE)
_MAP_OF_ENDING = {"pd": "pd", "r1": "r1", "r2": "r2", "r2s": "r2_star", "r2star": "r2_star", "mt": "mt"}
_ESTIMATED = "estimated"


@dataclass(frozen=True)
class MapFiles:
    """Maps of one subject, and their other files.

    Attributes:
        name: of the files, without their endings.
        maps: file of each map, by the map's name.
        tissues: tissue classes on the maps' grid (`labels.TissueClass`), if there are any.
        lesion: the lesion mask on the maps' grid, if there is one.
    """

    name: str
    maps: dict[str, Path]
    tissues: Path | None = None
    lesion: Path | None = None


def find_map_files(folder: Path, required: Sequence[str] = ("pd", "r1", "r2_star", "mt")) -> list[MapFiles]:
    """Return the subjects of a folder with all of the required maps, by name.

    Tissues and lesions are found beside the maps, under the names that `strokelabel predict --tissues` gives them
    when it is shown the scan that the maps were estimated from: `scan_tissue_dseg.nii.gz` (or `scan_dseg.nii.gz`),
    `scan_lesion_mask.nii.gz`, and their counterparts with BIDS names.

    Args:
        folder: searched recursively.
        required: names of maps.

    Raises:
        DataError: no such folder, none in it, or a map that is there twice.
    """
    if not folder.is_dir():
        raise DataError("expected a folder of quantitative maps, found none", source=folder)
    found: dict[Path, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.rglob("*")):
        match = _ENDING.match(without_suffix(path.name)[0])
        if match is None or not is_scan_file(path):
            continue
        stem, name = path.with_name(match[1]), _MAP_OF_ENDING[match[2].lower()]
        if name in found[stem]:
            raise DataError(
                f"expected one {name} map of {stem.name}, found {found[stem][name]} too", source=path
            )
        found[stem][name] = path
    whole = [_describe(stem, maps) for stem, maps in found.items() if set(required) <= maps.keys()]
    if not whole:
        endings = ", ".join(f"scan_{PLAIN_SUFFIXES[name]}.nii.gz" for name in required)
        raise DataError(
            f"expected quantitative maps ({endings}), found {len(found)} incomplete sets; "
            "make them with `strokelabel estimate`",
            source=folder,
        )
    return whole


def is_map_file(path: Path) -> bool:
    """Return whether a file is named as a quantitative map."""
    stem, suffix = without_suffix(path.name)
    return bool(suffix) and _ENDING.match(stem) is not None


def _describe(stem: Path, maps: dict[str, Path]) -> MapFiles:
    tissues = (_twin(stem, "tissue", "dseg"), stem.with_name(f"{stem.name}_dseg.nii.gz"))
    lesions = (_twin(stem, "lesion", "mask"),)
    return MapFiles(
        stem.name,
        maps,
        tissues=next((path for path in tissues if path.is_file()), None),
        lesion=next((path for path in lesions if path.is_file()), None),
    )


def _twin(stem: Path, kind: str, suffix: str) -> Path:
    """Return the path at which `strokelabel predict` writes a segmentation of the scan that maps were
    estimated from.
    """
    name = stem.name
    if not name.startswith("sub-"):
        return stem.with_name(f"{name}_{kind}_{suffix}.nii.gz")
    if kind == "lesion":
        name = name.replace("_desc-", "_label-L_desc-")
    return stem.with_name(f"{name.replace(_ESTIMATED, kind)}_{suffix}.nii.gz")
