"""The images and labels of a studies folder."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.utils.others.generic import remove_file

from lib.refusals import (
    InvalidRequestError,
    NameTakenError,
    UnknownNameError,
    UnsupportedFileError,
    answered_as_http,
)
from lib.scans import read_scan
from lib.studies import IMAGE_SUFFIXES, LABEL_SUFFIXES, check_name, find_studies, is_study, split_suffix
from lib.uploads import removed_on_failure
from lib.watching import watch
from strokelabel.io.atomic import atomic_path, atomic_write_json


class StudiesDatastore(LocalDatastore):
    """MONAI Label's local datastore that also finds scans in sub-folders (BIDS), and checks what it is given.

    What it keeps on disk is MONAI Label's: datastore_v2.json and labels/<tag>/<id>.<suffix>. Paths of images
    are found anew in the folder at each start and change, never read from that file, which clients edit.

    Args:
        folder: the studies folder.
        auto_reload: watch the folder for files that come and go.
        read_only: serve what datastore_v2.json lists, without looking for new files.
    """

    def __init__(self, folder: str, auto_reload: bool = False, read_only: bool = False) -> None:
        self._root = Path(folder)
        self._paths = find_studies(self._root)
        self._guard = threading.RLock()  # requests and the watcher change the same tables
        # the last pattern that fits decides the suffix of a label, so the longer ones come last
        patterns = tuple(f"*{suffix}" for suffix in sorted(LABEL_SUFFIXES, key=len))
        super().__init__(folder, extensions=patterns, auto_reload=False, read_only=read_only)
        if auto_reload:
            watch(self._root, self.refresh, polling=self._is_on_mount(folder))

    def get_image_uri(self, image_id: str) -> str:
        """Path of an image; "" when there is no such id."""
        known = image_id in self._datastore.objects and image_id in self._paths
        return str((self._root / self._paths[image_id]).resolve()) if known else ""

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known about an image, with its path; {} when there is no such id."""
        info = super().get_image_info(image_id)
        return {**info, "path": self.get_image_uri(image_id)} if info else {}

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of image and final label.

        Args:
            full_path: absolute paths instead of paths relative to the studies folder.
        """
        pairs = [
            {"image": self.get_image_uri(image_id), "label": self.get_label_uri(image_id, "final")}
            for image_id in self.get_labeled_images()
        ]
        root = self._root.resolve()
        if full_path:
            return pairs
        return [{key: os.path.relpath(path, root) for key, path in pair.items()} for pair in pairs]

    @answered_as_http()
    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take in an image that can be segmented; the same image under the same id again is fine.

        Raises:
            HTTPException: 415 not NIfTI, 422 unusable image, 400 unusable id, 409 another image has that id.
        """
        with removed_on_failure(image_filename):
            return self._add_checked_image(image_id, image_filename, image_info)

    def _add_checked_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        stem, suffix = split_suffix(Path(image_filename).name, IMAGE_SUFFIXES)
        if not suffix:
            kinds = ", ".join(IMAGE_SUFFIXES)
            raise UnsupportedFileError(f"file: expected a NIfTI file ({kinds}), found another kind.")
        image_id = check_name(image_id or stem, "image")
        name = f"{image_id}{suffix}"
        if not is_study(Path(name)):
            raise InvalidRequestError(f"image: {image_id!r} is a name for masks, not scans; choose another.")
        read_scan(image_filename, image_id)
        with self._guard:
            present = Path(self.get_image_uri(image_id) or os.devnull)
            if present.is_file():
                if filecmp.cmp(present, image_filename, shallow=False):
                    return image_id
                raise NameTakenError(
                    f"image: another one has the id {image_id!r}; choose another, or delete that image first."
                )
            with atomic_path(self._root / name) as temporary:
                shutil.copyfile(image_filename, temporary)
            self._paths[image_id] = Path(name)
            self._datastore.objects[image_id] = _new_entry(image_id, suffix, _plain_json(image_info))
            self._update_datastore_file()
        return image_id

    @answered_as_http()
    def remove_image(self, image_id: str) -> None:
        """Delete an image and its labels.

        Raises:
            HTTPException: 404 unknown id.
        """
        with self._guard:
            self._require_image(image_id)
            for tag in list(self._datastore.objects[image_id].labels):
                remove_file(self.get_label_uri(image_id, tag))
            remove_file(str(self._root / self._paths[image_id]))
            self.refresh()

    @answered_as_http()
    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep a label for an image, in the place of an older one with the same tag.

        Raises:
            HTTPException: 404 unknown image, 400 unusable tag or info, 415 unknown kind of file.
        """
        with removed_on_failure(label_filename):
            return self._save_checked_label(image_id, label_filename, label_tag, label_info)

    def _save_checked_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        tag = check_name(getattr(label_tag, "value", label_tag), "tag")
        if not split_suffix(label_filename, LABEL_SUFFIXES)[1]:
            kinds = ", ".join(LABEL_SUFFIXES)
            raise UnsupportedFileError(f"label: expected a file of a kind in {kinds}, found another.")
        with self._guard:
            self._require_image(image_id)
            before = self.get_label_uri(image_id, tag)
            label_id = super().save_label(image_id, label_filename, tag, _plain_json(label_info))
            if before and before != self.get_label_uri(image_id, tag):
                remove_file(before)  # of another suffix; it would come back once the new one is deleted
        return label_id

    @answered_as_http()
    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known about an image.

        Raises:
            HTTPException: 404 unknown image, 400 values that JSON cannot hold.
        """
        with self._guard:
            self._require_image(image_id)
            super().update_image_info(image_id, _plain_json(info))

    @answered_as_http()
    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known about a label.

        Raises:
            HTTPException: 404 unknown label, 400 values that JSON cannot hold.
        """
        with self._guard:
            if self._datastore.label(label_id, label_tag) is None:
                raise UnknownNameError(f"No label of {label_id!r} with the tag {label_tag!r}.")
            super().update_label_info(label_id, label_tag, _plain_json(info))

    def refresh(self) -> None:
        """Look for files that came or went."""
        with self._guard:
            super().refresh()

    def _require_image(self, image_id: str) -> None:
        if not self.get_image_uri(image_id):
            raise UnknownNameError(f"No image {image_id!r} in this datastore.")

    def _to_id(self, file: str) -> tuple[str, str]:
        return split_suffix(file, LABEL_SUFFIXES)

    def _add_non_existing_images(self) -> int:
        self._init_from_datastore_file()
        self._paths = find_studies(self._root)
        new = [image_id for image_id in self._paths if image_id not in self._datastore.objects]
        for image_id in new:
            _, suffix = split_suffix(self._paths[image_id].name, IMAGE_SUFFIXES)
            self._datastore.objects[image_id] = _new_entry(image_id, suffix, {})
        return len(new)

    def _remove_non_existing(self) -> int:
        self._init_from_datastore_file()
        self._paths = find_studies(self._root)
        objects = self._datastore.objects
        gone = [image_id for image_id in objects if image_id not in self._paths]
        for image_id in gone:
            del objects[image_id]
        labels = [(image_id, tag) for image_id, entry in objects.items() for tag in entry.labels]
        lost = [label for label in labels if not Path(self.get_label_uri(*label)).is_file()]
        for image_id, tag in lost:
            del objects[image_id].labels[tag]
        return len(gone) + len(lost)

    def _update_datastore_file(self, lock: bool = True) -> None:
        # written beside and renamed: MONAI Label rewrites it in place, and does not start from half a file
        with FileLock(self._lock_file) if lock else nullcontext():
            atomic_write_json(self._datastore_config_path, self.json())
            self._config_ts = Path(self._datastore_config_path).stat().st_mtime


def _new_entry(image_id: str, suffix: str, info: dict[str, Any]) -> ImageLabelModel:
    # viewers call the volume by "name": in sub-folders only the id is unique
    info = {**info, "ts": int(time.time()), "name": image_id + suffix}
    return ImageLabelModel(image=DataModel(info=info, ext=suffix))


def _plain_json(info: dict[str, Any] | None) -> dict[str, Any]:
    """Refuse what would make every later listing of the datastore fail: NaN, which JSON does not have."""
    try:
        plain = json.loads(json.dumps(info or {}, allow_nan=False))
    except (TypeError, ValueError):
        plain = None
    if not isinstance(plain, dict):
        raise InvalidRequestError(
            "info: expected a JSON object without NaN or infinity, found something else."
        )
    return plain
