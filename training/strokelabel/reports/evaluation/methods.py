"""Sources of predictions: files that are there, and models, which make them."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strokelabel.errors import DataError, OptionError
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.provenance import provenance, sidecar_of
from strokelabel.inference.segment.batch import OutputChoice, write_outputs
from strokelabel.io import Image, read_image, read_label_image
from strokelabel.io.bids import image_stem
from strokelabel.io.file_search import search_files
from strokelabel.io.nifti import is_nifti_name
from strokelabel.registry import ModelSpec
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.slabs import slab_axis

if TYPE_CHECKING:
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.inference.segment.scores import Prediction, Scores


OnProgress = Callable[[str, float], None]

_NO_MASK = re.compile(r"prob|logit|uncertain|entropy|_std|variance", re.IGNORECASE)
_ENDINGS = ("_lesion_mask", "_lesion", "_mask", "_msk", "_pred", "_prediction", "_seg", "")


class Method(ABC):
    """Method whose masks are scored.

    Attributes:
        name: in the tables.
    """

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
        OptionError: no such folder, or no NIfTI file in it.
    """

    def __init__(self, name: str, folder: Path, label: int | None = None) -> None:
        super().__init__(name, label)
        self.folder = folder
        if not folder.is_dir():
            raise OptionError(f"{folder}: expected a folder of predictions, found none")
        if not self._files:
            raise OptionError(f"{folder}: expected NIfTI files of predictions, found none")

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
        """NIfTI files by their stems in lower case."""
        files = defaultdict(list)
        for path in search_files(self.folder).files:
            if is_nifti_name(path):
                files[image_stem(path).lower()].append(path)
        return dict(files)

    def _known_stems(self, case: EvaluationCase) -> list[str]:
        names = dict.fromkeys((case.name, _stem(case)))
        ours = [image_stem(Path(ResultNames(name).mask)) for name in names]
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


def image_of(case: EvaluationCase) -> Path:
    """Return the file of a case's scan.

    Raises:
        DataError: the table of the cases names none.
    """
    if case.image is None:
        raise DataError(
            f"{case.name}: expected a scan to predict, the table names none; fill the column image"
        )
    return case.image


@dataclass(frozen=True, eq=False)
class _Known:
    """Scores of one scan, and what they were made from."""

    path: Path
    modified: float
    options: PredictionOptions
    image: Image
    scores: Scores
    seconds: float


class ScoringModel:
    """A model whose scores of the last scan are kept, so that several thresholds cost one prediction.

    A scan whose slices are all the same along an axis is one slice repeated, and goes straight through the network
    (`slab.slab_scores`).

    Args:
        spec: the model.
        device: where to compute.
        slabs_as_scans: slabs go through the predictor as whole heads do, with air above and below.
    """

    def __init__(self, spec: ModelSpec, device: str, slabs_as_scans: bool = False) -> None:
        self.spec = spec
        self.device = device
        self.slabs_as_scans = slabs_as_scans
        self._known: _Known | None = None

    def predict(
        self, path: Path, options: PredictionOptions, progress: OnProgress
    ) -> tuple[Image, Prediction]:
        """Read a scan and predict its mask.

        Args:
            path: of the scan.
            options: of the prediction.
            progress: told how far it is.

        Raises:
            ImageError, WeightsError: the scan cannot be predicted, or the model not be loaded.
        """
        from strokelabel.inference.segment.scores import decide

        began = time.perf_counter()
        known = self._of(path, options, progress)
        prediction = decide(known.scores, known.image.grid.voxel_volume_ml, self.spec, options)
        return known.image, replace(prediction, seconds=known.seconds + time.perf_counter() - began)

    def _of(self, path: Path, options: PredictionOptions, progress: OnProgress) -> _Known:
        path, modified = path.resolve(), path.stat().st_mtime if path.exists() else 0.0
        asked = replace(options, threshold=None, min_size_ml=0.0, fill_holes=False, keep_outside_brain=False)
        known = self._known
        if known is None or (known.path, known.modified, known.options) != (path, modified, asked):
            began = time.perf_counter()
            image = replace(read_image(path), source=str(path))
            scores = self._scores(image, asked, progress)
            known = _Known(path, modified, asked, image, scores, time.perf_counter() - began)
            self._known = known
        return known

    def _scores(self, image: Image, options: PredictionOptions, progress: OnProgress) -> Scores:
        from strokelabel.reports.evaluation.slabs import slab_scores

        axis = None if self.slabs_as_scans else slab_axis(image.data)
        if axis is None:
            return self.predictor.scores(image, options, progress)
        return slab_scores(self.predictor, image, axis, options, progress)

    @cached_property
    def predictor(self) -> Predictor:
        """Loaded when the first mask is to be made: a finished run needs no torch."""
        from strokelabel.inference.segment.predictor import Predictor

        return Predictor.from_model(self.spec.path, self.device)


class ModelMethod(Method):
    """A model with options; its masks are kept, so that they are made once.

    Args:
        name: in the tables.
        model: may be shared by methods of different thresholds.
        options: of the prediction.
        folder: for the masks.
    """

    def __init__(self, name: str, model: ScoringModel, options: PredictionOptions, folder: Path) -> None:
        super().__init__(name)
        self.model = model
        self.options = replace(options, keep_probabilities=False)
        self.folder = folder

    def description(self) -> dict[str, Any]:
        """Return the version, weights and options."""
        known = provenance(self.model.spec, self.options)
        return known | {"slabs_as_scans": True} if self.model.slabs_as_scans else known

    def inputs(self, case: EvaluationCase) -> tuple[list[Path], dict[str, Any]]:
        """Return the scan, and all settings that affect the model's mask."""
        return [image_of(case)], self.description()

    def mask_path(self, case: EvaluationCase, progress: OnProgress) -> Path:
        """Return the mask of an earlier run with the same scan, model and options, or else a new one."""
        names = ResultNames(case.name)
        if not self._is_made(case, names):
            image, prediction = self.model.predict(image_of(case), self.options, progress)
            write_outputs(prediction, image, self.folder, names, OutputChoice())
        return self.folder / names.mask

    def _is_made(self, case: EvaluationCase, names: ResultNames) -> bool:
        mask, image = self.folder / names.mask, image_of(case)
        known = sidecar_of(self.folder / names.mask)
        if known is None or not mask.exists() or not image.exists():
            return False
        same = all(
            known.get(key) == value for key, value in provenance(self.model.spec, self.options).items()
        )
        return (
            same
            and known.get("Sources") == [str(image.resolve())]
            and image.stat().st_mtime <= mask.stat().st_mtime
        )
