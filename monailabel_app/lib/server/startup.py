"""Middleware, routes and tasks of the server, installed while it starts.

The app is built within the server's own start-up, before the first request. What is put in here therefore holds for
a plain `monailabel start_server` as well as for `strokelabel serve`.
"""

from __future__ import annotations

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.middleware import Middleware

from lib.places import log_folder
from lib.server.endpoints.health import health_routes, progress_routes
from lib.server.endpoints.replaced_routes import replace_routes, sign_in_routes
from lib.server.endpoints.simulate import simulation_routes
from lib.server.errors import answer_errors
from lib.server.logs import AccessLog, write_logs
from lib.server.middleware import (
    SPARE_THREADS,
    UPLOADS_AT_ONCE,
    AddressGuard,
    Admission,
    BodyLimit,
    TokenGuard,
    long_at_once,
)
from lib.server.server_options import ServedApp, ServerOptions
from lib.server.tasks import end_tasks_with_the_server, report_processes_that_do_not_start


def harden(server: FastAPI, app: ServedApp) -> None:
    """Replace routes, middleware, error answers and logs of a server that is starting.

    Args:
        server: MONAI Label's ASGI app, in its start-up, on its event loop.
        app: ours.

    Raises:
        OptionError: an impossible option of the server's owner.
    """
    options = app.server_options
    first = [health_routes(app), progress_routes(), simulation_routes()]
    if options.token:
        first.append(sign_in_routes(options.token))
    replace_routes(server, *first)
    answer_errors(server)
    server.user_middleware = middleware(options)
    server.middleware_stack = None  # rebuilt at the first request
    limiter = current_default_thread_limiter()
    limiter.total_tokens = long_at_once(options.queue) + UPLOADS_AT_ONCE + SPARE_THREADS
    report_processes_that_do_not_start()
    end_tasks_with_the_server()
    write_logs(log_folder(app.app_dir, app.labels_folder), app.image_ids)


def middleware(options: ServerOptions) -> list[Middleware]:
    """Return the middleware of a request, from the outside in."""
    passed = [
        Middleware(AccessLog),
        Middleware(AddressGuard, hosts=options.hosts, origins=options.origins),
    ]
    if options.origins:
        origins = list(options.origins)
        passed.append(
            Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
        )
    if options.token:
        passed.append(Middleware(TokenGuard, token=options.token))
    passed.append(Middleware(Admission, queue=options.queue))
    passed.append(Middleware(BodyLimit, most_upload_bytes=options.most_upload_bytes))
    return passed
