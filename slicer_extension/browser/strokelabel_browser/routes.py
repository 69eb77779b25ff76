"""HTTP routes of the page beside the websocket: uploads, downloads, and for tests the state."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, web
from StrokeLabelLib.errors import ServerError
from StrokeLabelLib.nifti import encode_nifti
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.report import report

from .scene import Scene

HEADER = "X-StrokeLabel"
"""Sent by the page's own script; another site cannot set it without asking first, and is refused then."""

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
LARGEST_UPLOAD = 4 << 30


class Routes:
    """Routes of one page.

    Args:
        presenter: decides.
        scene: for the state.
        with_state: whether GET /state answers; only for tests.
    """

    def __init__(self, presenter: Presenter, scene: Scene, *, with_state: bool) -> None:
        self._presenter = presenter
        self._scene = scene
        self._with_state = with_state

    def bind(self, server: Any) -> None:  # noqa: ANN401 - wslink's web server
        """Add the routes; called when the server binds."""
        server.app._client_max_size = LARGEST_UPLOAD
        server.app.router.add_post("/upload", self.upload)
        server.app.router.add_get("/download/mask", self.mask)
        server.app.router.add_get("/download/report", self.report)
        server.app.router.add_get("/lesion-report", self.lesion_report)
        if self._with_state:
            server.app.router.add_get("/state", self.state)

    async def upload(self, request: web.Request) -> web.Response:
        """Take a volume, or the files of a DICOM folder, and hand it to the presenter."""
        if request.headers.get(HEADER) != "page":
            raise web.HTTPForbidden(text="Uploads come from the page itself.")
        folder = Path(tempfile.mkdtemp(prefix="strokelabel-upload-"))
        try:
            names = await _receive(request, folder)
            path = _what_to_open(folder, names)
            if path is None:
                raise web.HTTPBadRequest(
                    text="Expected one NIfTI file (.nii, .nii.gz), NRRD, or a DICOM folder; drop one scan at a time."
                )
            self._presenter.cases.upload(path, image_id_for(path))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return web.Response(text="ok")

    async def mask(self, _: web.Request) -> web.Response:
        """Return the mask as .nii.gz on the scan's grid."""
        case = self._presenter.session.case
        if case is None:
            raise web.HTTPNotFound(text="No scan is open.")
        return _attachment(
            f"{case.image.image_id}_mask.nii.gz", "application/gzip", encode_nifti(case.mask_volume)
        )

    async def report(self, _: web.Request) -> web.Response:
        """Return the volumes and provenance as JSON."""
        session = self._presenter.session
        if session.case is None:
            raise web.HTTPNotFound(text="No scan is open.")
        text = json.dumps(report(session.case, session.measurements), indent=2)
        return _attachment(f"{session.case.image.image_id}_report.json", "application/json", text.encode())

    async def lesion_report(self, _: web.Request) -> web.Response:
        """Return the page with pictures of the lesion that the model found, as the server draws it."""
        case, client = self._presenter.session.case, self._presenter.session.client
        if case is None or case.asked is None:
            raise web.HTTPNotFound(text="Nothing was segmented yet; press Segment first.")
        if client is None:
            raise web.HTTPServiceUnavailable(text="The server is not connected.")
        model, options = case.asked
        try:
            page = await asyncio.to_thread(client.page, model, case.image.image_id, options)
        except ServerError as error:
            raise web.HTTPBadGateway(text=str(error)) from error
        return web.Response(body=page, content_type="text/html", charset="utf-8")

    async def state(self, request: web.Request) -> web.Response:
        """Return the state for tests: voxels of the mask, and the running task; with ?views=yes also the
        views' mask.
        """
        session = self._presenter.session
        case = session.case
        shown = self._scene.mask() if request.query.get("views") else None
        return web.json_response(
            {
                "image": case.image.image_id if case else "",
                "voxels": int(case.mask.current.sum()) if case else 0,
                "shown_voxels": int(shown.sum()) if shown is not None else 0,
                "same": bool(case and shown is not None and (case.mask.current == shown).all()),
                "islands": session.measurements.count,
                "has_probability": bool(case and case.probability is not None),
                "undo": case.history.undo_name if case else "",
                "redo": case.history.redo_name if case else "",
                "dirty": bool(case and case.dirty),
                "busy": session.job.message if session.job else "",
                "progress": session.job.progress.fraction if session.job and session.job.progress else None,
                "status": session.status,
                "overlay": session.overlay,
                "training": {"running": session.training.running, "epoch": session.training.epoch},
                "connected": session.client is not None,
                "mask_changes": self._scene.mask_changes,
            }
        )


def image_id_for(path: Path) -> str:
    """Return an id for the server: the file's or folder's name, with valid characters only."""
    name = path.name
    for suffix in sorted(VOLUME_SUFFIXES, key=len, reverse=True):
        if path.is_file() and name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "scan"


async def _receive(request: web.Request, folder: Path) -> list[Path]:
    """Write each file under its path below `folder`; what would leave it is left out."""
    names = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):  # a form within the form
            continue
        path = PurePosixPath(unquote(part.filename or ""))
        if not path.name or path.is_absolute() or ".." in path.parts:
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while chunk := await part.read_chunk(1 << 20):
                file.write(chunk)
        names.append(target)
    return names


def _what_to_open(folder: Path, names: list[Path]) -> Path | None:
    volumes = [name for name in names if name.name.lower().endswith(VOLUME_SUFFIXES)]
    if len(volumes) == 1:
        return volumes[0]
    if volumes or not names:
        return None
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else folder


def _attachment(name: str, kind: str, body: bytes) -> web.Response:
    disposition = f'attachment; filename="{name}"'
    return web.Response(body=body, content_type=kind, headers={"Content-Disposition": disposition})
