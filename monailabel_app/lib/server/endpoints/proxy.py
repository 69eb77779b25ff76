"""Requests that OHIF sends to the DICOMweb server of the studies, through this server, which knows its password."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from typing import IO, Any

import requests
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from monailabel.config import settings
from monailabel.endpoints import proxy
from starlette.background import BackgroundTask

from lib.places import is_web_address
from lib.refusals import UnknownNameError
from lib.server.errors import refusal

_PATH = re.compile(r"(studies|series|instances)(/[\w.\-]+)*/?")
_PASSED_ON = ("accept", "content-type")
_PART = 2**20
_MOST_IN_MEMORY = 16 * _PART
"""Bytes of a body to store that are kept in memory; what is more goes through a temporary file."""

_PREFIX = {
    "wado": "MONAI_LABEL_WADO_PREFIX",
    "qido": "MONAI_LABEL_QIDO_PREFIX",
    "stow": "MONAI_LABEL_STOW_PREFIX",
}


async def wado(request: Request, path: str) -> Response:
    """Pass on a WADO request."""
    return await _ask(request, "wado", path)


async def qido(request: Request, path: str) -> Response:
    """Search; metadata is asked of the retrieval service, as some versions of OHIF mistake it."""
    return await _ask(request, "wado" if path.endswith("metadata") else "qido", path)


async def stow(request: Request, path: str) -> Response:
    """Store."""
    return await _ask(request, "stow", path)


async def any_service(request: Request, path: str) -> Response:
    """Pass on a request without a prefix."""
    return await _ask(request, "", path)


async def _ask(request: Request, service: str, path: str) -> Response:
    root = settings.MONAI_LABEL_STUDIES.rstrip("/")
    if not is_web_address(root):
        raise UnknownNameError("The studies are a folder: there is no DICOMweb server to ask.")
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        raise UnknownNameError("Only addresses of DICOMweb (studies/...) are passed on.")
    prefix = getattr(settings, _PREFIX.get(service, ""), None)
    url = "/".join(part for part in (root, prefix and prefix.strip("/"), path) if part)
    with tempfile.SpooledTemporaryFile(_MOST_IN_MEMORY) as body:
        async for part in request.stream():
            await run_in_threadpool(body.write, part)
        length = body.tell()
        body.seek(0)
        return await run_in_threadpool(_send, request, url, body if length else None)


def _send(request: Request, url: str, body: IO[bytes] | None) -> Response:
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    # not the client's Authorization, which is for this server
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    try:
        answer = requests.request(
            request.method,
            url,
            params=request.query_params.multi_items(),
            data=body,
            stream=True,
            headers=headers,
            auth=(user, password) if user and password else None,
            timeout=(5, settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT),
        )
    except requests.RequestException as error:
        return refusal(503, f"The DICOMweb server of the studies does not answer ({type(error).__name__}).")
    kind = answer.headers.get("Content-Type")
    return StreamingResponse(
        answer.iter_content(_PART),
        answer.status_code,
        {"Content-Type": kind} if kind else None,
        background=BackgroundTask(answer.close),
    )


INSTEAD_OF: dict[Callable[..., Any], Callable[..., Any]] = {
    proxy.proxy_wado: wado,
    proxy.proxy_qido: qido,
    proxy.proxy_stow: stow,
    proxy.proxy: any_service,
}
"""Endpoint of MONAI Label that each replaces."""
