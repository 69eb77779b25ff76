"""Part of the datastore that keeps labels."""

from __future__ import annotations

from collections.abc import Mapping
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
from lib.studies.datastore_file import DatastoreTable
from lib.studies.label_grid import CheckedLabel, check_label
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
    may_be_reviewed,
    review,
)
from lib.studies.scan_list import LABEL_SUFFIXES, check_name, split_suffix
from lib.studies.uploads import removed_on_failure
from strokelabel.io.label_files import lesion_mask


class LabelDatastore(LocalDatastore):
    """Part of the datastore that keeps labels; every change is one of the table on disk.

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
                labels.get(ORIGINAL, entry).info["status"] = PSEUDO  # its review no longer counts

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
        """Return the versions of a label, newest first; that of a deleted label has the time of deletion.

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
