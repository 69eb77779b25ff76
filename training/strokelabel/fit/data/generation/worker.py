"""Main loop of a generator process: it makes the groups of images that the trainer asks for, one after another.

A process ends when the trainer closes its end of the connection, by dying too. It leaves the trainer's process group,
so that Ctrl-C in a terminal and signals to the group reach the trainer alone, which then ends in good order.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TypeAlias

import torch

from strokelabel.errors import StrokeLabelError, TrainingError
from strokelabel.fit.data.generation.slot import ImageSlot
from strokelabel.fit.data.mixed_stream import ItemStream

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
