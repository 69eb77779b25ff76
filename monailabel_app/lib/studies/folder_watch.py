"""Noticing that files come and go in the studies folder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from strokelabel.io.file_kinds import is_image_name
from strokelabel.io.file_search import is_hidden

logger = logging.getLogger(__name__)

_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent, DirDeletedEvent, DirMovedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent,
    FileClosedEvent,
]  # fmt: skip
"""A label is looked at once its file is whole. Looking through a folder opens it, which is no event to be told of."""

_QUIET_S = 0.2
"""Files that are copied together are looked at together."""

_SHORTEST_S, _REST = 1.0, 20
"""A folder that must be looked through to notice a change is so every second, or at 1/20 of a processor's time."""

_FIRST_S, _LONGEST_S = 5.0, 300.0
"""Longest intervals between searches of other folders: the system drops events when very many come at once."""


class _StudyEvents(FileSystemEventHandler):
    """Collects the paths of folders, images and labels that appeared, were written, vanished or were renamed."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self._paths: set[Path] = set()
        self._guard = threading.Lock()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Handle an event in watchdog's own thread, which must survive every error."""
        paths = [Path(str(path)) for path in (event.src_path, event.dest_path) if path]
        telling = {path for path in paths if event.is_directory or _may_tell(path)}
        if telling:
            with self._guard:
                self._paths |= telling
            self.arrived.set()

    def take(self) -> set[Path]:
        """Return what was collected, and forget it."""
        with self._guard:
            self.arrived.clear()
            taken, self._paths = self._paths, set()
        return taken


def watch(
    folders: Iterable[Path],
    changed: Callable[[set[Path]], None],
    look: Callable[[], None],
    must_look: Callable[[], bool],
) -> None:
    """Call back, in a thread that ends with the process, when images or labels come and go.

    Args:
        folders: to be watched with all that is below them.
        changed: called with the paths of files and folders that came, went or were written.
        look: called from time to time where the system does not tell of changes; looks for them itself.
        must_look: whether the system does not: network drives, linked folders.
    """
    threading.Thread(target=_follow, args=(list(folders), changed, look, must_look), daemon=True).start()


def _follow(
    folders: list[Path],
    changed: Callable[[set[Path]], None],
    look: Callable[[], None],
    must_look: Callable[[], bool],
) -> None:
    logging.getLogger("watchdog").setLevel(logging.ERROR)  # warns by all paths that it watches
    events = _StudyEvents()
    told = [_is_observed(folder, events) for folder in folders]
    pause = _FIRST_S  # for what came before the system was asked to tell of it; later, since a start has much to do
    steady = _SHORTEST_S if _guarded(must_look) or not all(told) else _LONGEST_S
    while True:
        if events.arrived.wait(pause):
            time.sleep(_QUIET_S)
            paths = events.take()
            _guarded(lambda paths=paths: changed(paths))  # type: ignore[misc]
        else:
            began = time.monotonic()
            _guarded(look)
            pause = max(steady, _REST * (time.monotonic() - began))


def _is_observed(folder: Path, events: _StudyEvents) -> bool:
    """Ask the system to tell of changes; whether it will."""
    observer = Observer()
    observer.daemon = True
    observer.schedule(events, str(folder), recursive=True, event_filter=_EVENTS)
    try:
        observer.start()
    except OSError as error:  # for example: too many folders to watch, or one without permission
        logger.warning(f"The system does not tell of new files ({error.strerror}); they are looked for")
        return False
    return True


def _guarded(call: Callable[[], bool | None]) -> bool | None:
    """Call what must not end the thread."""
    try:
        return call()
    except Exception:
        logger.exception("The studies folder changed, but could not be read again")
        return None


def _may_tell(path: Path) -> bool:
    """Return whether a file is an image or a label by its name, or a link to a folder."""
    if is_hidden(path.name):
        return False
    return is_image_name(path) or path.is_dir()
