"""The images and labels of a studies folder."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, LocalDatastore, LocalDatastoreModel

from lib.refusals import (
    InvalidRequestError,
    NameTakenError,
    UnknownNameError,
    UnsupportedFileError,
    answered_as_http,
)
from lib.request_values import plain_json
from lib.studies.file_changes import FoundLabels, reconcile, watch
from lib.studies.label_check import CheckedLabel, check_label
from lib.studies.label_files import lesion_mask
from lib.studies.label_store import KeptLabels
from lib.studies.review import (
    ACCEPTED,
    CORRECTED,
    FINAL,
    ORIGINAL,
    PSEUDO,
    REJECTED,
    STATUSES,
    compare,
    is_labelled,
    may_be_reviewed,
    review,
)
from lib.studies.scan_list import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    check_name,
    find_studies,
    is_study,
    split_suffix,
)
from lib.studies.scans import read_scan
from lib.studies.table import DatastoreTable, new_image
from lib.studies.uploads import removed_on_failure
from strokelabel.io.atomic import atomic_path
from strokelabel.io.file_search import absolute_path

logger = logging.getLogger(__name__)

_MOST_LEFT_OUT = 100
"""Sentences about what is not served that are sent to clients."""


class LabelDatastore(LocalDatastore):
    """The part of the datastore that keeps labels; every change is one of the table on disk.

    Attributes:
        _root: the studies folder.
        _table: what is known about images and labels.
        _kept: the label files.
        _paths: id -> path, relative to the studies folder, of the scans.
    """

    _root: Path
    _table: DatastoreTable
    _kept: KeptLabels
    _paths: Mapping[str, Path]

    @answered_as_http()
    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep a label for an image, on the image's grid, in the place of an older one with the same tag.

        Raises:
            HTTPException: 404 unknown image, 400 unusable tag, info or label, 415 unknown kind of file.
        """
        with removed_on_failure(label_filename):
            tag = check_name(getattr(label_tag, "value", label_tag), "tag")
            if not split_suffix(label_filename, LABEL_SUFFIXES)[1]:
                kinds = ", ".join(LABEL_SUFFIXES)
                raise UnsupportedFileError(f"label: expected a file of a kind in {kinds}, found another.")
            info = _label_info(tag, label_info)
            self._require_image(image_id)
            scan = Path(self.get_image_uri(image_id))
            self._put(image_id, tag, check_label(Path(label_filename), scan, image_id, info))
        return image_id

    def _put(self, image_id: str, tag: str, label: CheckedLabel, reason: str = "submitted") -> None:
        """Keep a checked label; a final one says what it made of a model's label."""
        if tag == ORIGINAL and "model" in label.info:
            label.info.setdefault("status", PSEUDO)
        with self._table.change(image_id) as table:
            self._require_image(image_id)
            labels = table.objects[image_id].labels
            if reason == "accepted":
                _refuse_in_the_place_of_a_persons(labels.get(tag), image_id)
            pseudo = labels.get(ORIGINAL)
            by_person = reason == "submitted" and label.info.get("status") != PSEUDO
            if tag == FINAL and by_person and pseudo is not None and "status" in pseudo.info:
                self._note_review(image_id, label, pseudo)
            labels[tag] = self._kept.put(self._paths, image_id, tag, label, labels.get(tag), reason)

    def _note_review(self, image_id: str, label: CheckedLabel, pseudo: DataModel) -> None:
        """Compare a submitted label with the model's, and write the outcome down in both."""
        scan = self._root / self._paths[image_id]
        drawn = self._kept.lesion(scan, image_id, ORIGINAL, pseudo)
        submitted = lesion_mask(label.data, label.info)
        if drawn is None or submitted is None:
            return
        found = compare(drawn, submitted, label.like.grid.voxel_volume_ml)
        decision = {**review(found["status"], "", label.info.get("client_id")), **found, "of": ORIGINAL}
        label.info.update(status=found["status"], review=decision)
        pseudo.info.update(status=found["status"], review=decision)
        self._kept.history.note_info(ORIGINAL, image_id, pseudo.info)

    @answered_as_http()
    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Delete a label; its history stays, and nothing happens if there is none.

        Raises:
            HTTPException: 503 it cannot be deleted.
        """
        with self._table.change(label_id) as table:
            entry = table.label(label_id, label_tag)
            if entry is None:
                return
            labels = table.objects[label_id].labels
            self._kept.remove(self._paths, label_id, label_tag, labels.pop(label_tag))
            if label_tag == FINAL and labels.get(ORIGINAL, entry).info.get("status") in (ACCEPTED, CORRECTED):
                labels.get(ORIGINAL, entry).info["status"] = PSEUDO  # nobody has reviewed it any more

    @answered_as_http()
    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known about a label.

        Raises:
            HTTPException: 404 unknown label, 400 values that JSON cannot hold, or a review of an extra tag.
        """
        plain = _label_info(label_tag, info)
        with self._table.change(label_id) as table:
            entry = _label(table, label_id, label_tag)
            entry.info.update(plain)
            self._kept.history.note_info(label_tag, label_id, entry.info)

    @answered_as_http()
    def label_history(self, image_id: str, tag: str) -> list[dict[str, Any]]:
        """The versions of a label, newest first; that of a deleted label says when it was deleted.

        Raises:
            HTTPException: 404 unknown image, 400 unusable tag.
        """
        tag = check_name(tag, "tag")
        self._require_image(image_id)
        return [
            {
                "version": version.name,
                **{key: value for key, value in version.record.items() if key != "file"},
            }
            for version in self._kept.history.versions(tag, image_id)
        ]

    @answered_as_http()
    def restore_label(self, image_id: str, tag: str, version: str) -> None:
        """Bring back a version of a label; the present one stays in the history.

        Raises:
            HTTPException: 404 unknown image or version, 400 unusable tag.
        """
        tag = check_name(tag, "tag")
        self._require_image(image_id)
        found = [known for known in self._kept.history.versions(tag, image_id) if known.name == version]
        if not found:
            raise UnknownNameError(f"No version {version!r} of the label {tag!r} of {image_id!r}.")
        info = {**found[0].record.get("info", {}), "restored": version}
        label = check_label(found[0].file, Path(self.get_image_uri(image_id)), image_id, info)
        self._put(image_id, tag, label, "restored")

    @answered_as_http()
    def review_label(self, image_id: str, tag: str, decision: dict[str, Any]) -> None:
        """Accept a label, which makes it the final one, or reject it, so that it is never trained on.

        Args:
            image_id: whose label it is.
            tag: of the label; "original" is where pseudo-labels are.
            decision: made by `review`.

        Raises:
            HTTPException: 404 no such label, 409 a person has submitted a final label.
        """
        news = {"status": decision["status"], "review": {**decision, "of": tag}}
        entry = _label(self._datastore, image_id, tag)
        final = self._datastore.label(image_id, FINAL)
        if decision["status"] == ACCEPTED and tag != FINAL:
            scan, file = Path(self.get_image_uri(image_id)), self._kept.path(tag, image_id, entry.ext)
            info = {key: value for key, value in entry.info.items() if key not in ("ts", "name")}
            self._put(image_id, FINAL, check_label(file, scan, image_id, {**info, **news}), "accepted")
        elif tag != FINAL and final is not None and final.info.get("status") == ACCEPTED:
            self.remove_label(image_id, FINAL)  # a copy of what is rejected now
        self.update_label_info(image_id, tag, news)

    def _require_image(self, image_id: str) -> None:
        if not self.get_image_uri(image_id):
            raise UnknownNameError(f"No image {image_id!r} in this datastore.")


