"""Noticing files that come and go in the studies folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from lib.labels.versions import HISTORY
from lib.studies import LABEL_SUFFIXES, split_suffix

logger = logging.getLogger(__name__)

_EVENTS = ("created", "deleted", "moved", "closed")
_POLLED_EVENTS = ("created", "deleted", "moved", "modified")
"""A label is looked at again once its file is whole: polling notices that it grew, not that it was closed."""


class _StudyEvents(FileSystemEventHandler):
    """Calls back when a folder, image or label appeared, was written, vanished or was renamed."""

    def __init__(self, changed: Callable[[], None], events: tuple[str, ...]) -> None:
        self._changed = changed
        self._events = events

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog in its own thread, which must survive whatever happens here."""
        paths = [Path(str(path)) for path in (event.src_path, event.dest_path) if path]
        if event.event_type not in self._events:
            return
        if event.is_directory and event.event_type in ("modified", "closed"):
            return
        if not event.is_directory and not any(_is_image_or_label(path) for path in paths):
            return
        try:
            self._changed()
        except Exception:
            logger.exception("The studies folder changed, but could not be read again")


def watch(folder: Path, changed: Callable[[], None], polling: bool) -> None:
    """Call back, in a thread that ends with the process, when images or labels come and go.

    Args:
        folder: the studies folder.
        changed: called without arguments after each change.
        polling: look every second instead of asking the system, which does not tell of changes on network
            drives.
    """
    observer = PollingObserver() if polling else Observer()
    observer.daemon = True
    events = _StudyEvents(changed, _POLLED_EVENTS if polling else _EVENTS)
    observer.schedule(events, str(folder), recursive=True)
    try:
        observer.start()
    except OSError as error:  # for example: too many folders to watch
        logger.error(f"Files that come and go will not be noticed until the server starts again: {error}")


def _is_image_or_label(path: Path) -> bool:
    if HISTORY in path.parts:  # earlier versions of labels come and go there
        return False
    return not path.name.startswith(".") and bool(split_suffix(path.name, LABEL_SUFFIXES)[1])
