"""Generator processes, and their main loop: it makes the groups of images that the trainer asks for, one by one.

A process ends when the trainer closes its end of the connection, by dying too. It leaves the trainer's process group,
so that Ctrl-C in a terminal and signals to the group reach the trainer alone, which then ends in good order.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe, get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

import torch

from strokelabel.errors import StrokeLabelError, TrainingError
from strokelabel.fit.data.generation.pool import ImageSlot
from strokelabel.fit.data.stream import Batch, ItemStream

StreamFactory: TypeAlias = Callable[[str], ItemStream]
"""Opens the stream of images on a device, "cpu" or "cuda:0". It is pickled: the process that makes them calls it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_LOWER_PRIORITY = 3
"""Added to the niceness, so that the trainer never waits for a core."""


def serve(connection: Connection, make_stream: StreamFactory, place: str, slot: ImageSlot) -> None:
    """Make groups until the connection ends.

    Sends None once the stream is open, and after every group that it wrote into the slot; or what prevented it.

    Args:
        connection: gives the numbers of groups.
        make_stream: opens the stream that groups are taken from.
        place: the device to make images on.
        slot: where groups go.
    """
    _leave_group()
    os.nice(_LOWER_PRIORITY)
    torch.set_num_threads(1)
    try:
        try:
            stream = make_stream(place)
        except Exception as error:  # it is the trainer's to report
            connection.send(_portable(error, "opening the images"))
            return
        connection.send(None)
        while True:
            connection.send(_make(stream, connection.recv(), slot))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the trainer has ended


def _make(stream: ItemStream, group: int, slot: ImageSlot) -> StrokeLabelError | None:
    """Make a group; return what prevented it."""
    first = group * slot.count
    try:
        slot.write(stream.items(range(first, first + slot.count)))
    except Exception as error:  # it is the trainer's to report
        return _portable(error, f"making image {first}")
    return None


def _portable(error: Exception, doing: str) -> StrokeLabelError:
    """Return an error that can be sent to the trainer: one of ours unchanged, others with their traceback as a note."""
    if isinstance(error, StrokeLabelError):
        try:
            pickle.loads(pickle.dumps(error))
            return error
        except Exception:
            return TrainingError(str(error))
    told = TrainingError(f"A generator process failed at {doing}: {type(error).__name__}: {error}")
    told.add_note("".join(traceback.format_exception(error)))
    return told


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM within the block; a process that is started there begins with them held."""
    resource_tracker.ensure_running()  # or else its start, within the block, would let the signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_group() -> None:
    """Take no signal that is meant for the trainer, those included that came while this process was starting."""
    os.setpgid(0, 0)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # forgets what waits
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # sent by the trainer itself


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
