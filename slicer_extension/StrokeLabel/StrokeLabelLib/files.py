"""Reading and writing of volumes, and atomic writing of files."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .errors import FileFormatError
from .volume import Volume


class VolumeFiles(Protocol):
    """Reader and writer of volume files."""

    def read(self, path: Path) -> Volume:
        """Read a file.

        Raises:
            FileFormatError: no 3-D image.
        """

    def write(self, path: Path, volume: Volume) -> None:
        """Write a file atomically.

        Raises:
            FileFormatError: it cannot be written.
        """


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the place and rename, so that a crash leaves the old file or the new one.

    Raises:
        FileFormatError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise FileFormatError(
            f"{path.name} could not be written ({error.strerror or error}); check the folder's space and permissions."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
