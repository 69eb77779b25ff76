"""Volumes of the mask, and the report that can be saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..client.api import image_id_of
from ..files import write_atomically
from ..ops.regions import count_islands, dice, island_volumes_ml, volume_ml
from .case import Case
from .view import Measurements


def measure(case: Case) -> Measurements:
    """Measure the volume and number of lesions, and the changes from the model's mask."""
    mask, voxel_ml = case.mask.current, case.grid.voxel_ml
    overlap = changed = None
    if case.model_mask is not None:
        overlap = dice(mask, case.model_mask)
        changed = volume_ml(mask != case.model_mask, voxel_ml)
    structures = _lines(case.structures, changed)
    return Measurements(
        volume_ml(mask, voxel_ml), count_islands(mask), overlap, changed, structures, _outcome(case, changed)
    )


def _lines(told: Mapping[str, Any], changed_ml: float | None) -> tuple[str, ...]:
    """Return lines that a server told about the model's mask, with a heading once the mask is another."""
    lines = told.get("text")
    if not isinstance(lines, list) or not lines:
        return ()
    heading = ("Before your changes:",) if changed_ml else ()
    return (*heading, *map(str, lines))


def _outcome(case: Case, changed_ml: float | None) -> tuple[str, ...]:
    """Return lines about the estimated outcome; none of an estimate for another stage than the user says now."""
    if case.outcome and not _is_of_stage(case):
        return (f"Segment again: the stroke is now said to be of the stage {case.stroke_stage}.",)
    return _lines(case.outcome, changed_ml)


def _is_of_stage(case: Case) -> bool:
    """Return whether there is an estimate for the stage that the user says now."""
    return bool(case.outcome) and case.stroke_stage in ("", case.outcome.get("stroke_stage"))


def report(case: Case, measurements: Measurements) -> dict[str, Any]:
    """Return the report of a mask: volumes in ml, and provenance."""
    grid = case.grid
    return {
        "image": case.image.image_id,
        "lesion_volume_ml": round(measurements.volume_ml, 3),
        "lesion_count": measurements.count,
        "lesion_volumes_ml": [round(v, 3) for v in island_volumes_ml(case.mask.current, grid.voxel_ml)],
        "dice_to_model": measurements.dice_to_model,
        "changed_ml": measurements.changed_ml,
        "shape": list(grid.shape),
        "spacing_mm": [round(float(s), 4) for s in grid.spacing_mm],
        "provenance": case.provenance.as_json(),
        "submitted": case.image.status == "submitted" and not case.dirty,
        **({"structures_of_model_mask": dict(case.structures)} if case.structures else {}),
        **({"estimated_outcome_of_model_mask": dict(case.outcome)} if _is_of_stage(case) else {}),
    }


def write_report(mask_path: Path, case: Case, measurements: Measurements) -> Path:
    """Write the report beside the file of a mask; return its path.

    Raises:
        FileFormatError: it cannot be written.
    """
    path = mask_path.with_name(f"{image_id_of(mask_path)}_report.json")
    write_atomically(path, json.dumps(report(case, measurements), indent=2).encode())
    return path
