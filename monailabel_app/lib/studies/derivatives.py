"""Final labels as BIDS derivatives, beside MONAI Label's own folder."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.studies.review import ACCEPTED, PSEUDO
from strokelabel import __version__
from strokelabel.errors import OutputError
from strokelabel.inference.naming import ResultNames
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.bids import (
    dataset_description,
    datatype_of,
    image_stem,
    session_folders,
    sidecar_path,
)
from strokelabel.io.images import Image, write_nifti
from strokelabel.io.label_files import lesion_mask

logger = logging.getLogger(__name__)

_PROVENANCE = ("client_id", "status", "review", "provenance", "model", "notes", "time_spent_s")


@dataclass(frozen=True)
class LabelDerivatives:
    """Folder derivatives/strokelabel of a studies folder.

    Attributes:
        labels: the folder that labels are kept in.
        studies: the folder of the scans.
    """

    labels: Path
    studies: Path

    @property
    def folder(self) -> Path:
        """Folder of the derivatives."""
        return self.labels / "derivatives" / "strokelabel"

    def write(
        self, paths: Mapping[str, Path], image_id: str, labels: np.ndarray, like: Image, info: dict[str, Any]
    ) -> None:
        """Write the lesion of a final label and its sidecar; a failure is logged, since the label itself is kept.

        Args:
            paths: id -> path, relative to the studies folder, of all scans.
            image_id: whose label it is.
            labels: (i, j, k).
            like: the scan's grid.
            info: about the label.
        """
        mask = lesion_mask(labels, info)
        path = self._path(paths, image_id)
        self.remove(image_id, paths.get(image_id))
        if mask is None or path is None:
            return
        content = _sidecar(paths[image_id], image_id, float(mask.sum() * like.grid.voxel_volume_ml), info)
        try:
            atomic_write_json(self.folder / "dataset_description.json", self._description())
            atomic_write_json(sidecar_path(path), content)
            write_nifti(path, mask, like, np.uint8, f"StrokeLabel {__version__}")
        except OutputError:
            logger.exception(f"The label of {image_id} is kept, but its BIDS derivative could not be written")

    def _description(self) -> dict[str, Any]:
        raw = f"{os.path.relpath(self.studies.resolve(), self.folder.resolve())}/"
        return dataset_description(
            "StrokeLabel annotations",
            "submitted lesion labels",
            SourceDatasets=[{"URL": raw}],
            DatasetLinks={"raw": raw},
        )

    def remove(self, image_id: str, source: Path | None) -> None:
        """Remove the derivative of a scan's label, if there is one."""
        for path in self._possible(image_id, source):
            if _image_of(path) == image_id:
                path.unlink(missing_ok=True)
                sidecar_path(path).unlink(missing_ok=True)

    def _path(self, paths: Mapping[str, Path], image_id: str) -> Path | None:
        """Return the path of a derivative; None where its name would be that of another scan's."""
        for path in self._possible(image_id, paths.get(image_id)):
            subject = _letters_and_digits(path.relative_to(self.folder).parts[0].removeprefix("sub-"))
            others = (  # only ids that hold the same subject can have the same derivative; the others are many
                other for other in paths if other != image_id and subject in _letters_and_digits(other)
            )
            taken = _image_of(path) not in (None, image_id)
            if not taken and not any(path in self._possible(other, paths[other]) for other in others):
                return path
        return None

    def _possible(self, image_id: str, source: Path | None) -> list[Path]:
        names = ResultNames(image_stem(source) if source is not None else image_id)
        if names.is_bids:
            datatype = datatype_of(source) if source is not None else "anat"
            return [self.folder.joinpath(*session_folders(names.stem), datatype, names.mask)]
        subject = _letters_and_digits(image_id)
        name = f"sub-{subject}_space-orig_label-L_desc-lesion_mask.nii.gz"
        return [self.folder / f"sub-{subject}" / "anat" / name] if subject else []


def _sidecar(source: Path, image_id: str, volume_ml: float, info: dict[str, Any]) -> dict[str, Any]:
    status = info.get("status")
    return {
        "Type": "Lesion",
        "Manual": status not in (ACCEPTED, PSEUDO),
        "Description": "Stroke lesion; for research only",
        "Sources": [f"bids:raw:{source.as_posix()}"],
        "SpatialReference": "orig",
        "image": image_id,
        "volume_ml": round(volume_ml, 6),
        "strokelabel_version": __version__,
        **{key: info[key] for key in _PROVENANCE if key in info},
    }


def _letters_and_digits(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "", text)


def _image_of(mask: Path) -> str | None:
    """Return the image id of a derivative by its sidecar; None where there is none."""
    try:
        content = json.loads(sidecar_path(mask).read_text(encoding="utf-8"))
        return str(content["image"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
