"""Finding the server."""

from __future__ import annotations

from ..client.answers import ImageEntry, ServerInfo
from ..client.api import Client
from ..client.jobs import Job
from .session import Session


class Connection:
    """Commands about the server."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def test(self, url: str, token: str = "") -> None:
        """Ask a server what it is, and change nothing; the status says it."""
        session = self._session
        if not session.allow("test_connection"):
            return
        client = self._client(url, token)

        def done(info: ServerInfo) -> None:
            models = ", ".join(info.models) or "no models"
            session.status = (
                f"{client.url} answers: {info.name} {info.version}, {info.total} scans, {models}."
            )

        session.run(f"Asking {client.url}", client.info, done)

    def connect(self, url: str = "", token: str = "") -> None:
        """Use a server from now on: list its scans and models.

        Args:
            url: an address, with or without "http://"; the one used last by default.
            token: if the server asks for one; it is not stored.
        """
        session = self._session
        if not session.allow("connect"):
            return
        client = self._client(url or session.settings.server, token)

        def work(job: Job) -> tuple[ServerInfo, tuple[ImageEntry, ...]]:
            return client.info(job), client.images(job)

        def done(answers: tuple[ServerInfo, tuple[ImageEntry, ...]]) -> None:
            self._connected(client, *answers)

        session.run(f"Connecting to {client.url}", work, done)

    def start_command(self) -> str:
        """Return the command that starts a server on this computer."""
        return "make start STUDIES=/path/to/scans"

    def _client(self, url: str, token: str) -> Client:
        return self._session.make_client(normal_url(url), token, self._session.settings.client_id)

    def _connected(self, client: Client, info: ServerInfo, images: tuple[ImageEntry, ...]) -> None:
        session = self._session
        if session.client is not None and session.client.url != client.url:
            session.keep_working_copy()
            session.case = None
            session.view.show_case(None)
        session.client, session.info, session.images = client, info, images
        session.settings.remember_server(client.url)
        if session.settings.model not in info.models:
            segmenting = [name for name, m in info.models.items() if m.kind == "segmentation"]
            session.settings.model = segmenting[0] if segmenting else ""
        scans = f"Connected: {len(images)} scans." if images else "Connected; upload a first scan."
        session.status = f"{scans} {_left_out(info)}".rstrip()


def _left_out(info: ServerInfo) -> str:
    """Return the files that the server does not serve; "" when it serves all."""
    if not info.left_out:
        return ""
    more = info.left_out_total - 1
    sentence = info.left_out[0].rstrip(".")
    return f"Not served: {sentence}" + (f"; and {more} more, which /info/ names." if more > 0 else ".")


def normal_url(url: str) -> str:
    """Return an address in normal form: with "http://", without a slash at the end."""
    url = url.strip().rstrip("/")
    return url if url.startswith(("http://", "https://")) else f"http://{url}"
