"""Common base of the scoring methods."""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from contextlib import suppress

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod


class StoredScoring(ScoringMethod):
    """A scoring method that knows whether there is anything to do.

    MONAI Label queues every method at each start, next sample and training, and each of them costs a process of
    its own; ours say beforehand whether it is worth it.
    """

    @abstractmethod
    def is_due(self, datastore: Datastore) -> bool:
        """Return whether a run would change anything."""

    def in_use(self, datastore: Datastore) -> bool:
        """Return whether to run automatically when it is due."""
        return False


def lower_priority() -> None:
    """Let an annotator's own requests go before this process."""
    with suppress(OSError, AttributeError):  # there is no such thing on Windows
        os.nice(10)


def say(line: str) -> None:
    """Print a line, which the server shows at GET /scoring/."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        return
