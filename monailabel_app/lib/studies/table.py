"""datastore_v2.json, which several processes read and change: the server, batch inference, training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel

from strokelabel.io.atomic import atomic_write_json

logger = logging.getLogger(__name__)

NAME = "datastore_v2.json"

_Stamp = tuple[int, int, int]


class DatastoreTable:
    """Information of the datastore about images and labels, in MONAI Label's own file.

    Every change reads the file again, changes an entry, and writes it while no other process may: MONAI Label
    rewrites it from memory, and loses what other processes wrote meanwhile.

    Args:
        folder: the studies folder; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / NAME
        self._guard = threading.RLock()  # among threads of this process; the file lock is among processes
        self._lock = FileLock(folder / ".lock", thread_local=False, poll_interval=0.01)
        self._cached: tuple[_Stamp | None, LocalDatastoreModel] = (None, self._empty())

    def current(self) -> LocalDatastoreModel:
        """Return the table as it is on disk now. It is never changed afterwards, only replaced."""
        stamp, model = self._stamp_now(), self._cached[1]
        if stamp != self._cached[0]:  # files are replaced whole, so that reading needs no lock
            model = self._parsed() or self._repaired()
            self._cached = (stamp, model)
        return model

    @contextmanager
    def change(self) -> Iterator[LocalDatastoreModel]:
        """Yield a fresh copy to change; it is written when the block succeeds, and forgotten when it fails.

        Raises:
            OutputError: it cannot be written.
        """
        with self._guard, self._lock:
            model = self._parsed() or self._repaired()
            before = model.model_dump_json()
            yield model
            if model.model_dump_json() != before or not self._path.exists():
                atomic_write_json(self._path, model.model_dump(exclude={"base_path"}))
            self._cached = (self._stamp_now(), model)

    def _parsed(self) -> LocalDatastoreModel | None:
        """Parse the file; None if it is damaged."""
        try:
            content = self._path.read_bytes()
            model = LocalDatastoreModel.model_validate_json(content)
        except FileNotFoundError:
            return self._empty()
        except ValueError:
            return None
        # paths are never taken from the file, which clients edit
        return model.model_copy(
            update={"base_path": str(self._folder), "images_dir": ".", "labels_dir": "labels"}
        )

    def _repaired(self) -> LocalDatastoreModel:
        """Move a damaged file aside, unless another process has mended it meanwhile."""
        with self._guard, self._lock:
            model = self._parsed()
            if model is None:
                self._move_aside()
            return model or self._empty()

    def _move_aside(self) -> None:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._path.rename(self._path.with_name(f"{NAME}.damaged-{now}"))
        # only now: the server's log reads this table, for the ids to leave out
        logger.error(f"{NAME} is damaged: it is kept as {NAME}.damaged-{now}, and rebuilt from the files")

    def _empty(self) -> LocalDatastoreModel:
        return LocalDatastoreModel(
            name="new-dataset",
            description="New Dataset",
            images_dir=".",
            labels_dir="labels",
            base_path=str(self._folder),
        )

    def _stamp_now(self) -> _Stamp | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def new_image(image_id: str, suffix: str, info: Mapping[str, Any]) -> ImageLabelModel:
    """Return the entry of an image. Viewers call the volume by "name": in sub-folders only the id is unique."""
    return ImageLabelModel(image=_entry(image_id, suffix, info))


def new_label(image_id: str, suffix: str, info: Mapping[str, Any]) -> DataModel:
    """Return the entry of a label."""
    return _entry(image_id, suffix, info)


def _entry(image_id: str, suffix: str, info: Mapping[str, Any]) -> DataModel:
    return DataModel(info={"ts": int(time.time()), **info, "name": image_id + suffix}, ext=suffix)
