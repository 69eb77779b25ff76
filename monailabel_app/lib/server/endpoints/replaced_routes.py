"""MONAI Label's routes once more: checked first, and in threads.

Its endpoints are coroutines that never wait for anything but block, so that the whole server stands still while one
works. The same functions run here in worker threads; some are replaced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.params import Depends
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

from lib.server.endpoints import background_tasks, files, next_sample, sessions
from lib.server.endpoints import proxy as our_proxy
from lib.server.endpoints.checks import before
from lib.server.endpoints.infer_dicom_seg import answering_dicom_seg
from lib.server.errors import PlainJSONResponse

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
    **next_sample.INSTEAD_OF,
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


def _dependencies(endpoint: Callable[..., Any]) -> Iterator[Depends]:
    """Yield the roles that MONAI Label's own sign-in requires, when it is on."""
    user = inspect.signature(endpoint).parameters.get("user")
    if user is not None and isinstance(user.default, Depends):
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
