"""Security settings of the server's owner: `--conf KEY VALUE`, and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from monailabel.config import settings

from strokelabel.errors import OptionError

TOKEN_VARIABLE = "STROKELABEL_TOKEN"
SHORTEST_TOKEN = 16

MOST_SMALL_BODY_BYTES = 2**20
"""Bodies that are no uploads are read as a whole before anything looks at them."""


@dataclass(frozen=True)
class ServerOptions:
    """Choices of the server's owner.

    Attributes:
        token: what clients must send as `Authorization: Bearer`; "" for none.
        origins: web pages of other addresses that may call the server, as "https://host[:port]".
        hosts: names beside localhost by which a server on a loopback address may be called.
        most_upload_bytes: of one request.
        queue: how many inferences may wait.
    """

    token: str = ""
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    most_upload_bytes: int = 2048 * 2**20
    queue: int = 16

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> ServerOptions:
        """Read `token_file`, `origins`, `hosts`, `max_upload_mb` and `queue`, and the environment.

        Raises:
            OptionError: a value that cannot be used.
        """
        origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
        return cls(
            token=read_token(conf),
            origins=tuple(_origin(origin) for origin in [*origins, *_words(conf.get("origins"))]),
            hosts=tuple(host.lower() for host in _words(conf.get("hosts"))),
            most_upload_bytes=_whole(conf, "max_upload_mb", 2048, least=1) * 2**20,
            queue=_whole(conf, "queue", 16, least=0),
        )


class ServedApp(Protocol):
    """Part of the app that its server uses.

    Attributes:
        version: of StrokeLabel.
        app_dir: folder of the app.
        studies: the folder of the scans, or a web address.
        labels_folder: the folder that everything is written to, or a web address.
    """

    version: str
    app_dir: str
    studies: str

    @property
    def labels_folder(self) -> str:
        """Return the folder that everything is written to, or a web address."""

    @property
    def server_options(self) -> ServerOptions:
        """Return the choices of the server's owner; `OptionError` for one that cannot be used."""

    def model_version(self) -> str:
        """Return the name and version of the weights in use."""

    def image_ids(self) -> Iterable[str]:
        """Return the ids of all images that may stand in messages."""


def read_token(conf: Mapping[str, str]) -> str:
    """Return the token of the environment or of a file; "" when there is none.

    It is not taken from the command line, which every user of the machine can list, and which MONAI Label logs.

    Raises:
        OptionError: given on the command line, too short, or no such file.
    """
    if "token" in conf:
        raise OptionError(
            f"--conf token: a token on the command line can be read by everybody on this machine; set the "
            f"environment variable {TOKEN_VARIABLE}, or --conf token_file FILE."
        )
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if conf.get("token_file"):
        try:
            token = Path(conf["token_file"]).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"--conf token_file: expected a text file with the token: {error}") from error
    elif not token:
        return ""
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise OptionError(
            f"token: expected at least {SHORTEST_TOKEN} letters, digits or signs without spaces, found "
            f"{len(token)} characters; `python -c 'import secrets; print(secrets.token_urlsafe())'` makes one."
        )
    return token


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise OptionError(
            f"--conf origins: expected addresses such as https://viewer.example:8443, found {text!r}."
        )
    return f"{parts.scheme}://{parts.netloc}".lower()


def _whole(conf: Mapping[str, str], name: str, default: int, least: int) -> int:
    try:
        value = int(conf.get(name, default))
    except (TypeError, ValueError):
        value = least - 1
    if value < least:
        raise OptionError(f"--conf {name}: expected a whole number from {least}, found {conf[name]!r}.")
    return value
