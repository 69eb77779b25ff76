"""Tasks `refine` and `refine_scribbles`: the current mask, corrected by the annotator's prompts."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list

from lib.infers.caches import ScanSource
from lib.infers.infer_options import InferOptions
from lib.infers.refine_request import (
    PaintedFile,
    limited_to,
    read_painted,
    read_prompts,
    read_region_of_interest,
    request_label_info,
)
from lib.infers.result import write_result
from lib.infers.segmenter import Segmenter
from lib.refusals import InvalidRequestError
from lib.request_values import as_choice, as_number
from lib.studies.label_files import LESION_NAME, lesion_mask, named_values
from lib.studies.label_grid import read_on_grid
from lib.studies.uploads import is_upload
from strokelabel.errors import LabelMapError
from strokelabel.inference.refine import RefineOptions, refine
from strokelabel.inference.segment.scores import decide
from strokelabel.io.images import Image
from strokelabel.labels import CLASS_COLORS
from strokelabel.metrics import label_lesions, volume_ml

logger = logging.getLogger(__name__)

STARTS = ("stored label", "prediction", "nothing")
"""Mask to correct when none comes with the request: the image's label (else its prediction), ..."""


class RefineLesion(InferTask):
    """Corrected mask, 1 inside the lesion and 0 elsewhere.

    Args:
        segmenter: scans and predictions, shared with the tasks that segment.
        kind: `InferType.DEEPGROW` puts the task where viewers offer clicks, `InferType.SCRIBBLES` where they offer
            strokes; it understands both everywhere.
    """

    def __init__(self, segmenter: Segmenter, kind: InferType = InferType.DEEPGROW) -> None:
        config = {"device": device_list(), "start": list(STARTS), "reach_mm": RefineOptions().reach_mm}
        description = "Lesion mask corrected around clicks and strokes: lesion, or not lesion"
        super().__init__(kind, {LESION_NAME: 1}, 3, description, config)
        self._segmenter = segmenter

    def is_valid(self) -> bool:
        """Return whether /info/ lists the task: always."""
        return True

    def info(self) -> dict[str, Any]:
        """Return the task's entry in /info/."""
        return {**super().info(), "label_colors": {LESION_NAME: list(CLASS_COLORS[LESION_NAME])}}

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Correct a mask of the image at the path `request["image"]`.

        The mask is the one in the file `request["label"]` if it holds one, else what `request["start"]` says.

        Returns:
            Path of a temporary file with the mask, and the JSON of the answer.

        Raises:
            ImageError, OptionError, InvalidRequestError: something that the client can mend.
        """
        began = time.perf_counter()
        options = InferOptions.from_request(request)
        limits = RefineOptions(
            reach_mm=as_number(request.get("reach_mm"), "reach_mm", RefineOptions().reach_mm)
        )
        source = ScanSource(request["image"], request["image_name"])
        with self._segmenter.correcting(source) as image:
            painted = _painted_file(request, image)
            prompts = read_prompts(request, painted)
            region = read_region_of_interest(request, image.grid.shape)
            before, probability, origin = self._start(request, source, image, painted, options)
            refining = time.perf_counter()
            try:
                mask = refine(image, before, prompts, probability, limits)
            except LabelMapError as error:
                raise InvalidRequestError(str(error)) from error
            mask = limited_to(region, before, mask)
            seconds = {"pre": refining - began, "infer": time.perf_counter() - refining}
            file = write_result(mask, image, options)
        seconds["total"] = time.perf_counter() - began
        logger.info(f"Refined by {len(prompts.new)} prompts in {seconds['infer']:.2f} s")
        return file, _answer(image, before, mask, origin, seconds)

    def _start(
        self,
        request: Mapping[str, Any],
        source: ScanSource,
        image: Image,
        painted: PaintedFile | None,
        options: InferOptions,
    ) -> tuple[np.ndarray, np.ndarray | None, str]:
        """Return the mask to correct, the lesion's probability if it is known, and the origin of the mask."""
        start = as_choice(request.get("start"), "start", STARTS)
        question = self._segmenter.ask([source], options.prediction, options.device)
        if painted is not None and painted.mask is not None:
            return painted.mask, self._segmenter.known_probability(question), "request"
        if start == "nothing":
            empty = np.zeros(image.data.shape, dtype=bool)
            return empty, self._segmenter.known_probability(question), start
        if start == "stored label" and (stored := request["stored_label"]()):
            mask = _stored_lesion(stored, image)
            if mask is not None:
                return mask, self._segmenter.known_probability(question), start
        scores = self._segmenter.find(question).result.scores()
        spec, voxel_ml = self._segmenter.model.spec, image.grid.voxel_volume_ml
        prediction = decide(scores, voxel_ml, spec, options.prediction)
        return prediction.lesion_mask.astype(bool), prediction.lesion_probability, "prediction"


def _stored_lesion(stored: tuple[str, Mapping[str, Any]], scan: Image) -> np.ndarray | None:
    """Return the lesion (i, j, k) in a stored label, by its information; None if it names only other classes."""
    path, info = stored
    return lesion_mask(read_on_grid(Path(path), scan, named_values(info)), info)


def _painted_file(request: Mapping[str, Any], scan: Image) -> PaintedFile | None:
    """Return the label file of a request; viewers also send the name of a label as "label", which is ignored."""
    label = request.get("label")
    if not isinstance(label, str) or not is_upload(Path(label)):
        return None
    return read_painted(Path(label), scan, request_label_info(request), request.get("selected_label_name"))


def _answer(
    image: Image, before: np.ndarray, mask: np.ndarray, source: str, seconds: dict[str, float]
) -> dict[str, Any]:
    voxel_ml = image.grid.voxel_volume_ml
    return {
        "label_names": {LESION_NAME: 1},
        "label_colors": {LESION_NAME: list(CLASS_COLORS[LESION_NAME])},
        "latencies": {name: round(value, 3) for name, value in seconds.items()},
        "start": source,
        "volume_ml": round(volume_ml(mask, voxel_ml), 3),
        "changed_ml": round(volume_ml(mask != before, voxel_ml), 3),
        "lesion_count": label_lesions(mask)[1],
        "centroids": {},  # browsers expect the entry
    }
