"""The images and labels of a studies folder."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastoreModel

from lib.found import FoundLabels, reconcile
from lib.labels.datastore import LabelDatastore
from lib.labels.kept import KeptLabels
from lib.labels.review import FINAL, is_labelled
from lib.plain_json import plain_json
from lib.refusals import InvalidRequestError, NameTakenError, UnsupportedFileError, answered_as_http
from lib.scans import read_scan
from lib.studies import IMAGE_SUFFIXES, LABEL_SUFFIXES, check_name, find_studies, is_study, split_suffix
from lib.table import DatastoreTable, new_image
from lib.uploads import removed_on_failure
from lib.watching import watch
from strokelabel.io.atomic import atomic_path


class StudiesDatastore(LabelDatastore):
    """MONAI Label's local datastore that also finds scans in sub-folders (BIDS), and checks what it is given.

    What it keeps on disk is MONAI Label's: datastore_v2.json and labels/<tag>/<id>.nii.gz. Paths of images
    are found anew in the folder at each start and change, never read from that file, which clients edit.
    Beside that it keeps the history of each label, and final labels as BIDS derivatives.

    Args:
        folder: the studies folder.
        auto_reload: watch the folder for files that come and go.
        read_only: serve what datastore_v2.json lists, without looking for new files.
    """

    def __init__(self, folder: str, auto_reload: bool = False, read_only: bool = False) -> None:
        self._root = Path(folder)
        self._table = DatastoreTable(self._root)
        self._kept = KeptLabels(self._root)
        self._found = FoundLabels(self._root)
        self._paths = find_studies(self._root)
        super().__init__(folder, auto_reload=False, read_only=read_only)
        if auto_reload:
            watch(self._root, self.refresh, polling=self._is_on_mount(folder))

    @property
    def _datastore(self) -> LocalDatastoreModel:
        """The table that MONAI Label's methods read: always as it is on disk."""
        return self._table.current()

    @_datastore.setter
    def _datastore(self, value: LocalDatastoreModel) -> None:
        """MONAI Label sets an empty one at first; there is nothing to do."""

    def set_name(self, name: str) -> None:
        """Name the datastore."""
        with self._table.change() as table:
            table.name = name

    def set_description(self, description: str) -> None:
        """Describe the datastore."""
        with self._table.change() as table:
            table.description = description

    def get_image_uri(self, image_id: str) -> str:
        """Path of an image; "" when there is no such id."""
        known = image_id in self._datastore.objects and image_id in self._paths
        return str((self._root / self._paths[image_id]).resolve()) if known else ""

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known about an image, with its path; {} when there is no such id."""
        info = super().get_image_info(image_id)
        return {**info, "path": self.get_image_uri(image_id)} if info else {}

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of images with a final label that was not rejected; the arguments change nothing, as in MONAI Label."""
        return [image_id for image_id, infos in self._infos() if is_labelled(infos)]

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Ids of the other images."""
        return [image_id for image_id, infos in self._infos() if not is_labelled(infos)]

    def refused_labels(self) -> dict[str, str]:
        """Image id -> path of the final labels that were put there by hand and do not lie on their scan's grid."""
        labelled = {image_id for image_id, infos in self._infos() if FINAL in infos}
        refused = {image_id: str(path) for image_id, path in self._found.refused(FINAL).items()}
        return {image_id: path for image_id, path in refused.items() if image_id not in labelled}

    def _infos(self) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
        for image_id, entry in self._datastore.objects.items():
            yield image_id, {tag: label.info for tag, label in entry.labels.items()}

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
        info = plain_json(image_info)
        with self._table.change() as table:
            present = Path(self.get_image_uri(image_id) or os.devnull)
            if present.is_file():
                if filecmp.cmp(present, image_filename, shallow=False):
                    return image_id
                raise NameTakenError(
                    f"image: another one has the id {image_id!r}; choose another, or delete that image first."
                )
            with atomic_path(self._root / name) as temporary:
                shutil.copyfile(image_filename, temporary)
            self._paths = {**self._paths, image_id: Path(name)}
            table.objects[image_id] = new_image(image_id, suffix, info)
        return image_id

    @answered_as_http()
    def remove_image(self, image_id: str) -> None:
        """Delete an image and its labels; the history of the labels stays.

        Raises:
            HTTPException: 404 unknown id.
        """
        with self._table.change() as table:
            self._require_image(image_id)
            for tag, entry in table.objects[image_id].labels.items():
                self._kept.remove(self._paths, image_id, tag, entry)
            (self._root / self._paths[image_id]).unlink(missing_ok=True)
            self._reconcile(table)

    @answered_as_http()
    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known about an image.

        Raises:
            HTTPException: 404 unknown image, 400 values that JSON cannot hold.
        """
        plain = plain_json(info)
        with self._table.change() as table:
            self._require_image(image_id)
            table.objects[image_id].image.info.update(plain)

    def refresh(self) -> None:
        """Look for files that came or went."""
        self._reconcile_datastore()

    def _reconcile_datastore(self) -> None:
        with self._table.change() as table:
            self._reconcile(table)

    def _reconcile(self, table: LocalDatastoreModel) -> None:
        self._paths = find_studies(self._root)
        reconcile(table, self._paths, self._kept.folder, self._kept.history, self._found)

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Nothing: the table is read whenever it has changed."""

    def _to_id(self, file: str) -> tuple[str, str]:
        return split_suffix(file, LABEL_SUFFIXES)
