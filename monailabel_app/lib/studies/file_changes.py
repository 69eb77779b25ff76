"""Files that come and go in the studies folder, brought into the datastore's table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from monailabel.datastore.local import LocalDatastoreModel
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from lib.refusals import InvalidRequestError
from lib.studies.label_check import read_reference
from lib.studies.label_grid import check_label_grid
from lib.studies.label_history import LabelHistory
from lib.studies.label_versions import HISTORY
from lib.studies.scan_list import IMAGE_SUFFIXES, LABEL_SUFFIXES, split_suffix
from lib.studies.table import new_image, new_label
from strokelabel.errors import ImageError

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int]


class FoundLabels:
    """Label files that were put into the studies folder by hand: only those on their scan's grid are entered.

    Each one that is refused is named in the log, once for each state of its file and its scan's.

    Args:
        studies: the studies folder.
    """

    def __init__(self, studies: Path) -> None:
        self._studies = studies
        self._refused: dict[Path, tuple[_Stamp, _Stamp]] = {}

    def is_usable(self, file: Path, scan: Path, image_id: str) -> bool:
        """Return whether a label may be entered for a scan, by the headers of both."""
        state = _stamp(file), _stamp(self._studies / scan)
        if self._refused.get(file) == state or state[0][1] == 0:  # empty: it is being written
            return False
        try:
            check_label_grid(file, read_reference(self._studies / scan, image_id))
        except (InvalidRequestError, ImageError, OSError) as error:
            self._refused[file] = state
            logger.warning(f"{file.relative_to(self._studies)} is not used, nor trained on: {error}")
            return False
        self._refused.pop(file, None)
        return True

    def refused(self, tag: str) -> dict[str, Path]:
        """Return the files of labels, by image id, that were refused and are still there unchanged."""
        found = {
            split_suffix(file.name, LABEL_SUFFIXES)[0]: file
            for file, (stamp, _) in self._refused.items()
            if file.parent.name == tag and _stamp(file) == stamp
        }
        return dict(sorted(found.items()))


def reconcile(
    table: LocalDatastoreModel,
    paths: Mapping[str, Path],
    labels: Path,
    history: LabelHistory,
    found: FoundLabels,
) -> None:
    """Enter files that came, and strike out those that went.

    A label that the table does not know is entered if it lies on its scan's grid, and gets back what was written down
    about it when it was submitted.

    Args:
        table: changed in place.
        paths: id -> path of the scans that are there.
        labels: the studies' folder "labels".
        history: of the labels.
        found: refuses labels on other grids.
    """
    objects = table.objects
    for image_id in [image_id for image_id in objects if image_id not in paths]:
        del objects[image_id]
    for image_id, path in paths.items():
        if image_id not in objects:
            objects[image_id] = new_image(image_id, split_suffix(path.name, IMAGE_SUFFIXES)[1], {})
    files = _label_files(labels)
    for image_id, entry in objects.items():
        for tag in [
            tag for tag, label in entry.labels.items() if not _is_there(labels, tag, image_id, label.ext)
        ]:
            del entry.labels[tag]
        for tag, suffix in files.get(image_id, {}).items():
            file = labels / tag / f"{image_id}{suffix}"
            if tag not in entry.labels and found.is_usable(file, paths[image_id], image_id):
                entry.labels[tag] = new_label(image_id, suffix, history.info_of(tag, image_id, file) or {})


def _stamp(file: Path) -> _Stamp:
    """Return the modification time of a file, and its size; (0, 0) where there is none."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _is_there(labels: Path, tag: str, image_id: str, suffix: str) -> bool:
    return (labels / tag / f"{image_id}{suffix}").is_file()


def _label_files(labels: Path) -> dict[str, dict[str, str]]:
    """Return the suffix of the label files, by image id and tag; the suffix that comes first in `LABEL_SUFFIXES`
    counts.
    """
    found: dict[str, dict[str, str]] = {}
    for folder in labels.iterdir() if labels.is_dir() else ():
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        for suffix in reversed(LABEL_SUFFIXES):
            for file in folder.iterdir():
                stem, kind = split_suffix(file.name, LABEL_SUFFIXES)
                if kind.lower() == suffix and stem and not stem.startswith("."):
                    found.setdefault(stem, {})[folder.name] = kind
    return found


_EVENTS = ("created", "deleted", "moved", "closed")
_POLLED_EVENTS = ("created", "deleted", "moved", "modified")
"""A label is looked at again once its file is whole: polling notices that it grew, not that it was closed."""


class _StudyEvents(FileSystemEventHandler):
    """Event handler for folders, images and labels that appear, change, vanish or are renamed."""

    def __init__(self, changed: Callable[[], None], events: tuple[str, ...]) -> None:
        self._changed = changed
        self._events = events

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Handle an event in watchdog's own thread, which must survive every error."""
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
        logger.error(f"Added and removed files will not be noticed until the server restarts: {error}")


def _is_image_or_label(path: Path) -> bool:
    if HISTORY in path.parts:  # earlier versions of labels come and go there
        return False
    return not path.name.startswith(".") and bool(split_suffix(path.name, LABEL_SUFFIXES)[1])
