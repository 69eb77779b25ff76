"""Lines that a background task says while it works; the server shows them at GET /train/ and its like."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger(__name__)


def say(line: str) -> None:
    """Print a line, which the server shows at GET /train/; do nothing if the server is gone."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        logger.info(line)
