"""Parser of multipart answers of /infer/; Python 3.13 no longer has `cgi`, which others use for it."""

from __future__ import annotations

import re

from ..errors import ServerFailureError

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_NAME = re.compile(r'name="([^"]*)"')


def parts_of(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the parts of a multipart answer by name.

    Args:
        content_type: of the answer.
        body: of the answer.

    Raises:
        ServerFailureError: no multipart answer, or one that was cut off.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith("multipart/") or found is None:
        raise ServerFailureError("The server's answer is not what was expected; is it a MONAI Label server?")
    mark = b"--" + found.group(1).encode()
    if not body.rstrip(b"\r\n").endswith(mark + b"--"):
        raise ServerFailureError("The server's answer was cut off; try again.")
    parts = {}
    for part in (b"\r\n" + body).split(b"\r\n" + mark)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head.decode("latin-1"))
        if name is not None:
            parts[name.group(1)] = content
    return parts
