"""Check sums of files and scans."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's files; "" if something
    cannot be read.
    """
    place = Path(path)
    try:
        if place.is_file():
            return sha256_of_file(place)
        digest = hashlib.sha256()
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            digest.update(
                f"{file.relative_to(place)}\0{sha256_of_file(file)}\0".encode("utf-8", "surrogatepass")
            )
        return digest.hexdigest() if place.is_dir() else ""
    except OSError:
        return ""
