"""MONAI Label's routes once more: checked first, and in threads; some are replaced.

Its endpoints are coroutines that never wait for anything but block, so that the whole server stands still while one
works. The same functions run here in worker threads. Replaced are the sign-in (the token is the password, for any user
name: the stock 3D Slicer plugin and `monailabel.client` ask GET /auth/ whether there is one, and exchange a password
for a token that they send as `Authorization: Bearer`), the next scan to label, and answers as DICOM SEG.
"""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Form, HTTPException, params
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    login,
    logs,
    model,
    ohif,
    proxy,
    scoring,
    session,
    train,
    wsi_infer,
)
from monailabel.endpoints.infer import ResultType
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file

from lib.dicomweb.pacs_datastore import DicomWebDatastore
from lib.refusals import InvalidRequestError, answered_as_http
from lib.server.endpoints import background_tasks, files, sessions
from lib.server.endpoints import proxy as our_proxy
from lib.server.endpoints.checks import before
from lib.server.errors import PlainJSONResponse
from lib.server.middleware import same_secret


def sign_in_routes(token: str) -> APIRouter:
    """Return the three routes of the sign-in.

    Args:
        token: the server's token.
    """
    router = APIRouter(prefix="/auth", tags=["Auth"])

    @router.get("/", summary="Report whether sign-in is required")
    async def enabled() -> dict[str, Any]:
        return {"enabled": True, "client_id": "", "realm": ""}

    @router.post("/token", summary="Exchange a password for the token")
    async def exchange(
        username: Annotated[str, Form()] = "", password: Annotated[str, Form()] = ""
    ) -> dict[str, str]:
        if not same_secret(password, token):
            raise HTTPException(
                401, "The password is not this server's token.", {"WWW-Authenticate": "Bearer"}
            )
        return {"access_token": token, "token_type": "bearer"}

    @router.get("/token/valid", summary="Check the token of the request")
    async def valid() -> dict[str, str]:
        return {"username": "user"}  # with a wrong one the request does not come this far

    return router


def next_sample(
    strategy: str,
    params: dict[str, Any] | None = None,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),  # noqa: B008 - as FastAPI wants it
) -> dict[str, Any]:
    """Return the image to label next, with its information; {} when all are labelled.

    MONAI Label's own describes the whole app for each request, and notes a second time who was given the image.
    """
    request = {"client_id": user.username, **(params or {}), "strategy": strategy}
    app = app_instance()
    chosen = app.next_sample(request)
    return {**chosen, **app.datastore().get_image_info(chosen["id"])} if chosen else {}


_NEXT_SAMPLE: dict[Callable[..., Any], Callable[..., Any]] = {activelearning.api_sample: next_sample}
"""Endpoint of MONAI Label that it replaces."""


Endpoint = Callable[..., Any]


def answering_dicom_seg(endpoint: Endpoint) -> Endpoint:
    """Wrap MONAI Label's inference endpoint, with our DICOM SEG for `output=dicom_seg`.

    Args:
        endpoint: `monailabel.endpoints.infer.run_inference`; called with keywords, as FastAPI does.
    """

    @functools.wraps(endpoint)
    def answer(**request: Any) -> Any:  # noqa: ANN401 - what the endpoint takes and gives
        if request.get("output") != ResultType.dicom_seg:
            return endpoint(**request)
        with answered_as_http():
            store = _datastore(request)
            result = endpoint(**{**request, "output": ResultType.image})
            names = app_instance().info()["models"][request["model"]]["labels"]
            return _as_seg(store, request["image"], Path(result.path), names, request["background_tasks"])

    return answer


def _datastore(request: dict[str, Any]) -> DicomWebDatastore:
    store = app_instance().datastore()
    if not isinstance(store, DicomWebDatastore) or not request.get("image") or request.get("file"):
        raise InvalidRequestError(
            "output: dicom_seg expects an image of a DICOMweb server, whose series the SEG can refer to; "
            "ask for image instead."
        )
    return store


def _as_seg(
    store: DicomWebDatastore, image: str, mask: Path, names: dict[str, int], tasks: BackgroundTasks
) -> FileResponse:
    descriptor, path = tempfile.mkstemp(suffix=".dcm")
    os.close(descriptor)
    tasks.add_task(remove_file, path)
    try:
        store.write_seg(Path(path), image, mask, {"params": {"label_names": names}})
    except Exception:
        for file in (path, str(mask)):
            remove_file(file)
        raise
    return FileResponse(path, media_type="application/dicom", filename=f"{image}.dcm")


_MODULES = (
    info,
    model,
    infer,
    wsi_infer,
    batch_infer,
    train,
    activelearning,
    scoring,
    datastore,
    logs,
    ohif,
    proxy,
    session,
)
_KEPT = ("/openapi.json", "/docs", "/static", "/", "/favicon.ico")
_INSTEAD_OF: dict[Any, Callable[..., Any]] = {
    infer.api_run_inference: answering_dicom_seg(infer.run_inference),
    **background_tasks.INSTEAD_OF,
    **files.INSTEAD_OF,
    **_NEXT_SAMPLE,
    **sessions.INSTEAD_OF,
    **our_proxy.INSTEAD_OF,
}


def replace_routes(server: FastAPI, *first: APIRouter) -> None:
    """Take all routes of MONAI Label out of the server, and put ours in.

    Args:
        server: MONAI Label's ASGI app.
        first: further routes, which go before.
    """
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)
    modules = (login, *_MODULES) if settings.MONAI_LABEL_AUTH_ENABLE else _MODULES
    for route in (route for module in modules for route in module.router.routes):
        _add(router, route)
    router.add_api_route("/reload", files.reload, methods=["POST"], include_in_schema=False)
    kept = [route for route in server.router.routes if getattr(route, "path", None) in _KEPT]
    ours = [route for each in (*first, router) for route in each.routes]
    server.router.routes[:] = [*ours, *kept]
    server.openapi_schema = None


def _add(router: APIRouter, route: Any) -> None:  # noqa: ANN401 - an APIRoute
    stock = route.endpoint
    ours = _INSTEAD_OF.get(stock)
    router.add_api_route(
        route.path,
        ours or in_a_thread(stock),
        methods=route.methods,
        dependencies=[*(_dependencies(stock) if ours else ()), *before(stock)],
        tags=route.tags,
        summary=route.summary,
        description=None if ours is None else (ours.__doc__ or "").strip(),
        responses=route.responses,
        deprecated=route.deprecated,
        include_in_schema=route.include_in_schema,
        response_class=PlainJSONResponse,
        response_model=None,
        name=route.name,
    )


def _dependencies(endpoint: Callable[..., Any]) -> Iterator[params.Depends]:
    """Yield the roles that MONAI Label's own sign-in requires, when it is on."""
    user = inspect.signature(endpoint).parameters.get("user")
    if user is not None and isinstance(user.default, params.Depends):
        yield user.default


def in_a_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the signature of a coroutine function that never waits; FastAPI runs functions in threads.

    Args:
        endpoint: a coroutine function without anything to wait for; functions are returned as they are.
    """
    if not inspect.iscoroutinefunction(endpoint):
        return endpoint

    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        coroutine = endpoint(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        coroutine.close()
        raise RuntimeError(f"{endpoint.__name__} waits for something, and cannot run in a thread")

    run.__name__, run.__doc__ = endpoint.__name__, endpoint.__doc__
    run.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    return run
