"""Images and labels of a studies folder."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastoreModel

from lib.refusals import InvalidRequestError, NameTakenError, UnsupportedFileError, answered_as_http
from lib.request_values import plain_json
from lib.studies.datastore_file import DatastoreTable, new_image
from lib.studies.file_changes import FoundLabels, differs, reconcile
from lib.studies.folder_watch import watch
from lib.studies.label_datastore import LabelDatastore
from lib.studies.label_store import KeptLabels
from lib.studies.nifti_copies import NiftiCopies, files_of_scan
from lib.studies.review import FINAL, is_labelled
from lib.studies.scan_list import (
    LABEL_SUFFIXES,
    UPLOAD_SUFFIXES,
    StudySearch,
    check_name,
    find_studies,
    is_served_folder,
    is_study,
    read_scan,
    served_suffix,
    split_suffix,
    study_id,
)
from lib.studies.uploads import removed_on_failure
from strokelabel.errors import ImageError, OutputError
from strokelabel.io.atomic import atomic_path
from strokelabel.io.file_search import absolute_path, is_hidden

logger = logging.getLogger(__name__)

_MOST_LEFT_OUT = 100
"""Sentences about what is not served that are sent to clients."""


class StudiesDatastore(LabelDatastore):
    """MONAI Label's local datastore that also finds scans in sub-folders (BIDS), and checks what it is given.

    What it keeps on disk is MONAI Label's: datastore_v2.json and labels/<tag>/<id>.nii.gz. Paths of images
    are searched again in the folder at each start and change, never read from that file, which clients edit.
    Beside that it keeps the history of each label, and final labels as BIDS derivatives.

    Args:
        folder: the studies folder.
        auto_reload: watch the folder for files that come and go.
        read_only: serve what datastore_v2.json lists, without looking for new files.
        labels: folder that labels and that file are kept in, if it is not the studies folder.

    Raises:
        OutputError: labels cannot be written there.
    """

    def __init__(
        self, folder: str, auto_reload: bool = False, read_only: bool = False, labels: str | None = None
    ) -> None:
        self._root, kept_in = Path(folder), Path(labels or folder)
        self._absolute_root, self._real_root = str(absolute_path(self._root)), self._root.resolve()
        self._table = DatastoreTable(kept_in)
        self._kept = KeptLabels(kept_in, self._root)
        self._found = FoundLabels(self._root, self._kept.folder)
        self._copies = NiftiCopies(kept_in / ".strokelabel" / "nifti")
        self._paths, self._left_out = {}, list[str]()
        if read_only:
            self._take_over(find_studies(self._root))
        super().__init__(str(kept_in), auto_reload=False, read_only=read_only)
        if auto_reload:
            places = dict.fromkeys((self._root, kept_in))
            watch(places, self._changed, self._look, lambda: any(map(self._is_unwatched, places)))

    @property
    def _datastore(self) -> LocalDatastoreModel:
        """Table that MONAI Label's methods read: always as it is on disk."""
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
        """Return the path of an image; "" when there is no such id."""
        path = self._paths.get(image_id) if image_id in self._datastore.objects else None
        return "" if path is None else os.path.join(self._absolute_root, path)  # noqa: PTH118 - called for every image

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a label; "" when there is none."""
        label = self._datastore.label(label_id, label_tag)
        tag = str(getattr(label_tag, "value", label_tag))
        return "" if label is None else str(absolute_path(self._kept.path(tag, label_id, label.ext)))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return the information about an image, with the path of its NIfTI file, which a viewer on the same machine
        opens; {} when there is no such id.
        """
        entry = self._datastore.objects.get(image_id)
        if entry is None:
            return {}
        try:
            path = self.nifti_uri(image_id)
        except (ImageError, OutputError):  # said when it is opened
            path = self.get_image_uri(image_id)
        return {**deepcopy(entry.image.info), "path": path}

    def nifti_uri(self, image_id: str) -> str:
        """Return the path of an image in NIfTI: of a copy where it is in another format; "" when there is no such id.

        Raises:
            ImageError: it cannot be read.
            OutputError: the copy cannot be written.
        """
        path = self.get_image_uri(image_id)
        return str(self._copies.of(image_id, Path(path))) if path else ""

    def image_infos(self) -> dict[str, dict[str, Any]]:
        """Return the information about each image, by id, without paths; not to be changed."""
        return {image_id: entry.image.info for image_id, entry in self._datastore.objects.items()}

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the ids of images with a final label that was not rejected; the arguments change nothing, as in MONAI
        Label.
        """
        return [image_id for image_id, infos in self._infos() if is_labelled(infos)]

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Return the ids of the other images."""
        return [image_id for image_id, infos in self._infos() if not is_labelled(infos)]

    def refused_labels(self) -> dict[str, str]:
        """Return the paths of final labels, by image id, that were put there manually and do not lie on their scan's
        grid.
        """
        labelled = {image_id for image_id, infos in self._infos() if FINAL in infos}
        refused = {image_id: str(path) for image_id, path in self._found.refused(FINAL).items()}
        return {image_id: path for image_id, path in refused.items() if image_id not in labelled}

    def _infos(self) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
        for image_id, entry in self._datastore.objects.items():
            labels = entry.labels
            yield image_id, {tag: label.info for tag, label in labels.items()} if labels else {}

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return pairs of image and final label.

        Args:
            full_path: absolute paths instead of paths relative to the studies folder.
        """
        pairs = [
            {"image": self.get_image_uri(image_id), "label": self.get_label_uri(image_id, "final")}
            for image_id in self.get_labeled_images()
        ]
        if full_path:
            return pairs
        return [{key: os.path.relpath(path, self._root) for key, path in pair.items()} for pair in pairs]

    @answered_as_http()
    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take in an image that can be segmented; the same image under the same id again is fine.

        Raises:
            HTTPException: 415 another kind of file, 422 unusable image, 400 unusable id, 409 another image has that id.
        """
        with removed_on_failure(image_filename):
            return self._add_checked_image(image_id, image_filename, image_info)

    def _add_checked_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        stem, suffix = split_suffix(Path(image_filename).name, UPLOAD_SUFFIXES)
        if not suffix:
            kinds = ", ".join(UPLOAD_SUFFIXES)
            raise UnsupportedFileError(f"file: expected a scan in one file ({kinds}), found another kind.")
        image_id = check_name(image_id or stem, "image")
        name = f"{image_id}{suffix}"
        if not is_study(Path(name)):
            raise InvalidRequestError(f"image: {image_id!r} is a name for masks, not scans; choose another.")
        read_scan(image_filename, image_id)
        info = plain_json(image_info)
        with self._table.change(image_id) as table:
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
            table.objects[image_id] = new_image(image_id, served_suffix(Path(name)), info)
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
            for file in files_of_scan(self._root / self._paths[image_id]):
                file.unlink(missing_ok=True)
            self._copies.forget(image_id)
            self._reconcile(table, find_studies(self._root))

    @answered_as_http()
    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known about an image.

        Raises:
            HTTPException: 404 unknown image, 400 values that JSON cannot hold.
        """
        plain = plain_json(info)
        with self._table.change(image_id) as table:
            self._require_image(image_id)
            table.objects[image_id].image.info.update(plain)

    def refresh(self) -> None:
        """Look for files that came or went."""
        self._reconcile_datastore()

    def _changed(self, paths: set[Path]) -> None:
        """Look for files that came or went, unless all these paths are as the table has them: the server writes too."""
        self._table.settle()  # a label's file is there a moment before its entry
        if not all(map(self._is_known, paths)):
            self.refresh()

    def _look(self) -> None:
        """Look for files that came or went, where the system does not tell of them."""
        found = find_studies(self._root)
        same = found.paths == self._paths and found.left_out == self._left_out
        if not same or differs(self._datastore, found.paths, self._kept.folder, self._found):
            self.refresh()

    def _is_known(self, path: Path) -> bool:
        if path.is_relative_to(self._kept.folder):
            relative = path.relative_to(self._kept.folder)
            stem, suffix = split_suffix(relative.name, LABEL_SUFFIXES)
            if not suffix or len(relative.parts) != 2:
                return any(map(is_hidden, relative.parts))
            entry = self._datastore.label(stem, relative.parts[0])
            return (entry is not None and entry.ext == suffix) == path.is_file()
        if not path.is_relative_to(self._root):
            return False
        relative = path.relative_to(self._root)
        if not is_served_folder(relative.parent if is_study(relative) else relative):
            return True
        return is_study(relative) and (self._paths.get(study_id(relative)) == relative) == path.is_file()

    def _is_unwatched(self, folder: Path) -> bool:
        """Return whether the system may not report changes: on other file systems, and behind links."""
        folders = {path.parent for path in self._paths.values()}
        linked = (os.path.realpath(self._root / each) != str(self._real_root / each) for each in folders)
        return bool(self._is_on_mount(str(folder))) or any(linked)

    def _reconcile_datastore(self) -> None:
        # Outside the lock: searching a large folder takes time.
        before, found = self._paths, find_studies(self._root)
        with self._table.change() as table:
            came = {image_id: path for image_id, path in self._paths.items() if image_id not in before}
            went = before.keys() - self._paths.keys()
            paths = {image_id: path for image_id, path in found.paths.items() if image_id not in went}
            self._reconcile(table, replace(found, paths=paths | came))

    def _reconcile(self, table: LocalDatastoreModel, found: StudySearch) -> None:
        self._take_over(found)
        reconcile(table, self._paths, self._kept.folder, self._kept.history, self._found)

    def _take_over(self, found: StudySearch) -> None:
        """Know the scans that were found; what is newly left out is logged without names, which may be patients'."""
        before = set(self._left_out)
        self._paths, self._left_out = found.paths, found.left_out
        new = [problem for problem in found.left_out if problem not in before]
        if not found.paths and new:
            logger.warning(new[-1])
        elif new:
            logger.warning(
                f"{len(new)} entries of the studies folder are not served; GET /info/ names them under datastore"
            )

    def status(self) -> dict[str, Any]:
        """Return the numbers of scans and labels, and a sentence for each file or folder that is not served."""
        left_out = [*self._left_out, *self._found.left_out()]
        return {
            **super().status(),
            "left_out": left_out[:_MOST_LEFT_OUT],
            "left_out_total": len(left_out),
        }

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Do nothing: the table is read whenever it has changed."""

    def _to_id(self, file: str) -> tuple[str, str]:
        return split_suffix(file, LABEL_SUFFIXES)
