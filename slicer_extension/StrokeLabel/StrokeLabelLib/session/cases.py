"""List of scans, and opening of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ..client.answers import FINAL, ORIGINAL, ImageEntry, LabelEntry
from ..client.api import Client, image_id_of
from ..client.jobs import Job
from ..errors import FileFormatError, GeometryError, NotFoundError, OperationError, StrokeLabelLibError
from ..ops.regions import volume_ml
from ..ops.strokes import LesionMask
from ..volume import Volume, onto_grid
from .case import Case, MaskHistory, Provenance, Sequence, WorkingCopy
from .segmentation import Segmentation
from .session import Session
from .view import Question

LESION = "lesion"
"""Name of the lesion among a label's classes."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """Answer of the server about a scan."""

    images: tuple[ImageEntry, ...]
    sequences: tuple[Sequence, ...]
    label: Volume | None
    tag: str
    left_out: tuple[str, ...]


class Cases:
    """Commands about scans."""

    def __init__(self, session: Session, segmentation: Segmentation) -> None:
        self._session = session
        self._segmentation = segmentation

    def refresh(self) -> None:
        """Refresh the list of scans."""
        session = self._session
        if session.allow("refresh"):
            session.run("Listing the scans", self._server.images, self._listed)

    def open(self, image_id: str) -> None:
        """Open a scan with its label, if it has one, and the other scans of the visit.

        Work on the scan that is open is kept on this computer, and offered when that scan is opened again.
        """
        session = self._session
        if not session.allow("open"):
            return
        session.keep_working_copy()
        client, siblings = self._server, session.settings.load_sequences
        session.run(
            f"Opening {image_id}", lambda job: _download(client, image_id, siblings, job), self._opened
        )

    def next(self) -> None:
        """Open the scan that the server's strategy chooses."""
        session = self._session
        if not session.allow("next"):
            return
        session.keep_working_copy()
        client, settings = self._server, session.settings
        strategies = session.info.strategies
        strategy = settings.strategy if settings.strategy in strategies else next(iter(strategies), "random")

        def work(job: Job) -> _Opened | None:
            image_id = client.next_sample(strategy, job)
            return _download(client, image_id, settings.load_sequences, job) if image_id else None

        session.run("Fetching the next scan", work, self._next_came)

    def upload(self, path: Path, image_id: str = "") -> None:
        """Put a file into the server's datastore and open it."""
        session = self._session
        if not session.allow("upload"):
            return
        try:
            volume = session.files.read(path)  # here, not in the job: it may be VTK that reads
        except StrokeLabelLibError as error:
            session.fail(error)
            return
        self.upload_volume(volume, image_id or image_id_of(path))

    def upload_volume(self, volume: Volume, name: str) -> None:
        """Put a volume into the server's datastore under a name, and open it."""
        session = self._session
        if not session.allow("upload"):
            return
        client = self._server
        session.keep_working_copy()

        def work(job: Job) -> _Opened:
            return _download(client, client.upload_image(name, volume, job), False, job)

        session.run(f"Uploading {name}", work, self._opened)

    def close(self) -> None:
        """Close the scan; work that was not submitted is kept on this computer."""
        session = self._session
        if session.allow("close"):
            session.keep_working_copy()
            self._show(None)

    @property
    def _server(self) -> Client:
        client = self._session.client
        if client is None:
            raise OperationError("Connect to a server first.")
        return client

    def _listed(self, images: tuple[ImageEntry, ...]) -> None:
        self._session.images = images

    def _next_came(self, opened: _Opened | None) -> None:
        if opened is None:
            self._session.status = "All scans are labelled. Open one from the list to look at it again."
        else:
            self._opened(opened)

    def _opened(self, opened: _Opened) -> None:
        case = _make_case(opened)
        case.opened_at = self._session.clock()
        self._session.images = opened.images
        self._show(case)
        source = {FINAL: "with its submitted mask", ORIGINAL: "with a model's mask to check"}.get(
            opened.tag, ""
        )
        left_out = f" Left out: {'; '.join(opened.left_out)}" if opened.left_out else ""
        self._session.status = f"Opened {case.image.image_id} {source}".rstrip() + "." + left_out
        copy = self._session.copies.find(self._server.url, case)
        if copy is not None:
            self._offer(case, copy)
        elif self._session.settings.segment_on_open and opened.label is None:
            self._segmentation.segment()

    def _show(self, case: Case | None) -> None:
        session = self._session
        session.case, session.overlay, session.prompts = case, "", ()
        session.view.show_overlay(None)
        session.view.show_prompts(())
        session.view.show_case(case)
        session.mask_changed()
        session.render()

    def _offer(self, case: Case, copy: WorkingCopy) -> None:
        saved = datetime.fromtimestamp(copy.saved_at, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
        ml = volume_ml(copy.mask.current, case.grid.voxel_ml)
        text = f"Unsubmitted work on {case.image.image_id} from {saved} ({ml:.1f} ml) was found on this computer."
        answers = {"later": "Decide later", "restore": "Restore it", "discard": "Discard it"}
        self._session.view.ask(Question(text, answers), lambda answer: self._answered(answer, case, copy))

    def _answered(self, answer: str, case: Case, copy: WorkingCopy) -> None:
        session = self._session
        if session.case is not case:
            return
        if answer == "discard":
            session.copies.remove(copy)
        elif answer == "restore":
            case.mask, case.dirty, case.restored = copy.mask, True, copy
            case.provenance = Provenance("working copy", copy.model, copy.threshold, list(copy.edits))
            case.history.record("Restore unsubmitted work", case.mask, copy.threshold)
            session.status = "Restored your unsubmitted work."
            session.mask_changed()
        session.render()


def _download(client: Client, image_id: str, siblings: bool, job: Job) -> _Opened:
    images = client.images(job)
    image = next((entry for entry in images if entry.image_id == image_id), None)
    if image is None:
        raise NotFoundError(
            f"{image_id} is no longer on the server; refresh the list and choose another scan."
        )
    sequences = [Sequence(image, client.download_image(image_id, job))]
    left_out = []
    for other in _others(images, image) if siblings else ():
        try:
            sequences.append(Sequence(other, client.download_image(other.image_id, job)))
        except StrokeLabelLibError as error:
            job.check()
            left_out.append(f"{other.sequence} ({error})")
    tag = _tag_to_open(image)
    label = client.download_label(image_id, tag, job) if tag else None
    return _Opened(images, tuple(sequences), label, tag, tuple(left_out))


def _others(images: tuple[ImageEntry, ...], image: ImageEntry) -> Iterator[ImageEntry]:
    return (other for other in images if other.image_id != image.image_id and image.same_visit(other))


def _tag_to_open(image: ImageEntry) -> str:
    """Return the label to begin with: the annotator's, else a model's that was not rejected."""
    if image.status == "submitted":
        return FINAL
    return ORIGINAL if image.status == "pseudo-label" else ""


def _make_case(opened: _Opened) -> Case:
    scan = opened.sequences[0].volume
    if opened.label is None:
        base = np.zeros(scan.data.shape, bool)
    else:
        try:
            base = lesion_of(
                onto_grid(opened.label, scan.grid).data, opened.sequences[0].image.labels.get(opened.tag)
            )
        except GeometryError as error:
            raise GeometryError(
                f"The {opened.tag} label on the server does not lie on its scan; have it removed or restored there."
            ) from error
    mask = LesionMask.of(base)
    known = opened.sequences[0].image.labels.get(FINAL)
    case = Case(opened.sequences, mask, MaskHistory(mask), known_label=known)
    case.provenance.start = f"label {opened.tag}" if opened.tag else "empty"
    if opened.tag == ORIGINAL:
        label = case.image.labels[ORIGINAL]
        case.model_mask, case.structures, case.outcome = base, label.structures, label.outcome
        case.stroke_stage = str(label.outcome.get("stroke_stage", ""))
    return case


def lesion_of(labels: np.ndarray, entry: LabelEntry | None) -> np.ndarray:
    """Return the lesion in a label: the value of that name; everything above 0 where at most one class is named.

    Args:
        labels: (i, j, k).
        entry: what the server says about the label.

    Raises:
        FileFormatError: several classes are named, and none is the lesion.
    """
    values = entry.values if entry is not None else {}
    if LESION in values:
        return labels == values[LESION]
    if len(values) > 1:
        raise FileFormatError(
            f"The label on the server has the classes {', '.join(sorted(values))}, and none is named lesion; submit it "
            "again with the name, or have it removed there."
        )
    return labels > 0
