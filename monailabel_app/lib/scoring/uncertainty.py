"""Scoring of scans by the model's uncertainty, and its results in the info of an image.

Clients may write anything into an image's info, so nothing in it is taken for granted. `None` stands where there is
no number: NaN would make every later listing of the datastore fail.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore

from lib.model import ServedModel
from lib.refusals import answered_as_http
from lib.request_values import as_device
from lib.scoring.method import StoredScoring, lower_priority
from lib.studies.nifti_copies import files_of_scan
from lib.studies.scan_list import image_infos, read_scan
from lib.task_log import log_line
from strokelabel.errors import StrokeLabelError
from strokelabel.io.volumes import is_in_two_files

if TYPE_CHECKING:
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.registry import ModelSpec


UNCERTAINTY = "uncertainty"
"""Key in the info of an image."""


@dataclass(frozen=True)
class UncertaintyRecord:
    """Uncertainty of some weights about a scan.

    Attributes:
        weights_sha256: of the weights that scored it.
        file: which state of the scan's file was scored; see `file_stamp`.
        score: mean mutual information in nats, lesion and brain; None when the scan cannot be segmented.
        reason: why it cannot; None otherwise.
        descriptor: what the scan looks like (`strokelabel.selection`); empty when it cannot be segmented.
        scored: seconds since the epoch.
    """

    weights_sha256: str
    file: str
    score: float | None
    reason: str | None
    descriptor: tuple[float, ...]
    scored: int

    def as_info(self) -> dict[str, Any]:
        """Return an update for an image's info."""
        return {UNCERTAINTY: asdict(self) | {"descriptor": list(self.descriptor)}}

    def fits(self, weights_sha256: str, file: str) -> bool:
        """Return whether it is about these weights and this state of the file."""
        return self.weights_sha256 == weights_sha256 and self.file == file


def read_record(info: Mapping[str, Any]) -> UncertaintyRecord | None:
    """Return the record in an image's info; None when there is none, or it was not written by scoring."""
    entry = info.get(UNCERTAINTY)
    if not isinstance(entry, dict) or not isinstance(entry.get("weights_sha256"), str):
        return None
    reason, scored = entry.get("reason"), entry.get("scored")
    return UncertaintyRecord(
        weights_sha256=entry["weights_sha256"],
        file=str(entry.get("file", "")),
        score=float(entry["score"]) if _finite(entry.get("score")) else None,
        reason=reason if isinstance(reason, str) else None,
        descriptor=_finite_numbers(entry.get("descriptor")),
        scored=int(scored) if isinstance(scored, (int, float)) and _finite(scored) else 0,
    )


def _finite_numbers(numbers: object) -> tuple[float, ...]:
    """Return a list of numbers; () if it holds anything else. Thousands are read for one request."""
    try:
        usable = isinstance(numbers, list) and math.isfinite(math.fsum(numbers))
    except (TypeError, ValueError, OverflowError):
        return ()
    return tuple(map(float, numbers)) if usable else ()  # type: ignore[call-overload]


