"""Batch task: a model's labels for many scans of the datastore, each with its provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType, BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.utils.app import app_instance

from lib.infers.infer_options import InferOptions
from lib.model import ServedModel
from lib.refusals import InvalidRequestError, UnknownNameError, answered_as_http, named
from lib.request_values import as_number
from lib.studies.review import ORIGINAL, PSEUDO
from lib.studies.scan_list import check_name
from lib.task_log import log_line
from strokelabel.errors import StrokeLabelError
from strokelabel.inference.segment.batch import provenance


def check_batch(model: str, images: object = None, params: dict[str, Any] | None = None) -> None:
    """Refuse what MONAI Label would start a process for, that then fails without a message.

    Raises:
        HTTPException: 404 no such model or image, 400 impossible options.
    """
    app = app_instance()
    with answered_as_http():
        task = named(app._infers, model, "model")
        batch = BatchRequest.from_request({"images": images, **(params or {}), "model": model})
        batch.choose(app.datastore())
        getattr(task, "options_of", InferOptions.from_request)(batch.options)


_GROUPS = tuple(group.value for group in BatchInferImageType)


@dataclass(frozen=True)
class BatchRequest:
    """A request for a batch.

    Attributes:
        model: name of the infer task.
        images: "all", "labeled", "unlabeled", or a list of ids.
        label_tag: which labels to write; "original" is where viewers look for a model's.
        most: how many scans at most; 0 for all.
        options: of the infer task.
    """

    model: str
    images: str | list[str]
    label_tag: str
    most: int
    options: dict[str, Any]

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> BatchRequest:
        """Read a request, passing over MONAI Label's options that mean nothing here (workers, GPUs).

        Raises:
            InvalidRequestError: naming the option that cannot be used.
        """
        images = request.get("images") or BatchInferImageType.IMAGES_ALL
        images = getattr(images, "value", images)
        if not (images in _GROUPS if isinstance(images, str) else _is_list_of_names(images)):
            raise InvalidRequestError(f"images: expected one of {', '.join(_GROUPS)}, or a list of ids.")
        tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL
        most = as_number(request.get("max_batch_size"), "max_batch_size", default=0.0)
        if most < 0 or not most.is_integer():
            raise InvalidRequestError(f"max_batch_size: expected a whole number from 0 on, found {most:g}.")
        device = request.get("device")
        options = {key: value for key, value in request.items() if key not in ("images", "image", "label")}
        # MONAI Label's own default is "cuda" on every computer
        options["device"] = None if device == "cuda" else device
        return cls(
            model=str(request.get("model")),
            images=images,
            label_tag=check_name(getattr(tag, "value", tag), "label_tag"),
            most=int(most),
            options=options,
        )

    def choose(self, datastore: Datastore) -> list[str]:
        """Return the ids of the scans, in order.

        Raises:
            UnknownNameError: an id that is not in the datastore.
        """
        known = sorted(datastore.list_images())
        if self.images == BatchInferImageType.IMAGES_LABELED:
            known = sorted(datastore.get_labeled_images())
        elif self.images == BatchInferImageType.IMAGES_UNLABELED:
            known = sorted(datastore.get_unlabeled_images())
        elif not isinstance(self.images, str):
            missing = [image for image in self.images if image not in known]
            if missing:
                raise UnknownNameError(f"images: not in this datastore: {', '.join(missing[:5])}.")
            known = list(dict.fromkeys(self.images))
        return known[: self.most] if self.most else known


def _is_list_of_names(images: object) -> bool:
    return isinstance(images, list) and all(isinstance(image, str) for image in images)


Infer = Callable[[dict[str, Any], Datastore], dict[str, Any]]


class PseudoLabelBatch(BatchInferTask):
    """Labels scans one after another: the model takes all cores, or the GPU, for each.

    MONAI Label runs it in a process of its own, shows its last lines at GET /batch/infer, and stops it by killing
    that. An equal request continues: scans that have a label by the same weights and options are skipped.

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
        log_line(f"{len(images)} scans to label with {made_by['model']} {made_by['model_version']}")
        rows: dict[str, Any] = {}
        for number, image in enumerate(images, start=1):
            began = time.perf_counter()
            rows[image] = self._row(image, batch, datastore, infer)
            log_line(
                f"{number} of {len(images)}: {image}: {_summary(rows[image])}, {time.perf_counter() - began:.1f} s"
            )
        failed = sum(row["status"] == "failed" for row in rows.values())
        log_line(f"{len(rows)} scans, {failed} failed")
        return rows

    def _row(self, image: str, batch: BatchRequest, datastore: Datastore, infer: Infer) -> dict[str, Any]:
        try:
            made_by = self._made_by(batch)
            if _is_done(image, batch.label_tag, made_by, datastore):
                return {"status": "kept"}
            if _is_a_persons(image, batch.label_tag, datastore):
                raise InvalidRequestError(
                    f"{image}: this label was made or reviewed by a person; use another label_tag"
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
        """Return everything besides the scan that determines a label."""
        read = getattr(self._tasks.get(batch.model), "options_of", InferOptions.from_request)
        options = read(batch.options).prediction
        return {"task": batch.model, **provenance(self._model.spec, options)}


def _is_done(image: str, tag: str, made_by: Mapping[str, Any], datastore: Datastore) -> bool:
    """Return whether a scan has a label that would come out the same."""
    info = datastore.get_label_info(image, tag)
    label, scan = Path(datastore.get_label_uri(image, tag)), Path(datastore.get_image_uri(image))
    known = info.get("provenance") if isinstance(info, Mapping) else None
    if not isinstance(known, Mapping) or not label.is_file() or label.stat().st_mtime < scan.stat().st_mtime:
        return False
    return all(known.get(key) == value for key, value in made_by.items())


def _is_a_persons(image: str, tag: str, datastore: Datastore) -> bool:
    """Return whether a batch would replace a label that an annotator submitted, accepted or rejected."""
    info = datastore.get_label_info(image, tag) if datastore.get_label_uri(image, tag) else None
    return tag != ORIGINAL and info is not None and info.get("status") != PSEUDO


def _summary(row: Mapping[str, Any]) -> str:
    if row["status"] != "done":
        return str(row.get("problem") or "has such a label already")
    confidence = row["mean_confidence"]
    return f"{row['volume_ml']} ml" + ("" if confidence is None else f", confidence {confidence:.2f}")
