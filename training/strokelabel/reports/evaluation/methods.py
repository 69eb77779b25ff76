"""Sources of predictions: files that are there; `models` has those that are made."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.errors import DataError, OptionError
from strokelabel.inference.naming import ENSEMBLE_METHOD, ResultNames
from strokelabel.io import Image, read_label_image
from strokelabel.io.bids import image_stem
from strokelabel.io.file_search import search_files
from strokelabel.io.volumes import is_scan_file
from strokelabel.reports.evaluation.cases import EvaluationCase

OnProgress = Callable[[str, float], None]

_NO_MASK = re.compile(r"prob|logit|uncertain|entropy|_std|variance", re.IGNORECASE)
_ENDINGS = ("_lesion_mask", "_lesion", "_mask", "_msk", "_pred", "_prediction", "_seg", "")


class Method(ABC):
    """Method whose masks are scored.

    Attributes:
        name: in the tables.
        makes_masks: whether masks are made, rather than read.
    """

    makes_masks = False

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def inputs(self, case: EvaluationCase) -> tuple[list[Path], dict[str, Any]]:
        """Return the files and settings that determine a case's mask: a result is reused as long as they stay the same.

        Raises:
            DataError: there is no prediction, or none can be made.
        """

    @abstractmethod
    def mask_path(self, case: EvaluationCase, progress: OnProgress) -> Path:
        """Return the file of the predicted mask, which is made if necessary.

        Raises:
            StrokeLabelError: there is none, or it cannot be made.
        """

    def takes(self, case: EvaluationCase) -> bool:
        """Return whether the method is scored on a case: on an ensemble of sequences only models are."""
        return case.others is None

    def notes(self, case: EvaluationCase, path: Path) -> tuple[str, ...]:
        """Return what a user should know about the predicted mask of a case, which is in this file."""
        return ()

    def read(self, path: Path) -> Image:
        """Read the mask in a file.

        Raises:
            ImageError, LabelMapError: it is not one.
        """
        return read_label_image(path)

    def description(self) -> dict[str, Any]:
        """Return the description of the method, for JSON."""
        return {}


class FileMethod(Method):
    """Masks that are there already.

    Args:
        name: in the tables.
        label: value of the lesion, in files that hold several classes; None for masks.
    """

    def __init__(self, name: str, label: int | None = None) -> None:
        super().__init__(name)
        self.label = label

    @abstractmethod
    def find(self, case: EvaluationCase) -> Path:
        """Return the file of the case's mask.

        Raises:
            DataError: there is none, or more than one.
        """

    def inputs(self, case: EvaluationCase) -> tuple[list[Path], dict[str, Any]]:
        """Return the file, and the value of the lesion in it."""
        return [self.find(case)], {"label": self.label}

    def mask_path(self, case: EvaluationCase, progress: OnProgress) -> Path:
        """Return the file."""
        return self.find(case)

    def read(self, path: Path) -> Image:
        """Read the mask, or where the label map in the file is the lesion."""
        image = read_label_image(path)
        if self.label is None:
            return image
        return replace(image, data=(image.data == self.label).astype(np.int32))


class TableMethod(FileMethod):
    """Masks that the table of the cases names."""

    def find(self, case: EvaluationCase) -> Path:
        """Return the file that the table names."""
        if self.name not in case.predictions:
            raise DataError(
                f"{case.name}: expected the path of a prediction by {self.name}, the table has none"
            )
        return case.predictions[self.name]


class FolderMethod(FileMethod):
    """Masks in a folder, found by the names of the scans.

    Known are the names that `strokelabel predict` gives, names that end in _lesion, _mask, _pred, _seg or nothing
    after the scan's own, the name of the reference mask, and any other that contains the scan's name.

    Args:
        name: in the tables.
        folder: searched recursively.
        label: value of the lesion, in files that hold several classes; None for masks.

    Raises:
        OptionError: no such folder, or no image file in it.
    """

    def __init__(self, name: str, folder: Path, label: int | None = None) -> None:
        super().__init__(name, label)
        self.folder = folder
        if not folder.is_dir():
            raise OptionError(f"{folder}: expected a folder of predictions, found none")
        if not self._files:
            raise OptionError(f"{folder}: expected image files of predictions, found none")

    def description(self) -> dict[str, Any]:
        """Return the folder."""
        return {"folder": str(self.folder.resolve()), "label": self.label}

    def find(self, case: EvaluationCase) -> Path:
        """Return the only file with the best of the known names."""
        for stem in self._known_stems(case):
            if found := self._not_of_the_case(case, self._files.get(stem.lower(), [])):
                return self._only(case, found)
        scan = re.escape(_stem(case).lower())
        others = [
            path
            for stem, paths in self._files.items()
            if re.search(rf"(^|_){scan}(_|$)", stem) and not _NO_MASK.search(stem)
            for path in paths
        ]
        return self._only(case, self._not_of_the_case(case, others))

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Image files by their stems in lower case."""
        files = defaultdict(list)
        for path in search_files(self.folder).files:
            if is_scan_file(path):
                files[image_stem(path).lower()].append(path)
        return dict(files)

    def _known_stems(self, case: EvaluationCase) -> list[str]:
        names = dict.fromkeys((case.name, _stem(case)))
        ours = [image_stem(Path(ResultNames(name).mask)) for name in names]
        ours += [image_stem(Path(ResultNames(name, ENSEMBLE_METHOD).mask)) for name in names]
        return [
            *ours,
            *(f"{name}{ending}" for name in names for ending in _ENDINGS),
            image_stem(case.reference),
        ]

    def _not_of_the_case(self, case: EvaluationCase, paths: list[Path]) -> list[Path]:
        given = {path.resolve() for path in (case.reference, case.image) if path is not None}
        return [path for path in paths if path.resolve() not in given]

    def _only(self, case: EvaluationCase, paths: list[Path]) -> Path:
        if len(paths) != 1:
            listed = f" ({', '.join(path.name for path in paths[:3])})" if paths else ""
            raise DataError(
                f"{case.name}: expected one prediction by {self.name} in {self.folder}, found {len(paths) or 'none'}"
                f"{listed}; name it like the scan, or list it in a table (--pairs)"
            )
        return paths[0]


def _stem(case: EvaluationCase) -> str:
    return case.name if case.image is None else image_stem(case.image)
