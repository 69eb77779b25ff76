"""Writing a parcellation's files: structures, their names, volumes and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel import __version__
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate.predictor import Parcellation
from strokelabel.inference.provenance import provenance, write_description
from strokelabel.io import Image, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.registry import ModelSpec
from strokelabel.structures import Structure, structures_of

_LESION_OPTIONS = ("threshold", "min_size_ml", "fill_holes", "keep_outside_brain")


def write_parcellation(found: Parcellation, image: Image, folder: Path, names: ResultNames) -> None:
    """Write the files of one scan, each atomically; the segmentation, whose presence says "done", is last.

    Args:
        found: on the grid of `image`.
        image: the scan, whose geometry the segmentation takes.
        folder: where to.
        names: of the files.

    Raises:
        OutputError: a file cannot be written.
    """
    stem = names.parcellation.removesuffix(".nii.gz")
    atomic_write_text(folder / f"{stem}.tsv", structure_table(structures_of(found.spec.class_ids)))
    atomic_write_text(folder / names.volumes, volume_table(found.volumes_ml))
    if names.is_bids:
        write_description(folder, found.spec)
    atomic_write_json(folder / f"{stem}.json", _sidecar(found, image.source))
    about = f"StrokeLabel {__version__} {found.spec.name} {found.spec.version}"
    write_nifti(folder / names.parcellation, found.labels, image, np.uint8, about)


def structure_table(structures: Sequence[Structure]) -> str:
    """Return BIDS's table of a segmentation's values: tab-separated index, name and colour."""
    rows = [f"{structure.id}\t{structure.name}\t{structure.color}" for structure in structures]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


def volume_table(volumes_ml: dict[str, float]) -> str:
    """Return one row of volumes in ml, a tab-separated column per structure."""
    return "\t".join(volumes_ml) + "\n" + "\t".join(f"{ml:.4f}" for ml in volumes_ml.values()) + "\n"


def parcellation_provenance(spec: ModelSpec, options: PredictionOptions) -> dict[str, Any]:
    """Return everything besides the scan that determines a parcellation: `outputs.provenance` without lesions."""
    made_by = provenance(spec, options)
    made_by["options"] = {
        name: value for name, value in made_by["options"].items() if name not in _LESION_OPTIONS
    }
    return made_by


def _sidecar(found: Parcellation, source: str) -> dict[str, Any]:
    """Return the sidecar of a segmentation: BIDS's keys, and ours in lower case."""
    return {
        "Manual": False,
        "Description": "Structures of the head, predicted; for research only",
        "Sources": [source],
        "SpatialReference": "orig",
        **parcellation_provenance(found.spec, found.options),
        "volumes_ml": {name: round(ml, 4) for name, ml in found.volumes_ml.items()},
        "seconds": round(found.seconds, 3),
        "notes": list(found.notes),
    }
