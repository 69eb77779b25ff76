"""Training, scoring and batch inference as processes: started one at a time, stopped, and ended with the server."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import FrameType
from typing import Any

import psutil
from fastapi import HTTPException
from monailabel.utils.async_tasks import utils
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import background_executors

from lib.refusals import TaskRunningError

logger = logging.getLogger("strokelabel.server")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_tasks_with_the_server() -> None:
    """Put ourselves before the server's own handling of its signals."""
    if threading.current_thread() is not threading.main_thread():
        return  # signals are handled in the main thread; a server elsewhere is a test's
    for number in _SIGNALS:
        signal.signal(number, _then(signal.getsignal(number)))


def end_tasks() -> None:
    """Start no further task, and kill the running ones, which lose nothing by it: so does the button Stop."""
    for executor in background_executors.values():
        executor.shutdown(wait=False, cancel_futures=True)
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.Error:
            logger.debug("A task ended unexpectedly")


def _then(before: Any) -> Callable[[int, FrameType | None], None]:  # noqa: ANN401 - what getsignal returns
    def handler(number: int, frame: FrameType | None) -> None:
        end_tasks()
        if callable(before):
            before(number, frame)

    return handler


_guard = threading.Lock()
_waited_for: set[str] = set()  # kinds with a task that runs in a thread of the server (run_sync)

_UNDER_WAY = ("SUBMITTED", "RUNNING")
_STOP_SECONDS = 5.0


def start(
    kind: str,
    request: dict[str, Any],
    params: Mapping[str, Any] | None,
    *,
    wait: bool = False,
    enqueue: bool = False,
) -> Any:  # noqa: ANN401 - a description of the task, or its result
    """Start a task unless one of its kind is under way.

    Args:
        kind: "train", "scoring" or "batch_infer".
        request: what names the task.
        params: its options, checked before.
        wait: run it in this thread, and return its result.
        enqueue: let it wait for its turn behind another one.

    Raises:
        TaskRunningError: one is under way.
    """
    with _guard:
        if kind in _waited_for or (not enqueue and under_way(kind)):
            raise TaskRunningError(
                f"A {kind.replace('_', ' ')} task is running; wait until it is done, or stop it first."
            )
        if not wait:
            return shown(AsyncTask.run(kind, request, dict(params or {}), enqueue=True)[0])
        _waited_for.add(kind)
    try:
        return AsyncTask.run(kind, request, dict(params or {}), force_sync=True, enqueue=True)[0]
    finally:
        _waited_for.discard(kind)


def under_way(kind: str) -> list[dict[str, Any]]:
    """Return the tasks that wait or run in processes of their own."""
    return [task for task in list(utils.tasks(kind)) if task["status"] in _UNDER_WAY]


def status(kind: str, everything: bool = False, only_running: bool = False) -> Any:  # noqa: ANN401
    """Return the latest task, or all, as MONAI Label answers; of those under way, the one that runs or will run next.

    Raises:
        HTTPException: 404 when there is none.
    """
    found = under_way(kind) if only_running else list(utils.tasks(kind))
    if not found:
        what = f"{kind.replace('_', ' ')} task"
        raise HTTPException(404, f"No {what} is running." if only_running else f"No {what} was started yet.")
    if everything and not only_running:
        return [shown(task) for task in found]
    return shown(found[0] if only_running else found[-1])


def stop(kind: str) -> dict[str, Any] | None:
    """Stop the task that runs; None when there is none."""
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_about_to_start(kind) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        return shown(utils.stop_background_task(kind))
    except (psutil.Error, LookupError, RuntimeError):  # it ended by itself meanwhile
        return None


def _is_about_to_start(kind: str) -> bool:
    """Return whether tasks wait and none runs: the process of one just submitted does not exist yet, or is not noted
    yet.
    """
    waiting = under_way(kind)
    return bool(waiting) and all(task["status"] != "RUNNING" for task in waiting)


def shown(task: Any) -> Any:  # noqa: ANN401
    """Return a copy of a task's description, which its own thread keeps changing."""
    if isinstance(task, dict) and "details" in task:
        return {**task, "details": list(task["details"])}
    return task


def report_processes_that_do_not_start() -> None:
    """Give a task the status ERROR when its process cannot be started."""
    if not getattr(utils._task_func, "reports", False):
        utils._task_func = _reporting(utils._task_func)


def _reporting(run: Callable[..., None]) -> Callable[..., None]:
    def run_and_report(task: dict[str, Any], method: str, callback: Any = None) -> None:  # noqa: ANN401
        try:
            run(task, method, callback)
        except Exception as error:
            logger.error(f"A {method} task could not be run", exc_info=error)
            task["details"] = [f"The process of this task could not be run: {type(error).__name__}"]
            task["end_ts"] = datetime.today().strftime("%Y-%m-%d %H:%M:%S")
            if task["status"] in _UNDER_WAY:
                task["status"] = "ERROR"

    run_and_report.reports = True  # type: ignore[attr-defined]
    return run_and_report
