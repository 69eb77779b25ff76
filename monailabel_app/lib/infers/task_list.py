"""List of the infer tasks."""

from __future__ import annotations

from collections.abc import Mapping

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.infers.adapted_task import SegmentAdapted
from lib.infers.caches import DEFAULT_MEGABYTES, ResultCache
from lib.infers.device_queue import MOST_WAITING
from lib.infers.refine import RefineLesion
from lib.infers.segment_tasks import SegmentEnsemble, SegmentLesion, SegmentLesionAccurately, SegmentTissues
from lib.infers.segmenter import Segmenter
from lib.model import ServedModel
from lib.places import cache_folder
from lib.request_values import as_number


def make_infers(
    model: ServedModel, app_dir: str, studies: str, conf: Mapping[str, str]
) -> dict[str, InferTask]:
    """Return the infer tasks around one model, one cache and one queue per device.

    `--conf cache_mb N` bounds the results that are kept on disk, in megabytes (0: none); `--conf queue N` the
    requests that may wait.

    Raises:
        InvalidRequestError: one of these is not a number.
    """
    megabytes = as_number(conf.get("cache_mb"), "--conf cache_mb", DEFAULT_MEGABYTES)
    most_waiting = int(as_number(conf.get("queue"), "--conf queue", MOST_WAITING))
    cache = ResultCache(cache_folder(app_dir, studies), int(megabytes * 10**6))
    segmenter = Segmenter(model, cache, max(0, most_waiting))
    return {
        "segment": SegmentLesion(segmenter),
        "segment_accurate": SegmentLesionAccurately(segmenter),
        "segment_tissues": SegmentTissues(segmenter),
        "segment_ensemble": SegmentEnsemble(segmenter),
        "segment_adapted": SegmentAdapted(segmenter),
        "refine": RefineLesion(segmenter),
        "refine_scribbles": RefineLesion(segmenter, InferType.SCRIBBLES),
    }
