"""Routes for the history of labels, the review of pseudo-labels, and the annotation report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from lib.places import is_web_address
from lib.refusals import answered_as_http
from lib.studies.review import FINAL, ORIGINAL, review


def add_label_routes(server: FastAPI) -> None:
    """Put the routes before MONAI Label's own; they run in threads, never on the event loop.

    Args:
        server: MONAI Label's ASGI app.
    """
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR + "/datastore/label", tags=["Datastore"])
    user = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
    annotator = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
    router.add_api_route("/history", history, methods=["GET"], dependencies=user)
    router.add_api_route("/restore", restore, methods=["POST"], dependencies=annotator)
    router.add_api_route("/status", set_status, methods=["PUT"], dependencies=annotator)
    server.router.routes[:0] = router.routes


def history(image: str, tag: str = FINAL) -> list[dict[str, Any]]:
    """Return the versions of a label, newest first: time, author, information, and whether it was deleted."""
    return list(_store().label_history(image, tag))


def restore(
    image: Annotated[str, Body()], version: Annotated[str, Body()], tag: Annotated[str, Body()] = FINAL
) -> dict[str, str]:
    """Bring back a version of a label that was overwritten or deleted."""
    _store().restore_label(image, tag, version)
    return {"image": image, "label": image, "tag": tag}


def set_status(
    image: Annotated[str, Body()],
    status: Annotated[Literal["accepted", "rejected"], Body()],
    tag: Annotated[str, Body()] = ORIGINAL,
    comment: Annotated[str, Body(max_length=10_000)] = "",
    client_id: Annotated[str | None, Body(max_length=200)] = None,
) -> dict[str, str]:
    """Accept a pseudo-label as it is, which makes it the final label, or reject it."""
    _store().review_label(image, tag, review(status, comment, client_id))
    return {"image": image, "tag": tag, "status": status}


def _store() -> Any:  # noqa: ANN401 - the app's modules may be imported under another name by the server
    """Return the datastore, if it is a studies folder.

    Raises:
        HTTPException: 404 for a DICOMweb datastore, which keeps no history.
    """
    store = app_instance().datastore()
    if not hasattr(store, "label_history"):
        raise HTTPException(
            404, "This datastore keeps no history of labels; serve a folder of studies instead."
        )
    return store


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
