"""Provenance of results: what made them, written beside them, and read again when they are there already."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from strokelabel import __version__
from strokelabel.errors import OutputError
from strokelabel.inference.options import PredictionOptions
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.bids import dataset_description, sidecar_path
from strokelabel.io.file_search import absolute_path
from strokelabel.registry import ModelSpec

MADE_TOGETHER: Final = {"ensemble": True}
"""In the sidecars of masks that are made from all scans of a session."""


def provenance(spec: ModelSpec, options: PredictionOptions) -> dict[str, Any]:
    """Return what decides a result besides the scan: versions, weights and options, as JSON would hold them."""
    kept = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(options).items()}
    for not_of_the_result in ("keep_probabilities", "max_voxels"):
        kept.pop(not_of_the_result)
    return {
        "strokelabel_version": __version__,
        "model": spec.name,
        "model_version": spec.version,
        "weights_sha256": spec.sha256,
        "options": kept,
    }


def write_description(folder: Path, spec: ModelSpec) -> None:
    """Write the `dataset_description.json` of a folder of results.

    Raises:
        OutputError: the file cannot be written.
    """
    content = dataset_description("StrokeLabel predictions", f"model {spec.name} {spec.version}")
    atomic_write_json(folder / "dataset_description.json", content)


def known_sidecar(
    result: Path, scan: Path, made_by: dict[str, Any], of_several: bool = False
) -> dict[str, Any] | None:
    """Return the description of a result that is there already; None when the scan has changed since.

    Args:
        result: a file that exists.
        scan: what it should be the result of.
        made_by: what decides such a result; see `provenance`.
        of_several: it is made from other scans too, which the description names after this one.

    Raises:
        OutputError: it is another scan's, or was made otherwise.
    """
    known = sidecar_of(result)
    listed = known.get("Sources") if known else None
    listed = listed[:1] if of_several and isinstance(listed, list) else listed
    if known is None or not is_source(listed, scan):
        raise OutputError(
            f"{result}: holds the result of another scan than {scan}; choose another folder, or overwrite."
        )
    if any(known.get(key) != value for key, value in made_by.items()):
        raise OutputError(
            f"{result}: was made by another model, version or options; choose another folder, or overwrite."
        )
    if is_newer(scan, result):
        return None
    return known


def sidecar_of(image: Path) -> dict[str, Any] | None:
    """Return the description beside an image file; None when there is none, or it is not ours."""
    try:
        content = json.loads(sidecar_path(image).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "weights_sha256" in content else None


def is_source(listed: object, scan: Path) -> bool:
    """Return whether a sidecar's list of sources is this scan, by its path as it is given or with links followed."""
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], str):
        return False
    return listed[0] == str(absolute_path(scan)) or (
        os.path.realpath(listed[0]) == os.path.realpath(scan) and Path(listed[0]).name == scan.name
    )


def is_newer(scan: Path, result: Path) -> bool:
    """Return whether a scan was changed after a result was written; false for a scan that is gone."""
    return scan.exists() and scan.stat().st_mtime > result.stat().st_mtime


def is_made_from(known: dict[str, Any], scans: Iterable[Path], mask: Path) -> bool:
    """Return whether a mask was made from these scans, used or left out, as they are now.

    Args:
        known: sidecar of the mask.
        scans: of the session.
        mask: a file that exists.
    """
    paths = list(scans)
    named = {*known.get("Sources", ()), *known.get("left_out", ())}
    return named == {str(path) for path in paths} and not any(is_newer(path, mask) for path in paths)
