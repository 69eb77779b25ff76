"""Writing the quantitative maps of a scan: one file and one sidecar each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from strokelabel import __version__
from strokelabel.inference.estimate.predictor import Estimate
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.provenance import provenance
from strokelabel.io import Image, atomic_write_json, write_nifti
from strokelabel.io.bids import derivative_name, sidecar_path
from strokelabel.io.map_files import BIDS_SUFFIXES, MAP_UNITS, PLAIN_SUFFIXES
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.registry import ModelSpec

DESCRIPTIONS: dict[str, str] = {
    "pd": "Proton density; 100 is pure water",
    "r1": "Longitudinal relaxation rate",
    "r2_star": "Effective transverse relaxation rate",
    "mt": "Magnetisation transfer saturation",
}
"""Description of each map."""


def map_file_name(stem: str, name: str) -> str:
    """Return the file name of an estimated map.

    Args:
        stem: name of the scan without .nii.gz.
        name: of the map, one of `ESTIMATED_MAPS`.
    """
    if ResultNames(stem).is_bids:
        return derivative_name(stem, f"{BIDS_SUFFIXES[name]}.nii.gz", "estimated")
    return f"{stem}_{PLAIN_SUFFIXES[name]}.nii.gz"


def write_estimate(estimate: Estimate, image: Image, folder: Path, stem: str) -> list[Path]:
    """Write the maps of one scan on its own grid, each atomically and after its sidecar.

    Args:
        estimate: on the grid of `image`.
        image: the scan, whose geometry the files take.
        folder: where to.
        stem: name of the scan without .nii.gz.

    Returns:
        The maps' files.

    Raises:
        OutputError: a file cannot be written.
    """
    about = f"StrokeLabel {__version__} {estimate.spec.name} {estimate.spec.version}"
    paths = []
    for name, values in zip(ESTIMATED_MAPS, estimate.maps, strict=True):
        path = folder / map_file_name(stem, name)
        atomic_write_json(sidecar_path(path), _sidecar(estimate, image, name))
        write_nifti(path, values, image, np.float32, about)
        paths.append(path)
    return paths


def estimate_provenance(spec: ModelSpec, passes: int) -> dict[str, Any]:
    """Return what decides maps besides the scan: versions, weights, and the number of passes averaged."""
    made_by = provenance(spec, PredictionOptions())
    del made_by["options"]
    return made_by | {"averaged_flips": passes}


def _sidecar(estimate: Estimate, image: Image, name: str) -> dict[str, Any]:
    """Return the sidecar of a map: BIDS's keys, and ours in lower case."""
    return {
        "Description": f"{DESCRIPTIONS[name]}, estimated from one scan by a network; for research only",
        "Units": MAP_UNITS[name],
        "Sources": [image.source],
        "SpatialReference": "orig",
        **estimate_provenance(estimate.spec, estimate.passes),
        "seconds": round(estimate.seconds, 3),
        "notes": list(estimate.notes),
    }
