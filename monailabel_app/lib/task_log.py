"""Log of a background task: lines that the server shows at GET /train/, /batch/ and /scoring/ while it works."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger(__name__)


def log_line(line: str) -> None:
    """Print a line to the task's output; to the server's log if the server no longer reads it."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        logger.info(line)
