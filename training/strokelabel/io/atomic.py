"""Files that are written atomically: completely or not at all.

A result is written beside its final place and renamed at the end, so that a crash or a full disk never leaves
half a file under the final name.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from strokelabel.errors import OutputError
from strokelabel.types import PathLike


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it takes `path`'s place when the block succeeds.

    The temporary file has the same suffixes (writers choose formats by them) and is removed when the block
    fails. Missing parent folders are made.

    Raises:
        OutputError: the file cannot be written, for want of permission or space, say.
    """
    final = Path(path)
    stem, dot, suffixes = final.name.lstrip(".").partition(".")
    temporary = final.with_name(f".{stem}.{uuid.uuid4().hex[:12]}{dot}{suffixes}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(final)
        _sync(final.parent)
    except OSError as error:
        raise OutputError(
            f"expected a writable location, but {error.strerror or error}; "
            "check the folder's permissions and free space, or choose another folder.",
            source=final,
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def atomic_write_text(path: PathLike, text: str) -> None:
    """Write UTF-8 text with line feeds as they are, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


def atomic_write_json(path: PathLike, obj: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    """Write an object as indented JSON, atomically. NaN is refused, because other readers refuse it.

    Raises:
        OutputError: the file cannot be written.
        ValueError, TypeError: the object is not representable in JSON.
    """
    atomic_write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_folder(path: PathLike) -> None:
    """Refuse a folder that cannot be made because a file is in its place, before any work is done for it.

    Raises:
        OutputError: it is a file, or lies below one.
    """
    for place in (Path(path), *Path(path).parents):
        if place.is_dir():
            return
        if place.exists():
            raise OutputError(
                "expected a folder to write to, found a file; choose another folder", source=place
            )


def _sync(path: Path) -> None:
    """Force a file or a folder's entries to the disk (folders only where the system allows to open them)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
