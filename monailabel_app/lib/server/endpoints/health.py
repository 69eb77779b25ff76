"""GET /health: whether the server lives; asked without a token, answered whatever else is going on."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from lib.server.middleware import Admission
from lib.server.server_options import ServedApp


def health_routes(app: ServedApp) -> APIRouter:
    """Return the route, which runs on the event loop itself, so that it needs no thread.

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
