"""The batch task: a model's labels for many scans of the datastore, each with its provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask

from lib.batch.request import BatchRequest
from lib.infers.options import InferOptions
from lib.labels.review import ORIGINAL, PSEUDO
from lib.model import ServedModel
from lib.refusals import InvalidRequestError, answered_as_http
from lib.trainers.stats import say
from strokelabel.errors import StrokeLabelError
from strokelabel.inference.segment.outputs import provenance

Infer = Callable[[dict[str, Any], Datastore], dict[str, Any]]


class PseudoLabelBatch(BatchInferTask):
    """Labels scans one after another: the model takes all cores, or the GPU, for each.

    MONAI Label runs it in a process of its own, shows its last lines at GET /batch/infer, and stops it by killing
    that. An equal request goes on: scans that have a label by the same weights and options are passed over.

    Args:
        model: what predicts.
        tasks: the infer tasks by name; one with a method `options_of` says itself which options it takes.
    """

    def __init__(self, model: ServedModel, tasks: Mapping[str, InferTask]) -> None:
        self._model = model
        self._tasks = tasks

    @answered_as_http()
    def __call__(self, request: dict[str, Any], datastore: Datastore, infer: Infer) -> dict[str, Any]:
        """Label scans.

        Args:
            request: see `BatchRequest`; and the options of the infer task.
            datastore: holds scans and labels.
            infer: the app's method; it segments one scan.

        Returns:
            For each image: "status" ("done", "kept" or "failed"), and "volume_ml" and "mean_confidence", or "problem".

        Raises:
            HTTPException: 400 for options that cannot be used.
        """
        batch = BatchRequest.from_request(request)
        images = batch.choose(datastore)
        made_by = self._made_by(batch)  # before anything is said: options may be impossible
        say(f"{len(images)} scans to label with {made_by['model']} {made_by['model_version']}")
        rows: dict[str, Any] = {}
        for number, image in enumerate(images, start=1):
            began = time.perf_counter()
            rows[image] = self._row(image, batch, datastore, infer)
            say(
                f"{number} of {len(images)}: {image}: {_summary(rows[image])}, {time.perf_counter() - began:.1f} s"
            )
        failed = sum(row["status"] == "failed" for row in rows.values())
        say(f"{len(rows)} scans, {failed} failed")
        return rows

    def _row(self, image: str, batch: BatchRequest, datastore: Datastore, infer: Infer) -> dict[str, Any]:
        try:
            made_by = self._made_by(batch)
            if _is_done(image, batch.label_tag, made_by, datastore):
                return {"status": "kept"}
            if _is_a_persons(image, batch.label_tag, datastore):
                raise InvalidRequestError(
                    f"{image}: a person made or judged this label; use another label_tag"
                )
            return self._label(image, batch, made_by, datastore, infer)
        except HTTPException as error:
            return {"status": "failed", "problem": str(error.detail)}
        except StrokeLabelError as error:
            return {"status": "failed", "problem": str(error)}
        except MemoryError:
            return {"status": "failed", "problem": f"{image}: not enough memory for a scan of this size"}
        except Exception as error:  # one bad scan must not take the others with it
            return {"status": "failed", "problem": f"{image}: unexpected {type(error).__name__}: {error}"}

    def _label(
        self, image: str, batch: BatchRequest, made_by: dict[str, Any], datastore: Datastore, infer: Infer
    ) -> dict[str, Any]:
        answer = infer(
            {**batch.options, "image": image, "save_label": False, "result_extension": ".nii.gz"}, datastore
        )
        file, params = answer["file"], answer["params"]
        measures = {key: params.get(key) for key in ("volume_ml", "mean_confidence")}
        try:
            info = {
                "model": batch.model,
                "params": params,
                "status": PSEUDO,
                "provenance": {**made_by, **measures},
            }
            datastore.save_label(image, file, batch.label_tag, info)
        finally:
            with suppress(OSError):
                Path(file).unlink()
        return {"status": "done", **measures}

    def _made_by(self, batch: BatchRequest) -> dict[str, Any]:
        """What decides a label besides the scan."""
        read = getattr(self._tasks.get(batch.model), "options_of", InferOptions.from_request)
        options = read(batch.options).prediction
        return {"task": batch.model, **provenance(self._model.spec, options)}


def _is_done(image: str, tag: str, made_by: Mapping[str, Any], datastore: Datastore) -> bool:
    """Whether a scan has a label that would come out the same."""
    info = datastore.get_label_info(image, tag)
    label, scan = Path(datastore.get_label_uri(image, tag)), Path(datastore.get_image_uri(image))
    known = info.get("provenance") if isinstance(info, Mapping) else None
    if not isinstance(known, Mapping) or not label.is_file() or label.stat().st_mtime < scan.stat().st_mtime:
        return False
    return all(known.get(key) == value for key, value in made_by.items())


def _is_a_persons(image: str, tag: str, datastore: Datastore) -> bool:
    """Whether a batch would write over what an annotator submitted, accepted or rejected."""
    info = datastore.get_label_info(image, tag) if datastore.get_label_uri(image, tag) else None
    return tag != ORIGINAL and info is not None and info.get("status") != PSEUDO


def _summary(row: Mapping[str, Any]) -> str:
    if row["status"] != "done":
        return str(row.get("problem") or "has such a label already")
    confidence = row["mean_confidence"]
    return f"{row['volume_ml']} ml" + ("" if confidence is None else f", confidence {confidence:.2f}")
