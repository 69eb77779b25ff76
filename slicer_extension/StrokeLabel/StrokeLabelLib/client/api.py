"""Requests to the server, one method each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ..errors import NotFoundError, RefusedError, ServerFailureError
from ..nifti import decode_nifti, encode_nifti
from ..volume import Volume
from .answers import (
    FINAL,
    ImageEntry,
    InferProgress,
    InferResult,
    ServerInfo,
    TrainStatus,
    read_image,
    read_info,
    read_progress,
    read_train_status,
)
from .jobs import Job
from .simulation import SimulatedScan, read_scan
from .transport import Transport, parts_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""On this computer, packing answers takes longer than sending them."""


class Client:
    """A MONAI Label server that runs the StrokeLabel app.

    Methods block; run them in a job. Each raises `ServerError` with a sentence for the user.

    Args:
        url: "http://127.0.0.1:8000".
        token: sent as bearer token, if the server asks for one.
        client_id: the annotator's name.
    """

    def __init__(self, url: str, token: str = "", client_id: str = "", **transport: Any) -> None:  # noqa: ANN401
        self.url = url.rstrip("/")
        self.client_id = client_id
        self._compress = urlsplit(self.url).hostname not in LOOPBACK
        self._transport = Transport(self.url, token, **transport)
        self._tells_progress = True

    def info(self, job: Job | None = None) -> ServerInfo:
        """Return the server's version and offers."""
        return read_info(self._transport.get_json("/info/", job=job))

    def images(self, job: Job | None = None) -> tuple[ImageEntry, ...]:
        """Return all scans with their labels."""
        answer = self._transport.get_json("/datastore/", {"output": "all"}, job)
        objects = answer.get("objects")
        if not isinstance(objects, Mapping):
            raise ServerFailureError(
                "The server's list of scans is not what was expected; is it MONAI Label?"
            )
        return tuple(
            read_image(name, entry if isinstance(entry, Mapping) else {}) for name, entry in objects.items()
        )

    def next_sample(self, strategy: str, job: Job | None = None) -> str:
        """Return the id of the scan to label next; "" when all are labelled."""
        answer = self._transport.post_json(f"/activelearning/{strategy}", {"client_id": self.client_id}, job)
        return str(answer.get("id", ""))

    def download_image(self, image_id: str, job: Job | None = None) -> Volume:
        """Download a scan."""
        content = self._transport.get_bytes("/datastore/image", {"image": image_id}, job)
        return decode_nifti(content, image_id)

    def download_label(self, image_id: str, tag: str = FINAL, job: Job | None = None) -> Volume:
        """Download a label of a scan."""
        content = self._transport.get_bytes("/datastore/label", {"label": image_id, "tag": tag}, job)
        return decode_nifti(content, f"the label of {image_id}")

    def upload_image(self, image_id: str, volume: Volume, job: Job | None = None) -> str:
        """Put a scan into the server's datastore; return its id."""
        files = {"file": (f"{image_id}.nii.gz", encode_nifti(volume))}
        answer = self._transport.put("/datastore/image", {"image": image_id}, {"params": "{}"}, files, job)
        return str(answer.get("image", image_id))

    def infer(
        self,
        model: str,
        image_id: str,
        options: Mapping[str, Any] | None = None,
        mask: Volume | None = None,
        job: Job | None = None,
    ) -> InferResult:
        """Ask a model.

        Args:
            model: name of the task.
            image_id: the scan.
            options: options of the task; `result` chooses "mask" (default), "probability" or "uncertainty"; for
                "refine" also the clicks: "foreground", "background", "add_region", "remove_island", each a list
                of voxels [i, j, k].
            mask: the current mask, for tasks that correct one.
            job: may be cancelled; gets the id by which `progress` asks about the request.
        """
        suffix = ".nii.gz" if self._compress else ".nii"
        files = {}
        if mask is not None:
            files["label"] = (f"label{suffix}", encode_nifti(mask, compress=self._compress))
        parts = self._ask(model, image_id, {"result_extension": suffix, **(options or {})}, files, job)
        return InferResult(
            decode_nifti(parts["image"], f"the answer of {model}"), _json(parts.get("params", b"{}"))
        )

    def page(
        self, model: str, image_id: str, options: Mapping[str, Any] | None = None, job: Job | None = None
    ) -> bytes:
        """Return a page (HTML) with pictures of the lesion that a model finds; from an earlier answer where it can.

        Args:
            model, image_id, options, job: as `infer`.

        Raises:
            RefusedError: the server has no pages.
        """
        page = self._ask(model, image_id, {**(options or {}), "result": "report"}, {}, job)["image"]
        if not page.lstrip().startswith(b"<!DOCTYPE html"):
            raise RefusedError("This server writes no reports.")
        return page

    def _ask(
        self,
        model: str,
        image_id: str,
        options: Mapping[str, Any],
        files: Mapping[str, tuple[str, bytes]],
        job: Job | None,
    ) -> dict[str, bytes]:
        """Return the parts of a model's answer, `image` among them."""
        params = {"client_id": self.client_id, **options}
        if job is not None:
            job.request_id = params["request_id"] = uuid4().hex
        kind, body = self._transport.post_form(
            f"/infer/{model}", {"image": image_id}, {"params": json.dumps(params)}, dict(files), job
        )
        parts = parts_of(kind, body)
        if "image" not in parts:
            raise ServerFailureError(f"{model} answered without an image; see the server's log.")
        return parts

    def progress(self, request_id: str, job: Job | None = None) -> InferProgress | None:
        """Return how far a request to a model is, by `Job.request_id`.

        Returns:
            None where the server does not know the request, or, as others than ours, tells no progress; such a server
            is not asked again.
        """
        if not self._tells_progress:
            return None
        try:
            answer = self._transport.get_json("/infer/progress", {"request_id": request_id}, job)
        except (NotFoundError, RefusedError):
            self._tells_progress = False
            return None
        return read_progress(answer)

    def simulate(self, request: Mapping[str, Any], job: Job | None = None) -> SimulatedScan:
        """Simulate a scan of the server's sample head.

        Args:
            request: "sequence", "parameters", "field", "lesion", "along", "white"; `ServerInfo.simulation` says which
                values are possible.
            job: may be cancelled.
        """
        return read_scan(self._transport.post_json("/simulate", request, job))

    def save_label(
        self, image_id: str, mask: Volume, info: Mapping[str, Any], tag: str = FINAL, job: Job | None = None
    ) -> None:
        """Submit a mask; once this returns, the server has it.

        Args:
            image_id: the scan.
            mask: uint8, 1 inside the lesion.
            info: what to keep with the label: provenance, time spent.
            tag: `FINAL` for an annotator's.
            job: may be cancelled before it is sent.
        """
        params = {"label_info": [{"name": "lesion", "idx": 1}], "client_id": self.client_id, **info}
        files = {"label": (f"{image_id}.nii.gz", encode_nifti(mask))}
        query = {"image": image_id, "tag": tag}
        self._transport.put("/datastore/label", query, {"params": json.dumps(params)}, files, job)

    def set_label_status(
        self, image_id: str, tag: str, status: str, comment: str = "", job: Job | None = None
    ) -> None:
        """Accept or reject a model's label.

        Args:
            image_id: the scan.
            tag: of the label.
            status: "accepted" or "rejected".
            comment: for users.
            job: may be cancelled before it is sent.
        """
        body = {
            "image": image_id,
            "tag": tag,
            "status": status,
            "comment": comment,
            "client_id": self.client_id,
        }
        self._transport.put_json("/datastore/label/status", body, job)

    def train(self, trainer: str, options: Mapping[str, Any] | None = None, job: Job | None = None) -> None:
        """Start training in the background of the server."""
        self._transport.post_json(f"/train/{trainer}", dict(options or {}), job)

    def stop_training(self, job: Job | None = None) -> None:
        """Stop training; what was learnt so far is kept, and `train` resumes there."""
        self._transport.delete("/train/", job)

    def train_status(self, trainer: str, job: Job | None = None) -> TrainStatus:
        """Return the state of training; empty if the server has not trained yet."""
        try:
            answer = self._transport.get_json("/train/", job=job)
        except NotFoundError:
            answer = {}
        stats = self.info(job).train_stats.get(trainer, {})
        return read_train_status(answer, stats)


def _json(content: bytes) -> dict[str, Any]:
    try:
        params = json.loads(content or b"{}")
    except ValueError as error:
        raise ServerFailureError("The server's answer is not JSON; see its log.") from error
    return params if isinstance(params, dict) else {}


def image_id_of(path: Path) -> str:
    """Return the id under which a file is uploaded: its name without suffix."""
    name = path.name
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