def _refuse_in_the_place_of_a_persons(label: DataModel | None, image_id: str) -> None:
    if label is not None and label.info.get("status") not in (ACCEPTED, REJECTED, PSEUDO):
        raise NameTakenError(f"{image_id!r} has a final label that was submitted; delete that first.")


def _label(table: LocalDatastoreModel, label_id: str, tag: str) -> DataModel:
    entry = table.label(label_id, tag)
    if entry is None:
        raise UnknownNameError(f"No label of {label_id!r} with the tag {tag!r}.")
    return entry


def _label_info(tag: str, info: dict[str, Any] | None) -> dict[str, Any]:
    plain = plain_json(info)
    if "segmentationMeta" in plain and not may_be_reviewed(tag):
        raise InvalidRequestError(
            f"segmentationMeta: expected it for the tags final, original and version_N, found it for {tag!r}."
        )
    if plain.get("status", PSEUDO) not in STATUSES:
        raise InvalidRequestError(
            f"status: expected one of {', '.join(STATUSES)}, found {plain['status']!r}."
        )
    return plain


class StudiesDatastore(LabelDatastore):
    """MONAI Label's local datastore that also finds scans in sub-folders (BIDS), and checks what it is given.

    What it keeps on disk is MONAI Label's: datastore_v2.json and labels/<tag>/<id>.nii.gz. Paths of images
    are found anew in the folder at each start and change, never read from that file, which clients edit.
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
        self._absolute_root = str(absolute_path(self._root))
        self._table = DatastoreTable(kept_in)
        self._kept = KeptLabels(kept_in, self._root)
        self._found = FoundLabels(self._root, self._kept.folder)
        self._paths, self._left_out = {}, list[str]()
        if read_only:
            self._find_studies()
        super().__init__(str(kept_in), auto_reload=False, read_only=read_only)
        if auto_reload:
            for place in dict.fromkeys((self._root, kept_in)):
                watch(place, self.refresh, polling=self._is_on_mount(str(place)))

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
        path = self._paths.get(image_id) if image_id in self._datastore.objects else None
        return "" if path is None else os.path.join(self._absolute_root, path)  # noqa: PTH118 - asked for all images

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label; "" when there is none."""
        label = self._datastore.label(label_id, label_tag)
        tag = str(getattr(label_tag, "value", label_tag))
        return "" if label is None else str(absolute_path(self._kept.path(tag, label_id, label.ext)))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known about an image, with its path; {} when there is no such id."""
        entry = self._datastore.objects.get(image_id)
        return {} if entry is None else {**deepcopy(entry.image.info), "path": self.get_image_uri(image_id)}

    def image_infos(self) -> dict[str, dict[str, Any]]:
        """What is known about each image, by id, without paths; not to be changed."""
        return {image_id: entry.image.info for image_id, entry in self._datastore.objects.items()}

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
        if full_path:
            return pairs
        return [{key: os.path.relpath(path, self._root) for key, path in pair.items()} for pair in pairs]

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
        with self._table.change(image_id) as table:
            self._require_image(image_id)
            table.objects[image_id].image.info.update(plain)

    def refresh(self) -> None:
        """Look for files that came or went."""
        self._reconcile_datastore()

    def _reconcile_datastore(self) -> None:
        with self._table.change() as table:
            self._reconcile(table)

    def _reconcile(self, table: LocalDatastoreModel) -> None:
        self._find_studies()
        reconcile(table, self._paths, self._kept.folder, self._kept.history, self._found)

    def _find_studies(self) -> None:
        """Look for scans; what is newly left out is logged, without the names, which may be patients'."""
        found, before = find_studies(self._root), set(self._left_out)
        self._paths, self._left_out = found.paths, found.left_out
        new = [problem for problem in found.left_out if problem not in before]
        if not found.paths and new:
            logger.warning(new[-1])
        elif new:
            logger.warning(
                f"{len(new)} entries of the studies folder are not served; GET /info/ names them under datastore"
            )

    def status(self) -> dict[str, Any]:
        """Numbers of scans and labels, and what of the folder is not served, each in a sentence."""
        left_out = [*self._left_out, *self._found.left_out()]
        return {
            **super().status(),
            "left_out": left_out[:_MOST_LEFT_OUT],
            "left_out_total": len(left_out),
        }

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Nothing: the table is read whenever it has changed."""

    def _to_id(self, file: str) -> tuple[str, str]:
        return split_suffix(file, LABEL_SUFFIXES)
