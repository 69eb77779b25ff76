"""Tasks `segment`, `segment_accurate` and `segment_tissues`, and `segment_ensemble` for all sequences of a session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.infers.caches import ScanSource
from lib.infers.infer_options import InferOptions
from lib.infers.segmenter import Question, Segmenter
from lib.infers.task import PredictionTask, kind_of, with_all_flips
from lib.refusals import InvalidRequestError
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.io.volumes import is_scan_file
from strokelabel.labels import CLASS_NAMES, TissueClass

LESION_LABELS = {CLASS_NAMES[TissueClass.LESION]: 1}


class SegmentLesion(PredictionTask):
    """Lesion mask (1 inside the lesion, 0 elsewhere) from one pass of the network."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter, dict(LESION_LABELS), "Stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the lesion mask."""
        return prediction.lesion_mask


class SegmentLesionAccurately(PredictionTask):
    """Segmentation of the lesion from the mean over all flips of the training, which takes as many times longer."""

    def __init__(self, segmenter: Segmenter) -> None:
        description = "Stroke lesion from the mean over flips of the scan: slower, and more exact"
        super().__init__(segmenter, dict(LESION_LABELS), description, fixed=["tta"])

    def options_of(self, request: Mapping[str, Any]) -> InferOptions:
        """Return the options of a request, with flips."""
        return with_all_flips(super().options_of(request))

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the lesion mask."""
        return prediction.lesion_mask


class SegmentTissues(PredictionTask):
    """Class of each voxel: 0 background, then the tissues and the lesion in the model's order."""

    def __init__(self, segmenter: Segmenter) -> None:
        names = segmenter.model.spec.class_names
        labels = {name: value for value, name in enumerate(names) if value > 0}
        super().__init__(segmenter, labels, "Brain tissues and stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the class map."""
        return prediction.labels


class SegmentEnsemble(PredictionTask):
    """Lesion mask (1 inside the lesion, 0 elsewhere) on the grid of the requested image.

    The sequences are those of the same BIDS subject and session in the datastore, or the NIfTI files of a session
    of MONAI Label. One that does not lie in the scan's space is registered, or left out with a note.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        description = "Stroke lesion from all sequences of the subject and session together"
        super().__init__(segmenter, dict(LESION_LABELS), description)
        self._config["sequence"] = ""

    def question(self, request: Mapping[str, Any], options: InferOptions) -> Question:
        """Return the question about the scan and the other sequences.

        Raises:
            InvalidRequestError: `sequence` is not a file of the session.
        """
        sources = _files_of_session(request) or [
            ScanSource(request["image"], request["image_name"]),
            *[ScanSource(path, name) for path, name in request["sequences"]()],
        ]
        return self._segmenter.ask(
            sources, options.prediction, options.device, kind_of(options), ensemble=True
        )

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the lesion mask."""
        return prediction.lesion_mask


def _files_of_session(request: Mapping[str, Any]) -> list[ScanSource]:
    """Return the image files of a session's folder, beginning with the one that `sequence` names."""
    folder = Path(request["image"])
    files = [p for p in sorted(folder.iterdir()) if _is_scan(p)] if folder.is_dir() else []
    wanted = request.get("sequence") or ""
    if wanted and wanted not in [file.name for file in files]:
        raise InvalidRequestError(
            f"sequence: expected the name of a file of the session "
            f"({', '.join(file.name for file in files) or 'it has no image files'}), found {wanted!r}."
        )
    files.sort(key=lambda file: file.name != wanted)
    return [ScanSource(str(file), file.name) for file in files]


def _is_scan(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and is_scan_file(path)