def file_stamp(path: str) -> str:
    """Return a value that changes when a file, or a folder of DICOM files, does; "" when it is gone."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def image_stamp(datastore: Datastore, image: str) -> str:
    """Return the `file_stamp` of an image; its id where images never change, so that none is downloaded for it.

    Raises:
        HTTPException: the datastore cannot say.
    """
    if getattr(datastore, "images_never_change", False):
        return image
    path = datastore.get_image_uri(image)
    files = files_of_scan(Path(path)) if path and is_in_two_files(Path(path)) else (path,)
    return " ".join(file_stamp(str(file)) for file in files)


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


logger = logging.getLogger(__name__)

_UNAVAILABLE = 503


class UncertaintyScoring(StoredScoring):
    """Scores every scan that has no score by the active weights, those without a label first.

    Each score is stored as soon as it is there, so that a run that was stopped continues where it was. When other
    weights become active meanwhile, it continues with those.

    Args:
        model: whose active weights score.
    """

    def __init__(self, model: ServedModel) -> None:
        super().__init__(
            "Uncertainty of the model about each scan; the strategies uncertainty and diversity use it"
        )
        self._model = model

    def is_due(self, datastore: Datastore) -> bool:
        """Return whether some scan has no score by the active weights."""
        return next(self._pending(datastore, self._model.spec.sha256), None) is not None

    def in_use(self, datastore: Datastore) -> bool:
        """Return whether scores were requested before: only then they are kept up to date automatically."""
        return any(read_record(info) is not None for info in image_infos(datastore).values())

    @answered_as_http()
    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score what has no score yet.

        Args:
            request: "device".
            datastore: whose images are scored; their info receives a record (`UncertaintyRecord`).

        Returns:
            "scored" (how many), "failed" (id: reason), "weights_sha256".

        Raises:
            HTTPException: 400 for an impossible device, 503 for weights that cannot be loaded.
        """
        device = as_device(request.get("device"))
        if request.get("background") is True:
            lower_priority()
        outcome = _Outcome(os.getppid())
        while not self._score_all(device, datastore, outcome):
            log_line("other weights are active now: scoring continues with those")
        return {"scored": outcome.scored, "failed": outcome.failed, "weights_sha256": self._model.spec.sha256}

    def _score_all(self, device: str, datastore: Datastore, outcome: _Outcome) -> bool:
        """Score what is pending; False when other weights became active before the end."""
        spec = self._model.spec
        images = list(self._pending(datastore, spec.sha256))
        predictor = _load(spec, device) if images else None
        for number, image in enumerate(images, start=1):
            if os.getppid() != outcome.parent:
                log_line("the server has stopped: scoring stops, the next run continues from here")
                return True
            if self._model.spec.sha256 != spec.sha256:
                return False
            assert predictor is not None
            record = _score(predictor, spec.sha256, image, datastore)
            if _store(datastore, image, record):
                outcome.add(image, record)
                log_line(f"{number}/{len(images)} {image}: {record.reason or record.score}")
        return True

    def _pending(self, datastore: Datastore, weights: str) -> Iterator[str]:
        """Yield the ids of the scans without a score by these weights; those without a label first."""
        infos = image_infos(datastore)
        unlabelled = sorted(image for image in datastore.get_unlabeled_images() if image in infos)
        rest = sorted(infos.keys() - set(unlabelled))
        for image in [*unlabelled, *rest]:
            record = read_record(infos[image])
            if record is None or not record.fits(weights, image_stamp(datastore, image)):
                yield image


@dataclass
class _Outcome:
    """Counts of a run so far.

    Attributes:
        parent: the process that started it.
        scored: how many scans have a score now.
        failed: id -> why a scan has none.
    """

    parent: int
    scored: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, image: str, record: UncertaintyRecord) -> None:
        """Count a scan."""
        if record.reason is None:
            self.scored += 1
        else:
            self.failed[image] = record.reason


def _load(spec: ModelSpec, device: str) -> Predictor:
    from strokelabel.inference.segment.predictor import Predictor

    return Predictor.from_model(str(spec.path), device)


def _score(predictor: Predictor, weights: str, image: str, datastore: Datastore) -> UncertaintyRecord:
    """Return a record with a score, or with the reason why there is none."""
    from strokelabel.selection import score_scan

    stamp, now = image_stamp(datastore, image), int(time.time())
    try:
        score = score_scan(predictor, read_scan(datastore.get_image_uri(image), image))
    except HTTPException as error:  # a series that is no scan
        if error.status_code == _UNAVAILABLE:
            raise  # the server of the images is down, which says nothing about this one
        return UncertaintyRecord(weights, stamp, None, str(error.detail), (), now)
    except (StrokeLabelError, MemoryError, OSError, ValueError) as error:
        return UncertaintyRecord(weights, stamp, None, str(error) or type(error).__name__, (), now)
    return UncertaintyRecord(weights, stamp, round(score.uncertainty, 6), None, score.descriptor, now)


def _store(datastore: Datastore, image: str, record: UncertaintyRecord) -> bool:
    """Keep a record; False when the image was deleted meanwhile."""
    try:
        datastore.update_image_info(image, record.as_info())
    except Exception as error:  # of a kind for each datastore; the other scans still want their scores
        logger.warning(f"{image}: the score is not kept: {error}")
        return False
    return True
