"""GET /health and GET /infer/progress: whether the server lives, and how far a request is.

Both are answered on the event loop itself, so that they need no thread, whatever else is going on.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Depends
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC

from lib.infers.progress import progress_of
from lib.server.middleware import Admission
from lib.server.server_options import ServedApp


def health_routes(app: ServedApp) -> APIRouter:
    """Return the route, which is asked without a token.

    Args:
        app: the app, for its versions.
    """
    router = APIRouter(tags=["App"])
    started = time.monotonic()

    @router.get("/health", summary="Status, versions, load and uptime")
    async def health() -> dict[str, Any]:
        """Return status, versions and load, without reading a file or waiting for a lock."""
        return {
            "status": "ok",
            "version": app.version,
            "model": app.model_version(),
            "queue_length": Admission.active["long"],
            "uploads": Admission.active["upload"],
            "uptime_s": round(time.monotonic() - started, 1),
        }

    return router


def progress_routes() -> APIRouter:
    """Return the route by which a client asks how far its own infer request is."""
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR, tags=["Infer"])
    user = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]

    @router.get("/infer/progress", summary="How far an infer request is", dependencies=user)
    async def progress(request_id: str) -> dict[str, Any]:
        """Return state, stage, fraction and remaining seconds of the request that was sent with this `request_id`."""
        return progress_of(request_id)

    return router
