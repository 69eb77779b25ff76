"""Label files of a studies folder: each with its history, and final ones with their BIDS derivative."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from monailabel.datastore.local import DataModel

from lib.refusals import InvalidRequestError
from lib.studies.derivatives import LabelDerivatives
from lib.studies.label_grid import CheckedLabel, read_on_grid, read_reference
from lib.studies.label_history import LabelHistory
from lib.studies.review import FINAL
from lib.studies.table import new_label
from strokelabel.errors import ImageError
from strokelabel.io.atomic import atomic_path
from strokelabel.io.images import write_nifti
from strokelabel.io.label_files import lesion_mask

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
