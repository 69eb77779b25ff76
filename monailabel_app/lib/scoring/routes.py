"""Routes of scoring and of the annotation report; none of them blocks the event loop."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from lib.refusals import answered_as_http
from lib.scoring.queue import queue_scoring


@answered_as_http()
def run_scoring(
    method: str, params: dict[str, Any] | None = None, run_sync: bool | None = False
) -> dict[str, Any]:
    """Start a scoring method, or with `run_sync` run it in a thread of the server.

    Raises:
        HTTPException: 404 no such method, 4xx for its options.
    """
    app = app_instance()
    if not run_sync or method not in app._scoring_methods:  # the latter is refused by the queue
        return queue_scoring(app, method, params)
    request = {**(params or {}), "method": method, "background": False}
    result: dict[str, Any] = app.scoring(request)
    return result


def run_all_scoring(
    params: dict[str, Any] | None = None, run_sync: bool | None = False
) -> dict[str, dict[str, Any]]:
    """Start every scoring method, each at most once, as the deprecated route does."""
    return {
        method: {"result": run_scoring(method, (params or {}).get(method), run_sync), "detail": None}
        for method in app_instance()._scoring_methods
    }


def annotation_report(format: Literal["html", "json", "tsv"] = "html") -> Response:
    """Who labelled what, how long it took, what was changed, and how the predictions fared over the versions.

    Raises:
        HTTPException: 404 when the studies are not a folder.
    """
    from strokelabel.reports.annotations.page import report_page
    from strokelabel.reports.annotations.report import annotation_rows, as_json, as_tsv

    app = app_instance()
    if app.studies.startswith(("http://", "https://")):
        raise HTTPException(
            404, "The annotation report is made from a folder of studies; these are a web address."
        )
    with answered_as_http():
        rows = annotation_rows(app.studies)
        if format == "json":
            return JSONResponse(as_json(rows))
        if format == "tsv":
            return PlainTextResponse(as_tsv(rows), media_type="text/tab-separated-values")
        return HTMLResponse(report_page(rows))


def add_scoring_routes(server: FastAPI) -> None:
    """Put our scoring routes before MONAI Label's own, whose coroutines block the server and queue without limit."""
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)
    may_annotate = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
    for path, function in (("/scoring/", run_all_scoring), ("/scoring/{method}", run_scoring)):
        router.add_api_route(
            path, function, methods=["POST"], dependencies=may_annotate, include_in_schema=False
        )
    server.router.routes[:0] = router.routes


def add_report_routes(server: FastAPI) -> None:
    """Serve GET /report/annotations.

    Args:
        server: MONAI Label's ASGI app.
    """
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR, tags=["Report"])
    router.add_api_route(
        "/report/annotations",
        annotation_report,
        methods=["GET"],
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
        response_model=None,
        summary="Annotation report as a page (html), or its data (json, tsv)",
    )
    server.router.routes[:0] = router.routes
