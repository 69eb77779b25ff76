"""`strokelabel serve`: the annotation server on a folder of scans, with safe defaults."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

_SHORTEST_TOKEN = 16


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    studies: Annotated[str, typer.Argument(help="Folder of scans (flat or BIDS), or a DICOMweb address.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
    model: Annotated[str, typer.Option("--model", "-m", help="Name of a model, or its file.")] = "base",
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the access token, instead of STROKELABEL_TOKEN."),
    ] = None,
    without_token: Annotated[
        bool, typer.Option("--without-token", help="Allow access from other machines without a token.")
    ] = False,
    max_upload_mb: Annotated[int, typer.Option("--max-upload-mb", min=1, help="Largest upload.")] = 2048,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Folder for labels, if the scans' folder cannot be written to."),
    ] = None,
    conf: Annotated[
        list[str] | None, typer.Option("--conf", help="Further option of the app, as KEY=VALUE; repeatable.")
    ] = None,
) -> None:
    """Serve scans to 3D Slicer, OHIF and the browser page, until Ctrl-C.

    Only this machine can connect, unless --host says otherwise; then a token is required.
    """
    from strokelabel.cli.server_process import (
        check_port,
        instructions,
        local_url,
        run_server,
        server_command,
    )

    require_monailabel()
    options = [("model", model), ("max_upload_mb", str(max_upload_mb)), *_pairs(conf or [])]
    token = check_token(token_file)
    if token_file is not None:
        options.append(("token_file", str(token_file.expanduser().resolve())))
    check_exposure(host, token, without_token)
    folder = check_studies(studies)
    kept_in = writable_folder(folder, labels)
    check_port(host, port)
    if labels is not None:
        options.append(("labels", kept_in))
    url = local_url(host, port)
    command = server_command(app_folder(kept_in), folder, host, port, options)
    raise typer.Exit(run_server(command, url, instructions(url, host, folder, token)))


def app_folder(kept_in: str) -> Path:
    """Return the MONAI Label app: the checkout's, or a copy of the installed one, since the server writes into it.

    Args:
        kept_in: folder in whose hidden folder the copy goes; or a web address: then it goes to the user's.

    Raises:
        StartError: this installation has no app.
    """
    import strokelabel
    from strokelabel.cli.server_process import StartError

    package = Path(strokelabel.__file__).resolve().parent
    checkout, installed = package.parents[1] / "monailabel_app", package / "monailabel_app"
    if (checkout / "main.py").is_file():
        return checkout
    if not (installed / "main.py").is_file():
        raise StartError(
            f"expected the MONAI Label app in {installed}, found none; install StrokeLabel again"
        )
    root = Path.home() if "://" in kept_in else Path(kept_in)
    copy = root / ".strokelabel" / "app"
    shutil.rmtree(copy / "lib", ignore_errors=True)  # of an older version
    shutil.copytree(installed, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def require_monailabel() -> None:
    """Refuse to go on without MONAI Label.

    Raises:
        StartError: it is not installed.
    """
    import importlib.util

    from strokelabel.cli.server_process import StartError

    if importlib.util.find_spec("monailabel") is None:
        raise StartError('expected MONAI Label, which is not installed; pip install "strokelabel[server]"')


def check_studies(studies: str) -> str:
    """Return a folder's absolute path, or a DICOMweb address as it is.

    Raises:
        OptionError: there is no such folder.
    """
    from strokelabel.errors import OptionError

    if studies.startswith(("http://", "https://")):
        return studies
    folder = Path(studies).expanduser().resolve()
    if not folder.is_dir():
        raise OptionError(f"STUDIES: expected a folder of scans, found none at {studies}")
    return str(folder)


def writable_folder(studies: str, labels: Path | None) -> str:
    """Return the folder that the server writes to; one that cannot be written is refused before the slow start."""
    from strokelabel.errors import OptionError

    if "://" in studies:
        if labels is not None:
            raise OptionError(
                "--labels: expected a folder of scans, found a web address, where the labels are kept"
            )
        return studies
    folder = Path(studies) if labels is None else labels.expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return str(folder)
    except OSError as error:
        what = "STUDIES" if labels is None else "--labels"
        raise OptionError(
            f"{what}: expected a folder to write labels to, found {folder} read-only or closed ({error.strerror}); "
            "keep them in another folder with --labels FOLDER"
        ) from error


def _pairs(conf: list[str]) -> list[tuple[str, str]]:
    from strokelabel.errors import OptionError

    pairs = [tuple(text.partition("=")[::2]) for text in conf]
    if not all(key and value for key, value in pairs):
        raise OptionError("--conf: expected KEY=VALUE, for example --conf queue=4")
    return [(key, value) for key, value in pairs]


def check_exposure(host: str, token: bool, without_token: bool) -> None:
    """Refuse to listen beyond this machine without a token, unless that is wanted.

    Args:
        host: address to listen on.
        token: whether a token is required.
        without_token: whether access without one is allowed expressly.

    Raises:
        OptionError: other machines could read the scans.
    """
    from strokelabel.cli.server_process import LOOPBACK
    from strokelabel.errors import OptionError

    if host not in LOOPBACK and not token and not without_token:
        raise OptionError(
            f"--host {host}: other machines could read the scans; set the environment variable STROKELABEL_TOKEN "
            "or --token-file, or pass --without-token"
        )


def check_token(file: Path | None) -> bool:
    """Return whether a token is required; one that the server would refuse is refused before its slow start.

    Args:
        file: of the token; None for the environment variable STROKELABEL_TOKEN.

    Raises:
        OptionError: the file cannot be read, or the token is too short.
    """
    from strokelabel.errors import OptionError

    token = os.environ.get("STROKELABEL_TOKEN", "").strip()
    if file is not None:
        try:
            token = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"--token-file: expected a text file with the token: {error}") from error
    if (token or file is not None) and len(token) < _SHORTEST_TOKEN:
        raise OptionError(
            f"token: expected at least {_SHORTEST_TOKEN} characters, found {len(token)}; "
            "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        )
    return bool(token)
