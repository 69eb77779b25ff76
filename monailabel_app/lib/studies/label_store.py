"""Label files of a studies folder: each with its history, and final ones with their BIDS derivative."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.datastore.local import DataModel

from lib.refusals import InvalidRequestError
from lib.studies.datastore_file import new_label
from lib.studies.label_grid import CheckedLabel, read_on_grid, read_reference
from lib.studies.label_history import LabelHistory
from lib.studies.review import ACCEPTED, FINAL, PSEUDO
from strokelabel import __version__
from strokelabel.errors import ImageError, OutputError
from strokelabel.inference.naming import ResultNames
from strokelabel.io.atomic import atomic_path, atomic_write_json
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


SUFFIX = ".nii.gz"
"""Of every label that is kept, whatever it came as."""


class KeptLabels:
    """Labels on disk; the caller holds the datastore's lock.

    Args:
        folder: where they are kept, in its folder "labels".
        studies: the studies folder.
    """

    def __init__(self, folder: Path, studies: Path) -> None:
        self.folder = folder / "labels"
        self.history = LabelHistory(self.folder)
        self._derivatives = LabelDerivatives(folder, studies)

    def path(self, tag: str, image_id: str, suffix: str = SUFFIX) -> Path:
        """Return the path where MONAI Label keeps a label."""
        return self.folder / tag / f"{image_id}{suffix}"

    def put(
        self,
        paths: Mapping[str, Path],
        image_id: str,
        tag: str,
        label: CheckedLabel,
        before: DataModel | None,
        reason: str = "submitted",
    ) -> DataModel:
        """Keep a label in the place of the one before, which stays in the history.

        Args:
            paths: id -> path, relative to the studies folder, of all scans.
            image_id: whose label it is.
            tag: the label's.
            label: on the scan's grid.
            before: entry of the label that is replaced.
            reason: for the history.

        Returns:
            The entry for the datastore's table.

        Raises:
            OutputError: it cannot be written.
        """
        entry = new_label(image_id, SUFFIX, label.info)
        # Without an entry there may still be a file: one that was put there by hand, and refused.
        ext, info = (SUFFIX, {}) if before is None else (before.ext, before.info)
        self.history.secure(tag, image_id, self.path(tag, image_id, ext), info)
        write = partial(
            write_nifti, data=label.data, like=label.like, dtype=np.uint8, description="StrokeLabel"
        )
        version = self.history.add(tag, image_id, SUFFIX, write, entry.info, reason)
        with atomic_path(self.path(tag, image_id)) as temporary:
            shutil.copyfile(version.file, temporary)
        if before is not None and before.ext != SUFFIX:  # it would come back once the new one is deleted
            self.path(tag, image_id, before.ext).unlink(missing_ok=True)
        if tag == FINAL:
            self._derivatives.write(paths, image_id, label.data, label.like, entry.info)
        return entry

    def remove(self, paths: Mapping[str, Path], image_id: str, tag: str, entry: DataModel) -> None:
        """Delete a label and its derivative; its history stays."""
        file = self.path(tag, image_id, entry.ext)
        self.history.secure(tag, image_id, file, entry.info)
        self.history.note_deletion(tag, image_id)
        file.unlink(missing_ok=True)
        if tag == FINAL:
            self._derivatives.remove(image_id, paths.get(image_id))

    def lesion(self, image: Path, image_id: str, tag: str, entry: DataModel) -> np.ndarray | None:
        """Return the lesion of a stored label, (i, j, k) on its scan's grid; None if it is unknown."""
        try:
            labels = read_on_grid(self.path(tag, image_id, entry.ext), read_reference(image, image_id))
        except (InvalidRequestError, ImageError, OSError):
            return None
        return lesion_mask(labels, entry.info)
