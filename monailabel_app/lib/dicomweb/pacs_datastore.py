"""Images and labels of a PACS, behind MONAI Label's interface."""

from __future__ import annotations

import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.dicomweb.listing import Listing, PacsListing, StoredLabel, tag_description
from lib.dicomweb.pacs import Pacs, PacsError
from lib.dicomweb.seg_labels import as_segments, read_label, write_stored_label
from lib.dicomweb.series_cache import Notes, SeriesCache
from lib.refusals import InvalidRequestError, UnknownNameError, answered_as_http
from lib.studies.scan_list import check_name, read_scan
from lib.studies.uploads import removed_on_failure
from strokelabel.errors import ImageError
from strokelabel.io.dicom.segmentation import DicomSource, SegOrigin, write_dicom_seg
from strokelabel.registry import ModelSpec

logger = logging.getLogger(__name__)

_LONGEST_TAG = 40
_FINAL = DefaultLabelTag.FINAL.value
_ORIGINAL = DefaultLabelTag.ORIGINAL.value


class DicomWebDatastore(Datastore):
    """Series of a DICOMweb server by their series instance UIDs; labels are DICOM SEGs that refer to them.

    Nothing is kept here that the server does not have, but copies and the notes of clients.

    Args:
        pacs: the server.
        listing: what it holds.
        cache: where copies are.
        notes: what clients write about images and labels.
        model: the model as it is now, for the origin of SEGs.
        read_only: refuse to store labels.

    Attributes:
        images_never_change: a series keeps its instances; see `lib.scoring.uncertainty.image_stamp`.
    """

    images_never_change = True

    def __init__(
        self,
        pacs: Pacs,
        listing: PacsListing,
        cache: SeriesCache,
        notes: Notes,
        model: Callable[[], ModelSpec],
        read_only: bool = False,
    ) -> None:
        self._pacs, self._listing, self._cache, self._notes = pacs, listing, cache, notes
        self._model, self._read_only = model, read_only

    def name(self) -> str:
        """Return the server's address."""
        return self._pacs.url

    @answered_as_http()
    def set_name(self, name: str) -> None:
        """Refuse: the name is the address."""
        raise _not_here("named")

    def description(self) -> str:
        """Return a description for users."""
        return f"DICOMweb server {self._pacs.url}"

    @answered_as_http()
    def set_description(self, description: str) -> None:
        """Refuse: the description is fixed."""
        raise _not_here("described")

    # ---- images ----

    @answered_as_http()
    def list_images(self) -> list[str]:
        """Return the series that can be segmented.

        Raises:
            HTTPException: 503 when the server does not say; so do all methods that ask it.
        """
        return sorted(self._listing.get().series)

    @answered_as_http()
    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the series with a final label."""
        listing = self._listing.get()
        return sorted(image for image in listing.series if _FINAL in listing.labels.get(image, {}))

    @answered_as_http()
    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Return the series without a final label."""
        listing = self._listing.get()
        return sorted(image for image in listing.series if _FINAL not in listing.labels.get(image, {}))

    @answered_as_http()
    def get_image_uri(self, image_id: str) -> str:
        """Return the path of a copy of the scan as NIfTI; "" when there is no such id.

        Raises:
            HTTPException: 422 when the series is no scan that can be segmented.
        """
        if image_id not in self._listing.known().series:
            return ""
        try:
            return str(self._cache.get_scan(image_id, lambda folder: self._download(image_id, folder)))
        except ImageError as error:
            raise error.with_source(image_id) from error

    def get_image(self, image_id: str, params: dict[str, Any] | None = None) -> bytes | None:
        """Return the scan as bytes of NIfTI; None when there is no such id."""
        uri = self.get_image_uri(image_id)
        return Path(uri).read_bytes() if uri else None

    @answered_as_http()
    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return the information about a series from the server and from clients; {} when there is no such id."""
        series = self._listing.known().series.get(image_id)
        return self._image_info(image_id, series.info) if series else {}

    def _image_info(self, image_id: str, info: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping of the listing
        notes = self._notes.get(f"image {image_id}")
        return {**notes, **info, "SeriesInstanceUID": image_id, "name": f"{image_id}.nii.gz"}

    @answered_as_http()
    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something about a series, on this computer.

        Raises:
            HTTPException: 404 unknown series, 400 values that JSON cannot hold.
        """
        self._require(image_id)
        self._notes.add(f"image {image_id}", info)

    @answered_as_http()
    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refuse: images come to a PACS from scanners."""
        with removed_on_failure(image_filename):
            raise _not_here("uploaded")

    @answered_as_http()
    def remove_image(self, image_id: str) -> None:
        """Refuse: images are deleted in the PACS itself."""
        raise _not_here("deleted")

    # ---- labels ----

    @answered_as_http()
    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a copy of a label as NIfTI on its scan's grid; "" when there is none."""
        label = self._label(label_id, label_tag)
        if label is None:
            return ""
        scan = self.get_image_uri(label_id)

        def make(path: Path) -> None:
            with tempfile.TemporaryDirectory() as folder:
                self._pacs.download(label.study, label.series, Path(folder))
                write_stored_label(_instance(Path(folder), label.instance), path, read_scan(scan, label_id))

        return str(self._cache.get_label(label_id, label.instance, make))

    def get_label(self, label_id: str, label_tag: str, params: dict[str, Any] | None = None) -> bytes | None:
        """Return a label as bytes of NIfTI; None when there is none."""
        uri = self.get_label_uri(label_id, label_tag)
        return Path(uri).read_bytes() if uri else None

    @answered_as_http()
    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return the names of a label's values, its SEG's UIDs, and what its client sent; {} when there is none."""
        label = self._label(label_id, label_tag)
        return self._label_info(label) if label else {}

    def _label_info(self, label: StoredLabel) -> dict[str, Any]:
        return {
            **self._notes.get(f"label {label.instance}"),
            "label_info": [{"name": name, "idx": number} for number, name in label.segments],
            "SeriesInstanceUID": label.series,
            "StudyInstanceUID": label.study,
            "SOPInstanceUID": label.instance,
        }

    @answered_as_http()
    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag -> id of the labels of a series."""
        return dict.fromkeys(self._listing.known().labels.get(image_id, {}), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Return the id of a series' label; "" when it has none of that tag."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    @answered_as_http()
    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Store a label as DICOM SEG. Earlier ones stay in the PACS; the newest of a tag is served.

        Raises:
            HTTPException: 404 unknown series, 400 unusable label, tag or info, 415 unknown kind of file,
                503 not stored (the server refuses, or the series lacks what a SEG must say).
        """
        with removed_on_failure(label_filename):
            self._require(image_id)
            tag = _checked_tag(label_tag)
            if self._read_only:
                raise InvalidRequestError("Labels cannot be stored: this server was started read-only.")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "label.dcm"
                seg = self.write_seg(path, image_id, Path(label_filename), label_info or {}, tag)
                self._pacs.store([seg])
            self._listing.forget()
            self._notes.add(f"label {seg.SOPInstanceUID}", label_info)
            return image_id

    def write_seg(
        self, path: Path, image_id: str, label: Path, info: dict[str, Any], tag: str = _ORIGINAL
    ) -> Any:  # noqa: ANN401 - pydicom's Dataset
        """Write a label file of a series as DICOM SEG.

        Args:
            path: where to.
            image_id: the series.
            label: its label, on its grid.
            info: names of the label's values; see `as_segments`.
            tag: "original" for what a model found, anything else for what a person saw.

        Returns:
            The SEG as pydicom dataset.

        Raises:
            StrokeLabelError: the label or the series cannot be used.
        """
        self._notes.check(info)
        scan = read_scan(self.get_image_uri(image_id), image_id)
        labels, segments = as_segments(*read_label(label, scan, info))
        folder = self._cache.get_instances(image_id, lambda folder: self._download(image_id, folder))
        model = self._model()
        origin = SegOrigin(
            model=model.name,
            version=model.version,
            corrected=tag != _ORIGINAL,
            series_description=f"Stroke lesion ({tag})",
            content_description=tag_description(tag),
        )
        return write_dicom_seg(path, labels, DicomSource(folder), origin, segments)

    @answered_as_http()
    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Note something about a label, on this computer.

        Raises:
            HTTPException: 404 unknown label, 400 values that JSON cannot hold.
        """
        label = self._label(label_id, label_tag)
        if label is None:
            raise UnknownNameError(f"No label of {label_id!r} with the tag {label_tag!r}.")
        self._notes.add(f"label {label.instance}", info)

    @answered_as_http()
    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Refuse: DICOMweb has no way to delete."""
        raise _not_here("deleted")

    # ---- all together ----

    @answered_as_http()
    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return pairs of scan and final label, as paths of copies; unreadable ones are left out and logged."""
        pairs = []
        for image_id in self.get_labeled_images():
            try:
                pairs.append(
                    {"image": self.get_image_uri(image_id), "label": self.get_label_uri(image_id, _FINAL)}
                )
            except Exception as error:
                if getattr(error, "status_code", 503) == 503:
                    raise
                logger.warning(f"{image_id} is left out: {getattr(error, 'detail', error)}")
        return pairs

    @answered_as_http()
    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Return the path of a ZIP archive of scans and final labels; the caller removes it.

        Raises:
            HTTPException: 404 when nothing is labelled.
        """
        pairs = self.datalist()[: limit_cases or None]
        if not pairs:
            raise UnknownNameError("No series has a final label yet, so there is no data set to download.")
        with (
            tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file,
            zipfile.ZipFile(file, "w") as archive,
        ):
            for pair in pairs:
                for kind, path in pair.items():
                    archive.write(path, arcname=os.path.join(kind, os.path.basename(path)))  # noqa: PTH118, PTH119
        return file.name

    def refresh(self) -> None:
        """Ask the server again next time."""
        self._listing.forget()

    def status(self) -> dict[str, Any]:
        """Return the counts. If the server is down, /info/ still answers with the counts last known."""
        listing, problem = self._listing.shown()
        tags = [tag for labels in listing.labels.values() for tag in labels]
        return {
            "total": len(listing.series),
            "completed": tags.count(_FINAL),
            "label_tags": {tag: tags.count(tag) for tag in sorted(set(tags))},
            **({} if problem is None else {"error": str(problem)}),
        }

    @answered_as_http()
    def json(self) -> dict[str, Any]:
        """Return all series and labels, in the shape of MONAI Label's own datastores."""
        listing = self._listing.get()
        return {
            "name": self.name(),
            "description": self.description(),
            "images_dir": "",
            "labels_dir": "",
            "objects": {image: self._entry(image, listing) for image in sorted(listing.series)},
        }

    def _entry(self, image: str, listing: Listing) -> dict[str, Any]:
        labels = listing.labels.get(image, {})
        return {
            "image": {"ext": ".nii.gz", "info": self._image_info(image, listing.series[image].info)},
            "labels": {tag: {"ext": ".nii.gz", "info": self._label_info(one)} for tag, one in labels.items()},
        }

    def _label(self, image: str, tag: str) -> StoredLabel | None:
        return self._listing.known().labels.get(image, {}).get(getattr(tag, "value", tag))

    def _download(self, image: str, folder: Path) -> None:
        self._pacs.download(self._listing.last().series[image].study, image, folder)

    def _require(self, image_id: str) -> None:
        if image_id not in self._listing.known().series:
            raise UnknownNameError(f"No series {image_id!r} among those that the DICOMweb server lists.")


# MONAI Label's endpoints offer DICOM SEG where the datastore is of its own class; this one answers the same calls.
DICOMWebDatastore.register(DicomWebDatastore)


def _checked_tag(tag: object) -> str:
    name = check_name(getattr(tag, "value", tag), "tag")
    if len(name) > _LONGEST_TAG or name != name.strip() or "\\" in name:
        raise InvalidRequestError(f"tag: expected at most {_LONGEST_TAG} characters, found {len(name)}.")
    return name


def _instance(folder: Path, uid: str) -> Path:
    """Return the file of an instance in a folder."""
    from pydicom import dcmread

    for file in sorted(folder.iterdir()):
        if dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID == uid:
            return file
    raise PacsError(
        f"The DICOMweb server sent a series without the instance {uid} that it listed; try again."
    )


def _not_here(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"On a DICOMweb server nothing is {what} from here: use the PACS itself for that."
    )
