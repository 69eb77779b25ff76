"""Tasks `refine` and `refine_scribbles`: the current mask, corrected by the annotator's prompts in a request."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list

from lib.infers.caches import ScanSource
from lib.infers.infer_options import InferOptions
from lib.infers.segmenter import Segmenter
from lib.infers.task import write_result
from lib.refusals import InvalidRequestError
from lib.request_values import as_choice, as_number
from lib.studies.label_grid import read_on_grid
from lib.studies.uploads import is_upload
from strokelabel.errors import LabelMapError
from strokelabel.inference.refine import (
    LESION,
    NOT_LESION,
    AddRegion,
    Click,
    Prompt,
    Prompts,
    RefineOptions,
    RemoveIsland,
    Scribbles,
    refine,
)
from strokelabel.inference.refine.prompts import Voxel
from strokelabel.inference.segment.prediction import decide
from strokelabel.io.images import Image
from strokelabel.io.label_files import LESION_NAME, lesion_mask, named_values
from strokelabel.labels import CLASS_COLORS, CLASS_NAMES, TissueClass
from strokelabel.metrics import label_lesions, volume_ml

_STROKES = {"foreground_scribbles": LESION, "background_scribbles": NOT_LESION}
"""Names that MONAI Label's viewers give to strokes."""

_KEPT = {"painted_lesion": LESION, "painted_not_lesion": NOT_LESION}
"""Names under which a client may send what was painted in earlier rounds."""

_STOCK_VALUES = {1: LESION_NAME, 2: "background_scribbles", 3: "foreground_scribbles"}
"""Values that MONAI Label's scribbles tasks use when the request names none."""


@dataclass(frozen=True, eq=False)
class PaintedFile:
    """Contents of a label file, each (i, j, k) on the scan's grid or None.

    Attributes:
        mask: boolean, the current lesion.
        strokes: 0, 1 (lesion) or 2 (not lesion), to be acted on.
        kept: likewise, from earlier rounds.
    """

    mask: np.ndarray | None
    strokes: np.ndarray | None
    kept: np.ndarray | None


def read_painted(path: Path, scan: Image, label_info: object, selected: object) -> PaintedFile:
    """Read a label file.

    Args:
        path: NIfTI or NRRD.
        scan: the scan, whose grid the file must be on, with its axes in any order and direction.
        label_info: a list of {"name", "id"} that says what the values are; MONAI Label's own values without it.
        selected: name of the segment that is being corrected; "lesion" without it.

    Raises:
        InvalidRequestError: not a label file, not on the scan's grid, or a `label_info` that cannot be used.
    """
    labels = read_on_grid(path, scan, named_values({"label_info": label_info}))
    names = _names(label_info)
    wanted = {LESION_NAME, str(selected)} if selected else {LESION_NAME}
    values = [value for value, name in names.items() if name in wanted]
    mask = np.isin(labels, values) if values and (label_info or (labels == 1).any()) else None
    return PaintedFile(mask, _painted(labels, names, _STROKES), _painted(labels, names, _KEPT))


def _names(label_info: object) -> dict[int, str]:
    """Return the name of each value."""
    if not label_info:
        return _STOCK_VALUES
    try:
        return {int(entry["id"]): str(entry["name"]) for entry in label_info}  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidRequestError(
            f"label_info: expected a list of objects with a name and an id, found {label_info!r}."
        ) from error


def _painted(labels: np.ndarray, names: Mapping[int, str], meaning: Mapping[str, int]) -> np.ndarray | None:
    """Return the labels 0, 1 and 2 of the values with known names; None if none was drawn."""
    painted = np.zeros(labels.shape, np.uint8)
    for value, name in names.items():
        if name in meaning:
            painted[labels == value] = meaning[name]
    return painted if painted.any() else None


def request_label_info(request: Mapping[str, Any]) -> object:
    """Return the request's `label_info`, if it is a list."""
    info = request.get("label_info")
    return info if isinstance(info, list) else None


MOST_POINTS = 200
"""Clicks of one request; each takes a fraction of a second."""

_LESION_KEYS = ("foreground", CLASS_NAMES[TissueClass.LESION])
_OTHER_KEYS = ("background", *(n for n in CLASS_NAMES if n not in ("background", *_LESION_KEYS)))
"""MONAI Label's interactive tasks send "foreground" and "background", or points under the name of each label."""


def read_prompts(request: Mapping[str, Any], painted: PaintedFile | None) -> Prompts:
    """Return the prompts of a request: strokes, then lesion clicks, then others, then regions and islands.

    Args:
        request: lists of voxels [i, j, k] under "foreground" (or "lesion"), "background" (or a tissue's name),
            "add_region" and "remove_island".
        painted: the label file that came along.

    Raises:
        InvalidRequestError: not lists of voxels, or too many.
    """
    strokes = () if painted is None or painted.strokes is None else (Scribbles(painted.strokes),)
    clicks: list[Prompt] = [Click(v, lesion=True) for key in _LESION_KEYS for v in _voxels(request, key)]
    clicks += [Click(v, lesion=False) for key in _OTHER_KEYS for v in _voxels(request, key)]
    clicks += [AddRegion(v) for v in _voxels(request, "add_region")]
    clicks += [RemoveIsland(v) for v in _voxels(request, "remove_island")]
    if len(clicks) > MOST_POINTS:
        raise InvalidRequestError(
            f"Expected at most {MOST_POINTS} points in a request, found {len(clicks)}; use scribbles."
        )
    return Prompts((*strokes, *clicks), None if painted is None else painted.kept)


def read_region_of_interest(request: Mapping[str, Any], shape: Voxel) -> tuple[slice, ...] | None:
    """Return the box outside which the mask does not change, from "roi": first and last voxel along i, j and k.

    Raises:
        InvalidRequestError: not six whole numbers.
    """
    roi = request.get("roi")
    if not roi:
        return None
    if not isinstance(roi, list) or len(roi) != 6 or not all(_is_whole(n) for n in roi):
        raise InvalidRequestError(
            f"roi: expected six whole numbers, first and last voxel along i, j and k, found {roi!r}."
        )
    sides = [sorted((int(roi[2 * axis]), int(roi[2 * axis + 1]))) for axis in range(3)]
    return tuple(slice(max(0, a), max(0, min(n, b + 1))) for (a, b), n in zip(sides, shape, strict=True))


def limited_to(region: tuple[slice, ...] | None, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return a mask that is `after` within a region of interest and `before` outside it."""
    if region is None:
        return after
    limited = before.astype(after.dtype)
    limited[region] = after[region]
    return limited


def _voxels(request: Mapping[str, Any], key: str) -> Iterator[Voxel]:
    points = request.get(key)
    if points is None or points == "":
        return
    if not isinstance(points, list):
        raise InvalidRequestError(
            f"{key}: expected a list of voxels [i, j, k], found {type(points).__name__}."
        )
    if len(points) == 3 and all(_is_whole(n) for n in points):
        points = [points]
    for point in points:
        if not isinstance(point, list) or len(point) != 3 or not all(_is_whole(n) for n in point):
            raise InvalidRequestError(f"{key}: expected voxels [i, j, k] of whole numbers, found {point!r}.")
        yield int(point[0]), int(point[1]), int(point[2])


def _is_whole(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and float(number).is_integer()


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
