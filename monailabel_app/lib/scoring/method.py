"""Common base of the scoring methods, and their queue in the background: none starts for nothing.

At most one job of a method runs and at most one waits. MONAI Label's own queues every method at each start, next sample
and training, without limit.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from contextlib import suppress
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.utils.async_tasks.utils import run_background_task, tasks

from lib.refusals import UnknownNameError


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


NEEDS_SCORES = {"uncertainty": "uncertainty", "diversity": "uncertainty"}
"""Active-learning strategy -> the scoring method whose results it uses."""

_KIND = "scoring"
_WAITING, _RUNNING = "SUBMITTED", "RUNNING"

_one_at_a_time = threading.Lock()  # requests come in several threads


class QueuedScoring(MONAILabelApp):
    """Queue of scoring jobs: on request, for a strategy that needs them, and to keep scores up to date."""

    def async_scoring(self, method: str | None, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Queue scoring.

        Args:
            method: name of one, which is then run in any case; without it, those whose results are in use and stale.
            params: method -> options.

        Returns:
            The task of this method, or method -> task.

        Raises:
            UnknownNameError: no such method.
        """
        names = [method] if method else [name for name in self._scoring_methods if self._is_wanted(name)]
        if self._server_mode:
            started = {name: queue_scoring(self, name, (params or {}).get(name)) for name in names}
        else:  # the process of a training: it asks the server
            started = {name: super(QueuedScoring, self).async_scoring(name, params) for name in names}
        return started[method] if method else started

    def score_for(self, strategy: str) -> None:
        """Queue what a strategy needs and has not."""
        method = NEEDS_SCORES.get(strategy, "")
        task = self._scoring_methods.get(method)
        if not self._server_mode or task is None or is_under_way(method):
            return
        if task.is_due(self.datastore()):
            queue_scoring(self, method)

    def _is_wanted(self, name: str) -> bool:
        task, datastore = self._scoring_methods[name], self.datastore()
        return isinstance(task, StoredScoring) and task.in_use(datastore) and task.is_due(datastore)


def queue_scoring(app: MONAILabelApp, method: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Start a method, or let it wait behind others; a job that waits already serves.

    Args:
        app: whose methods.
        method: name of one.
        options: of the method.

    Returns:
        MONAI Label's task: "id", "status", "request", ...

    Raises:
        UnknownNameError: no such method.
    """
    known = sorted(app._scoring_methods)
    if method not in known:
        raise UnknownNameError(f"No scoring method {method!r}; there are: {', '.join(known) or 'none'}.")
    with _one_at_a_time:
        for task in tasks(_KIND):
            if task["status"] == _WAITING and task["request"].get("method") == method:
                waiting: dict[str, Any] = task
                return waiting
        request = {**(options or {}), "method": method, "background": True}
        started: dict[str, Any] = run_background_task(request, _KIND)
        return started


def is_under_way(method: str) -> bool:
    """Return whether a job of a method runs or waits."""
    states = (_WAITING, _RUNNING)
    return any(t["status"] in states and t["request"].get("method") == method for t in tasks(_KIND))
