"""datastore_v2.json, which several processes read and change: the server, batch inference, training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel

from strokelabel.errors import OptionError, OutputError
from strokelabel.io.atomic import atomic_write_text

logger = logging.getLogger(__name__)

NAME = "datastore_v2.json"

_OWNER = "studies.txt"  # in a folder of labels that is not the studies folder: whose labels they are

_Stamp = tuple[int, int, int]


def labels_folder(studies: str, conf: Mapping[str, str]) -> str:
    """Return the folder of labels, the datastore's table and everything else that the server writes.

    `--conf labels FOLDER`, for studies that cannot be written to; else the studies folder, or its web address.

    Raises:
        OptionError: it holds the labels of other studies.
    """
    chosen = conf.get("labels")
    if not chosen or studies.startswith(("http://", "https://")):
        return studies
    folder, own = Path(chosen).expanduser().resolve(), str(Path(studies).resolve())
    note = folder / ".strokelabel" / _OWNER
    try:
        owner = note.read_text(encoding="utf-8").strip()
    except OSError:
        atomic_write_text(note, f"{own}\n")
        return str(folder)
    if owner != own:
        raise OptionError(
            f"--conf labels: expected the labels of {own} in {folder}, found those of {owner}; choose another folder, "
            f"or remove {note} if the studies have been moved."
        )
    return str(folder)


class DatastoreTable:
    """Information of the datastore about images and labels, in MONAI Label's own file.

    Every change reads the file again, changes an entry, and writes it while no other process may: MONAI Label
    rewrites it from memory, and loses what other processes wrote meanwhile.

    Args:
        folder: the studies folder, or another one for labels; made if missing.

    Raises:
        OutputError: it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        with _written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
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
    def change(self, image_id: str | None = None) -> Iterator[LocalDatastoreModel]:
        """Yield a copy to change; it is written when the block succeeds, and forgotten when it fails.

        Args:
            image_id: the only image whose entry is changed; copying those of a large folder takes long.

        Raises:
            OutputError: it cannot be written.
        """
        with self._guard, self._locked():
            before = self.current()
            model = _copy(before, image_id)
            yield model
            if _differs(before, model, image_id) or not self._path.exists():
                atomic_write_text(self._path, model.model_dump_json(exclude={"base_path"}, indent=1) + "\n")
            self._cached = (self._stamp_now(), model)

    def settle(self) -> None:
        """Wait until a change of this process that is under way is done."""
        with self._guard:
            pass

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with _written(self._folder):
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

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
        with self._guard, self._locked():
            model = self._parsed()
            if model is None:
                with _written(self._folder):
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


def _copy(table: LocalDatastoreModel, image_id: str | None) -> LocalDatastoreModel:
    """Return a copy whose entry of one image, or all of whose entries may be changed."""
    if image_id is None:
        return table.model_copy(deep=True)
    entries = dict(table.objects)
    if image_id in entries:
        entries[image_id] = entries[image_id].model_copy(deep=True)
    return table.model_copy(update={"objects": entries})


def _differs(before: LocalDatastoreModel, after: LocalDatastoreModel, image_id: str | None) -> bool:
    if image_id is None:
        return before.model_dump_json() != after.model_dump_json()
    return before.objects.get(image_id) != after.objects.get(image_id)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Say in a sentence that a folder cannot be written to."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"expected a folder to write labels to, found it read-only, full or closed ({error.strerror}); start the "
            "server with --conf labels FOLDER (strokelabel serve --labels FOLDER) to keep them in another one",
            source=folder,
        ) from error


def new_image(image_id: str, suffix: str, info: Mapping[str, Any]) -> ImageLabelModel:
    """Return the entry of an image. Viewers call the volume by "name": in sub-folders only the id is unique."""
    return ImageLabelModel(image=_entry(image_id, suffix, info))


def new_label(image_id: str, suffix: str, info: Mapping[str, Any]) -> DataModel:
    """Return the entry of a label."""
    return _entry(image_id, suffix, info)


def _entry(image_id: str, suffix: str, info: Mapping[str, Any]) -> DataModel:
    return DataModel(info={"ts": int(time.time()), **info, "name": image_id + suffix}, ext=suffix)
