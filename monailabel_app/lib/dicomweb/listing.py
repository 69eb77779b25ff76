"""Contents of a PACS: series that can be segmented, and the labels among its SEGs."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag
from pydicom.dataset import Dataset

from lib.dicomweb.pacs import Pacs, PacsError
from lib.dicomweb.series_cache import read_record
from strokelabel.io import atomic_write_json
from strokelabel.io.dicom.segmentation import MANUFACTURER
from strokelabel.io.dicom.segmentation_reader import segments_of

logger = logging.getLogger(__name__)

LISTED_S = 2.0
"""Largest age of a listing that answers a request."""
_SHOWN_S = 30.0
"""Largest age of the counts of /info/."""
_LONG_AGO_S = 1e9

_TAG = re.compile(r"tag: (.+)$")
_INFO_FIELDS = ("PatientID", "StudyInstanceUID", "StudyDate", "StudyTime", "SeriesDescription", "Modality")


@dataclass(frozen=True)
class Series:
    """A series that can be segmented: its UIDs, and what the PACS says about it."""

    uid: str
    study: str
    info: Mapping[str, str]


@dataclass(frozen=True)
class StoredLabel:
    """A SEG with a lesion, or one of ours.

    Attributes:
        image: the series that it segments.
        tag: "final" for those of other programs.
        study, series, instance: its UIDs.
        created: date and time, in an order that sorts.
        segments: number and name of each; the lesion is called "lesion" whatever its author called it.
    """

    image: str
    tag: str
    study: str
    series: str
    instance: str
    created: str
    segments: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Listing:
    """Series by their UIDs, and the newest label of each series and tag."""

    series: Mapping[str, Series]
    labels: Mapping[str, Mapping[str, StoredLabel]]


class PacsListing:
    """Listing of a PACS, fetched again when it is too old.

    Args:
        pacs: the server.
        searches: what makes a series one to segment; each is a QIDO search.
        record: JSON file where descriptions of SEGs are kept: a SEG never changes, so it is looked at once.
    """

    def __init__(self, pacs: Pacs, searches: Sequence[Mapping[str, Any]], record: Path) -> None:
        self._pacs, self._searches, self._record = pacs, searches, record
        self._known: dict[str, list[StoredLabel]] | None = None
        self._listing: Listing | None = None
        self._problem: PacsError | None = None
        self._listed_at = self._tried_at = -_LONG_AGO_S
        self._lock = threading.Lock()

    def get(self, max_age_s: float = LISTED_S) -> Listing:
        """Return the listing, at most of this age. After a failure no request is sent for a moment.

        Raises:
            PacsError: the server does not say.
        """
        with self._lock:
            now = time.monotonic()
            if self._problem is not None and now - self._tried_at < LISTED_S:
                raise self._problem
            if self._listing is None or self._problem is not None or now - self._listed_at > max_age_s:
                self._try()
            return self.last()

    def known(self) -> Listing:
        """Return the last known listing while the server is down.

        Raises:
            PacsError: the server is down and was so all the time.
        """
        try:
            return self.get()
        except PacsError:
            if self._listing is None:
                raise
            return self._listing

    def shown(self) -> tuple[Listing, PacsError | None]:
        """Return the listing for /info/, which must not wait for a slow server, and the error that may make
        it wrong.
        """
        if self._listing is None or self._listed_at < 0:
            with suppress(PacsError):
                self.get()
        elif time.monotonic() - self._listed_at > _SHOWN_S and not self._lock.locked():
            threading.Thread(target=self._refresh, daemon=True).start()
        return self.last(), self._problem

    def last(self) -> Listing:
        """Return the last listing, however old; empty if there never was one."""
        return self._listing or Listing({}, {})

    def forget(self) -> None:
        """Ask again next time: something was stored."""
        self._listed_at = -_LONG_AGO_S

    def _refresh(self) -> None:
        with suppress(PacsError):
            self.get(_SHOWN_S)

    def _try(self) -> None:
        try:
            self._listing = self._ask()
        except PacsError as error:
            self._problem = error
            raise
        else:
            self._problem, self._listed_at = None, time.monotonic()
        finally:
            self._tried_at = time.monotonic()

    def _ask(self) -> Listing:
        found = [_series(item) for search in self._searches for item in self._pacs.series(search)]
        series = {item.uid: item for item in found}
        labels: dict[str, dict[str, StoredLabel]] = {}
        for label in sorted(self._stored_labels(), key=lambda label: label.created):
            if label.image in series:
                labels.setdefault(label.image, {})[label.tag] = label
        return Listing(series, labels)

    def _stored_labels(self) -> list[StoredLabel]:
        known = self._known if self._known is not None else self._read_record()
        now: dict[str, list[StoredLabel]] = {}
        try:
            for item in self._pacs.series({"Modality": "SEG"}):
                uid, study = str(item.SeriesInstanceUID), str(item.StudyInstanceUID)
                now[uid] = known[uid] if uid in known else self._describe(study, uid)
        except PacsError:
            self._keep({**known, **now}, known)  # the next listing continues from here
            raise
        self._keep(now, known)
        return [label for labels in now.values() for label in labels]

    def _keep(self, now: dict[str, list[StoredLabel]], before: dict[str, list[StoredLabel]]) -> None:
        if now != before:
            entries = {uid: [asdict(label) for label in labels] for uid, labels in now.items()}
            atomic_write_json(self._record, entries)
        self._known = now

    def _describe(self, study: str, series: str) -> list[StoredLabel]:
        instances = self._pacs.metadata(study, series)
        try:
            return [label for item in instances if (label := stored_label(item)) is not None]
        except Exception as error:  # headers of objects from anywhere
            logger.warning(f"SEG series {series} is skipped: its header cannot be understood ({error})")
            return []

    def _read_record(self) -> dict[str, list[StoredLabel]]:
        try:
            return {
                uid: [
                    StoredLabel(
                        **{**entry, "segments": tuple((int(n), str(s)) for n, s in entry["segments"])}
                    )
                    for entry in entries
                ]
                for uid, entries in read_record(self._record).items()
            }
        except (TypeError, KeyError, ValueError):
            return {}


def tag_description(tag: str) -> str:
    """Return the description of a SEG of ours, which names its label: `stored_label` reads it."""
    return f"Stroke lesion, tag: {tag}"


def stored_label(header: Dataset) -> StoredLabel | None:
    """Return the label of a SEG; None when it refers to no series, or is another program's without lesion."""
    references = header.get("ReferencedSeriesSequence")
    segments = segments_of(header)
    ours = str(header.get("Manufacturer", "")) == MANUFACTURER
    if not references or not (ours or any(segment.is_lesion for segment in segments)):
        return None
    tag = _TAG.search(str(header.get("ContentDescription", ""))) if ours else None
    return StoredLabel(
        image=str(references[0].SeriesInstanceUID),
        tag=tag.group(1) if tag else DefaultLabelTag.FINAL.value,
        study=str(header.StudyInstanceUID),
        series=str(header.SeriesInstanceUID),
        instance=str(header.SOPInstanceUID),
        created=f"{header.get('ContentDate') or header.get('SeriesDate') or ''}-"
        f"{header.get('ContentTime') or header.get('SeriesTime') or ''}",
        segments=tuple((s.number, "lesion" if s.is_lesion else s.label) for s in segments),
    )


def _series(item: Dataset) -> Series:
    try:
        info = {name: str(item.get(name, "") or "") for name in _INFO_FIELDS}
        return Series(str(item.SeriesInstanceUID), str(item.StudyInstanceUID), info)
    except AttributeError as error:
        raise PacsError(
            "The DICOMweb server listed a series without its identifiers; check the address given as --studies."
        ) from error
