"""Logs that may be shown to the owner of the server: no patient names, no file paths, no bodies of requests.

Every request has its line, and internal errors are logged in place of being answered in detail.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.server.errors import refusal

LOG_NAME = "server.jsonl"
ACCESS = "strokelabel.access"

_OURS = ("lib.", "strokelabel", "uvicorn", "task_")
_REPLACED = (
    "",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "task_train",
    "task_scoring",
    "task_batch_infer",
)
_PATH = re.compile(r"(?<![\w:/])(?:[A-Za-z]:)?[/\\][^\s'\",;:()]+")
_SALT = secrets.token_bytes(16)  # of this process: ids cannot be guessed from their hashes afterwards


def short_hash(image_id: str) -> str:
    """Return the hash that replaces an image id in the log of one run of the server."""
    return "id-" + hashlib.blake2s(image_id.encode("utf-8", "replace"), key=_SALT, digest_size=5).hexdigest()


class Redaction:
    """Filter that removes ids of images and paths of files from messages.

    Args:
        known_ids: gives the ids at the time of the message.
    """

    def __init__(self, known_ids: Callable[[], Iterable[str]]) -> None:
        self._known_ids = known_ids

    def __call__(self, text: str) -> str:
        """Return the message, on one line, without them."""
        for image_id in sorted((name for name in self._known_ids() if name in text), key=len, reverse=True):
            text = text.replace(image_id, short_hash(image_id))
        return _PATH.sub("<path>", " ".join(text.split()))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields of `extra={"fields": ...}`."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": at, "level": record.levelname, "logger": record.name}
        line["message"] = message_of(record, self._redact)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe(record.exc_info[1])
        return json.dumps({**line, **getattr(record, "fields", {})}, ensure_ascii=False, default=str)


class Readable(logging.Formatter):
    """Formatter for a person at the terminal."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"[{at}] {record.levelname} {record.name}: {message_of(record, self._redact)}"
        if record.exc_info and record.exc_info[1] is not None:
            line += " | " + describe(record.exc_info[1])
        return line


def message_of(record: logging.LogRecord, redact: Redaction) -> str:
    """Return the message; for libraries, whose messages may contain requests and file names, only its origin."""
    if not record.name.startswith(_OURS):
        return f"{record.module}.{record.funcName}, line {record.lineno}"
    return redact(record.getMessage())


def describe(error: BaseException) -> str:
    """Return the kind of an exception and the innermost lines that it passed, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )


def _worth_keeping(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.startswith(_OURS)


def write_logs(folder: Path, known_ids: Callable[[], Iterable[str]]) -> Path:
    """Send everything that is logged from now on through the redaction, to the terminal and a rotating file.

    Args:
        folder: made if missing, for the server's user alone.
        known_ids: gives the ids of the images.

    Returns:
        The log file. Without a place to write it there is only the terminal.
    """
    redact = Redaction(known_ids)
    terminal: logging.Handler = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(Readable(redact))
    handlers = [terminal]
    file = folder / LOG_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = RotatingFileHandler(
            file, maxBytes=5 * 2**20, backupCount=5, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        logging.getLogger(__name__).warning(f"No log file is written: {error.strerror}")
    else:
        kept.setFormatter(JsonLines(redact))
        handlers.append(kept)
    _install(handlers)
    return file


def _install(handlers: list[logging.Handler]) -> None:
    for handler in handlers:
        handler.addFilter(_worth_keeping)
    for name in _REPLACED:
        logger = logging.getLogger(name or None)
        logger.handlers.clear()
        logger.propagate = True
    for handler in handlers:
        logging.getLogger().addHandler(handler)
    access = logging.getLogger(ACCESS)
    access.handlers, access.propagate = (
        handlers[1:],
        False,
    )  # one line for each request: too much for a terminal
    access.setLevel(logging.INFO)


def last_lines(file: Path, count: int) -> str:
    """Return the last lines of a log file, read from its end; "" when there is none."""
    most = 2**20
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - most))
            lines = opened.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    lines = lines[1:] if size > most else lines
    return "".join(line + "\n" for line in lines[-count:])


logger = logging.getLogger("strokelabel.server")
access = logging.getLogger(ACCESS)


class AccessLog:
    """Logs method, route, status and milliseconds; ids of images only as hashes, no other values.

    Args:
        app: what is asked next.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            name = secrets.token_hex(4)
            logger.error(f"error {name}", exc_info=error)
            if not status:
                sentence = f"Internal server error; for details see the server's log under error {name}."
                await refusal(500, sentence)(scope, receive, watched)
        finally:
            fields = {"method": scope["method"], "route": _route(scope), "status": status}
            fields["ms"] = round((time.perf_counter() - started) * 1000, 1)
            access.info("request", extra={"fields": {**fields, **_image(scope)}})


def _route(scope: Scope) -> str:
    """Return the pattern of the route, which has no names in it; "-" when a request was refused before."""
    return getattr(scope.get("route"), "path", None) or "-"


def _image(scope: Scope) -> dict[str, str]:
    query = parse_qs(scope["query_string"].decode("latin-1"))
    ids = query.get("image") or query.get("label") or query.get("id")
    return {"image": short_hash(ids[0])} if ids else {}
