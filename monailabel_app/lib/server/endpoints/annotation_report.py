"""Route of the annotation report."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from lib.places import is_web_address
from lib.refusals import answered_as_http


def annotation_report(format: Literal["html", "json", "tsv"] = "html") -> Response:
    """Return the annotation report: annotators, times, changes, and the predictions' scores by version.

    Raises:
        HTTPException: 404 when the studies are not a folder.
    """
    from strokelabel.reports.annotations.page import report_page
    from strokelabel.reports.annotations.report import annotation_rows, as_json, as_tsv

    app = app_instance()
    if is_web_address(app.studies):
        raise HTTPException(
            404, "The annotation report is made from a folder of studies; these are a web address."
        )
    with answered_as_http():
        rows = annotation_rows(app.labels_folder)
        if format == "json":
            return JSONResponse(as_json(rows))
        if format == "tsv":
            return PlainTextResponse(as_tsv(rows), media_type="text/tab-separated-values")
        return HTMLResponse(report_page(rows))


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
