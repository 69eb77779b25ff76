"""Processes that make images beside the training.

A PyTorch `DataLoader` would do the same for an endless data set, but it hands out work before that is known to be
needed, and its workers cannot be told which device to use.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from strokelabel.errors import StrokeLabelError, TrainingError
from strokelabel.fit.data.generation.slot import ImageSlot
from strokelabel.fit.data.generation.worker import StreamFactory, serve, signals_held
from strokelabel.fit.data.stream import Batch

_AHEAD = 2
"""Groups requested in advance for each process: one that it makes, and the next one."""

_PATIENCE_SECONDS = 5.0
"""A process that was asked to end is killed after this long."""


@dataclass
class _Request:
    group: int
    made: Future[Batch]


@dataclass
class _Worker:
    """A process as the trainer sees it; `request` is what it is at."""

    process: SpawnProcess
    connection: Connection
    slot: ImageSlot
    ready: bool = False
    request: _Request | None = None


class GeneratorProcesses:
    """An image source whose groups are made by processes, in the order of the requests.

    What is in a group depends on its number alone. Images that are made on a GPU have other noise than those made on a
    CPU, so only processes of one kind give the same images in any process.

    Args:
        make_stream: opens the stream of images in each process; it must be picklable.
        places: the device of each process, such as ["cuda:0", "cpu", "cpu"].
        shape: voxels (x, y, z) of an image.
        together: images of a group.
    """

    def __init__(
        self,
        make_stream: StreamFactory,
        places: Sequence[str],
        shape: tuple[int, int, int],
        together: int = 1,
    ) -> None:
        self.ahead = _AHEAD * len(places)
        self._waiting: deque[_Request] = deque()
        self._lock = threading.Lock()
        self._broken: StrokeLabelError | None = None
        self._closing = False
        self._woken, self._wake = Pipe(duplex=False)
        with signals_held():
            self._workers = [_start(make_stream, place, shape, together) for place in places]
        self._thread = threading.Thread(target=self._run, name="generators", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def submit(self, group: int) -> Future[Batch]:
        """Ask for a group; its future raises a `StrokeLabelError` if it could not be made."""
        request = _Request(group, Future())
        with self._lock:
            if self._broken is not None:
                request.made.set_exception(self._broken)
                return request.made
            self._waiting.append(request)
            self._wake.send(None)
        return request.made

    def close(self) -> None:
        """End the processes; what was not made yet never will be. A second call does nothing."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._wake.send(None)
        self._thread.join()
        atexit.unregister(self.close)

    def _run(self) -> None:
        """Hand out requests and take results in a thread, until closed or broken."""
        error: StrokeLabelError = TrainingError(
            "The generator processes were ended before the image was made"
        )
        try:
            while not self._closing:
                self._hand_out()
                self._listen()
        except StrokeLabelError as failure:
            error = failure
        except Exception as failure:  # or else a waiting thread would wait forever
            error = TrainingError(f"The generator processes failed: {type(failure).__name__}: {failure}")
        self._fail_all(error)
        _end(self._workers)

    def _hand_out(self) -> None:
        """Give each idle process the oldest request that is not cancelled."""
        for worker in self._workers:
            if worker.ready and worker.request is None:
                worker.request = self._next_request()
                if worker.request is not None:
                    _send(worker, worker.request.group)

    def _next_request(self) -> _Request | None:
        with self._lock:
            while self._waiting:
                request = self._waiting.popleft()
                if request.made.set_running_or_notify_cancel():
                    return request
        return None

    def _listen(self) -> None:
        """Wait for requests and results, and take what is there."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait([self._woken, *by_connection]):
            worker = by_connection.get(connection)  # type: ignore[call-overload]
            if worker is None:
                self._woken.recv()
            else:
                _take(worker)

    def _fail_all(self, error: StrokeLabelError) -> None:
        """Answer everybody who waits, and who will ask, with an error."""
        with self._lock:
            self._broken = error
            running = [worker.request for worker in self._workers if worker.request is not None]
            for request in running:
                request.made.set_exception(error)
            while self._waiting:
                request = self._waiting.popleft()
                if request.made.set_running_or_notify_cancel():
                    request.made.set_exception(error)


def _start(make_stream: StreamFactory, place: str, shape: tuple[int, int, int], together: int) -> _Worker:
    context = get_context("spawn")
    slot = ImageSlot.allocate(context, together, shape)
    ours, theirs = context.Pipe()
    process = context.Process(
        target=serve, args=(theirs, make_stream, place, slot), name=f"generator-{place}", daemon=True
    )
    process.start()
    theirs.close()  # so that the process's death is the end of the connection
    return _Worker(process, ours, slot)


def _send(worker: _Worker, group: int) -> None:
    try:
        worker.connection.send(group)
    except (BrokenPipeError, ConnectionResetError):
        raise _death(worker) from None


def _take(worker: _Worker) -> None:
    """Take what a process sends: that it is ready, or the end of its request."""
    try:
        error = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        raise _death(worker) from None
    if not worker.ready:
        if error is not None:
            raise error
        worker.ready = True
        return
    request, worker.request = worker.request, None
    assert request is not None, "a process answers requests only"
    if error is None:
        request.made.set_result(worker.slot.read())
    else:
        request.made.set_exception(error)


def _death(worker: _Worker) -> TrainingError:
    """Return the error for a process that ended unexpectedly."""
    worker.process.join(_PATIENCE_SECONDS)
    doing = "starting" if worker.request is None else f"making group {worker.request.group} of the images"
    return TrainingError(
        f"A generator process ended with exit code {worker.process.exitcode} while {doing}. If the system ended it for "
        "want of memory (exit code -9), train with fewer generators"
    )


def _end(workers: list[_Worker]) -> None:
    """End processes, whatever they are at."""
    for worker in workers:
        worker.connection.close()
        # One that is still starting may overlook a request.
        (worker.process.terminate if worker.ready else worker.process.kill)()
    for worker in workers:
        worker.process.join(_PATIENCE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
