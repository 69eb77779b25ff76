"""Files outside the datastore that a request may name: its own upload, and the images of sessions.

MONAI Label hands both to an app as a path in the place of the image id, where a client could write any path
of the server. A path is therefore opened only where the server itself puts such files.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The endpoint names an upload by tempfile: "tmp", eight random characters (41 bits), and the client's
# suffixes. No other client can guess such a name while the file exists.
_UPLOAD_NAME = re.compile(r"tmp[a-z0-9_]{8}(\..*)?")


def is_upload(path: Path) -> bool:
    """Return whether this is a file that the server made of a request's body."""
    folder = Path(tempfile.gettempdir()).resolve()
    return path.parent.resolve() == folder and bool(_UPLOAD_NAME.fullmatch(path.name)) and path.is_file()


def is_session_image(path: Path, sessions_folder: str | None) -> bool:
    """Return whether this file, or folder of DICOM files, belongs to a session.

    Args:
        path: any path.
        sessions_folder: where the server keeps its sessions; None when they are switched off.
    """
    if sessions_folder is None or not path.exists():
        return False
    folder, image = Path(sessions_folder).resolve(), path.resolve()
    return image != folder and image.is_relative_to(folder)


@contextmanager
def removed_on_failure(*paths: object) -> Iterator[None]:
    """Remove the server's temporary files among these paths when the block fails.

    The endpoints remove what they received or send only after a good answer.
    """
    try:
        yield
    except Exception:
        for path in paths:
            if isinstance(path, (str, Path)) and is_upload(Path(path)):
                Path(path).unlink(missing_ok=True)
        raise
